"""Work that only a person can finish: written down once, for the queue that support looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.checkout import OpenTask

if TYPE_CHECKING:
    from models.db.session import Database


class Tasks:
    def __init__(self, database: Database) -> None:
        # Imported where it is built: workflows name this class and must not load SQLAlchemy.
        from models.db.repositories import messaging

        self._database = database
        self._messages = messaging

    @activity.defn
    def open_task(self, task: OpenTask) -> None:
        """One open task per kind and subject."""
        with self._database.transaction() as connection:
            self._messages.open_task(connection, task)
