"""Manual tasks: work for a person, one open task per kind and subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from models.delivery.tasks import CloseTask, OpenTask, TaskOpened, TaskOutcome

if TYPE_CHECKING:
    from models.db.session import Database


class Tasks:
    def __init__(self, database: Database) -> None:
        # Imported here: workflows import this module and must not load SQLAlchemy.
        from models.db.repositories.delivery import tasks

        self._database = database
        self._tasks = tasks

    @activity.defn
    def open_task(self, task: OpenTask) -> None:
        """Opens a task whose outcome no workflow waits for. Idempotent: one open task per kind and subject."""
        with self._database.transaction() as connection:
            self._tasks.open_task(connection, task, workflow_id=activity.info().workflow_id)

    @activity.defn
    def escalate_failure(self, task: OpenTask) -> TaskOpened:
        """Opens a task whose outcome the workflow waits for. Idempotent by the activity's id."""
        info = activity.info()
        key = f"{info.workflow_id}:{info.workflow_run_id}:{info.activity_id}"
        with self._database.transaction() as connection:
            return self._tasks.open_task(connection, task, key=key, workflow_id=info.workflow_id)

    @activity.defn
    def close_task(self, command: CloseTask) -> TaskOutcome:
        """Closes the task; returns the outcome that the row has."""
        with self._database.transaction() as connection:
            return self._tasks.close(connection, command)
