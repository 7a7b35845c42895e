"""Deletes rows whose retention has ended: stored responses, account requests, sign-in attempts, sessions."""

from __future__ import annotations

import asyncio

from models.db.repositories.accounts import account_requests, login_attempts, sessions
from models.db.repositories.delivery import stored_responses
from models.db.session import Database


class Retention:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def round(self) -> None:
        await asyncio.to_thread(self._delete_old)

    def _delete_old(self) -> None:
        with self._database.transaction() as connection:
            for repository in (stored_responses, account_requests, login_attempts, sessions):
                repository.forget_old(connection)
