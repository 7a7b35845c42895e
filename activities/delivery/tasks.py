"""Work that only a person can finish: written down once, for the queue that support looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.delivery.tasks import CloseTask, OpenTask, TaskOpened, TaskOutcome

if TYPE_CHECKING:
    from models.db.session import Database


class Tasks:
    def __init__(self, database: Database) -> None:
        # Imported where it is built: workflows name this class and must not load SQLAlchemy.
        from models.db.repositories.delivery import tasks

        self._database = database
        self._tasks = tasks

    @activity.defn
    def open_task(self, task: OpenTask) -> None:
        """For the queue alone: nobody waits for what comes of it. One open task per kind and subject."""
        with self._database.transaction() as connection:
            self._tasks.open_task(connection, task, workflow_id=activity.info().workflow_id)

    @activity.defn
    def escalate_failure(self, task: OpenTask) -> TaskOpened:
        """The same, of a process that waits for the outcome. Repeated, it finds its own task."""
        info = activity.info()
        key = f"{info.workflow_id}:{info.workflow_run_id}:{info.activity_id}"
        with self._database.transaction() as connection:
            return self._tasks.open_task(connection, task, key=key, workflow_id=info.workflow_id)

    @activity.defn
    def close_task(self, command: CloseTask) -> TaskOutcome:
        """The process goes on; the outcome as the row has it."""
        with self._database.transaction() as connection:
            return self._tasks.close(connection, command)
