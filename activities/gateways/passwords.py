"""Passwords: argon2id (RFC 9106) in a small pool of its own, so that a storm of logins leaves the shop its cores."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1 is the least.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
T = TypeVar("T")

AT_ONCE = 1
NICENESS = 10


class Passwords:
    """Hashes and compares; one at a time and behind everything else that wants the processor."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords", initializer=_yield_to_others)
        self._nobody = HASHER.hash(os.urandom(16).hex())

    async def hash(self, password: str) -> str:
        return await self._run(HASHER.hash, password)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """False for a wrong password, and, after the same work, where there is none to compare with."""
        matches = await self._run(_matches, hashed or self._nobody, password)
        return matches and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Hashed with weaker parameters than today's: to be hashed again at the next sign-in."""
        return HASHER.check_needs_rehash(hashed)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _matches(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _yield_to_others() -> None:
    """Linux keeps a priority for each thread."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
