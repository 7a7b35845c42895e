"""Throttles password guessing: each attempt counts as a failure until it succeeds, and delays grow with failures.

Attempts are counted by account, existing or not, and by address range, so that nobody can lock somebody else out. After
many failures in a row from all ranges together, only a mailed reset opens the account again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi.concurrency import run_in_threadpool

from activities.gateways.passwords import Passwords
from models.accounts.accounts import NoticeKind, account_key, address_range
from models.accounts.passwords import normalised
from models.db.repositories.accounts import login_attempts, notices, users
from models.db.repositories.accounts.login_attempts import Guesser, Refused
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.db.session import Database
from models.errors import InvalidCredentials, TooManyAttempts, Unavailable
from runtime.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Passwords are hashed one at a time; further attempts in progress only keep the hashing process busy. Without this
# bound they would take the threads and connections that other routes need.
AT_ONCE = 3


@dataclass
class Attempt:
    """One guess at a password; `user` is None for an unknown address. It counts as a failure until `uncount` or
    `forget`.
    """

    email: str
    user: User | None
    spent: bool  # the account has reached its ceiling of failures: no password opens it
    last: bool  # a failure now reaches the ceiling
    _guesser: Guesser
    _database: Database
    _passwords: Passwords

    async def check(self, password: str) -> User:
        """The user, if the password is theirs and they may sign in. Raises InvalidCredentials, always after the same
        work and with the same text.
        """
        user = self.user
        usable = user is not None and not self.spent and user.verified and not user.disabled and not user.must_reset
        right = await self._passwords.verify(user.password_hash if user else None, normalised(password))
        if user is None or not usable or not right:
            raise InvalidCredentials()
        return user

    async def uncount(self) -> None:
        """Takes this failure back; earlier ones still count."""
        await run_in_threadpool(self._uncount)

    def forget(self, connection: Connection) -> None:
        """Deletes the failures in a row, after a success. Runs within the transaction of the sign-in."""
        login_attempts.forget(connection, self._guesser)

    def _uncount(self) -> None:
        with self._database.autocommit() as connection:
            login_attempts.give_back(connection, self._guesser)


@dataclass
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Attempts:
    """The attempts of one process. Attempts at one account from one range are checked one after another: a parallel one
    would count against the next, though it may succeed.
    """

    def __init__(self, settings: Settings, database: Database, passwords: Passwords) -> None:
        self._free = settings.login_free_failures
        self._ceiling = settings.login_failures_ceiling
        self._database = database
        self._passwords = passwords
        self._lines: dict[Guesser, _Line] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def one(self, email: str, address: str) -> AsyncIterator[Attempt]:
        """One guess from that address. Raises TooManyAttempts before anything is checked."""
        guesser = Guesser(account_key(email), address_range(address))
        line = self._lines.setdefault(guesser, _Line())
        line.waiting += 1
        try:
            async with line.lock, self._room:
                attempt = await run_in_threadpool(self._begin, guesser, email)
                try:
                    yield attempt
                except InvalidCredentials:
                    if attempt.last:
                        await run_in_threadpool(self._close_account, email)
                    raise
                except Unavailable:  # not the guesser's failure
                    with suppress(Unavailable):
                        await attempt.uncount()
                    raise
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[guesser]

    async def confirm(self, user_id: str, password: str, address: str) -> User:
        """Checks the password of a signed-in user once more. Raises InvalidCredentials, TooManyAttempts.

        The caller must check in its transaction that the user's `password_hash` is unchanged.
        """
        email = await run_in_threadpool(self._email_of, user_id)
        async with self.one(email, address) as attempt:
            user = await attempt.check(password)
            await run_in_threadpool(self._forget, attempt)
            return user

    def _email_of(self, user_id: str) -> str:
        with self._database.autocommit() as connection:
            user = users.read_user(connection, user_id)
        if user is None:
            raise InvalidCredentials()
        return user.email

    def _forget(self, attempt: Attempt) -> None:
        with self._database.autocommit() as connection:
            attempt.forget(connection)

    def _begin(self, guesser: Guesser, email: str) -> Attempt:
        with self._database.autocommit() as connection:
            counted = login_attempts.count(connection, guesser, free=self._free)
            if isinstance(counted, Refused):
                raise TooManyAttempts(f"Try again in {counted.seconds} s", retry_after=counted.seconds)
            return Attempt(
                email=email,
                user=users.user_by_email(connection, email),
                spent=counted > self._ceiling,
                last=counted >= self._ceiling,
                _guesser=guesser,
                _database=self._database,
                _passwords=self._passwords,
            )

    def _close_account(self, email: str) -> None:
        with self._database.transaction() as connection:
            user_id = login_attempts.require_reset(connection, email)
            if user_id is not None:
                notices.queue(connection, user_id, NoticeKind.PASSWORD_MUST_BE_RESET)
                audit.append(connection, None, "password.reset_required", user_id)
