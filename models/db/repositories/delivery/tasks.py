"""Manual tasks: opened once, resolved once; resolving publishes the outcome to the workflow that waits."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, text

from models import topics
from models.accounts.access import Principal
from models.db.repositories.delivery import audit, outbox
from models.delivery.tasks import CloseTask, OpenTask, Task, TaskOpened, TaskOutcome
from models.errors import InvalidTransition, NotFound
from models.ids import new_id

# A repeated step finds its own task, also after it was resolved. A restarted workflow takes over the task that the
# earlier execution opened.
_OPEN = text("""
WITH known AS (SELECT id, outcome FROM tasks WHERE key = CAST(:key AS text)),
    opened AS (
        INSERT INTO tasks AS t (id, kind, subject, detail, key, workflow_id, resumes)
        SELECT :id, :kind, :subject, :detail, CAST(:key AS text), CAST(:workflow_id AS text), :resumes
        WHERE NOT EXISTS (SELECT 1 FROM known)
        ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET detail = excluded.detail,
            key = coalesce(excluded.key, t.key), workflow_id = coalesce(excluded.workflow_id, t.workflow_id),
            resumes = t.resumes OR excluded.resumes
        RETURNING id, outcome)
SELECT id, outcome FROM known UNION ALL SELECT id, outcome FROM opened
""")

_COLUMNS = "id, kind, subject, detail, workflow_id, resumes, opened_at, closed_at, outcome, note, closed_by"

_READ = text(f"SELECT {_COLUMNS} FROM tasks WHERE id = :id")  # noqa: S608  constants
_LOCK = text(f"SELECT {_COLUMNS} FROM tasks WHERE id = :id FOR UPDATE")  # noqa: S608

_PAGE = """
SELECT {columns} FROM tasks
WHERE {status} id < :before AND (CAST(:kind AS text) IS NULL OR kind = :kind)
    AND (CAST(:subject AS text) IS NULL OR subject = :subject)
ORDER BY id DESC LIMIT :limit
"""
_STATUS = {"open": "closed_at IS NULL AND", "resolved": "closed_at IS NOT NULL AND", None: ""}
_PAGES = {status: text(_PAGE.format(columns=_COLUMNS, status=where)) for status, where in _STATUS.items()}
_AFTER_ALL = "~"  # behind every id

_CLOSE = text("""
UPDATE tasks SET closed_at = now(), outcome = :outcome, note = :note, closed_by = CAST(:closed_by AS jsonb)
WHERE id = :id AND closed_at IS NULL RETURNING outcome
""")

# A difference that was closed manually is not found again (models/db/repositories/payments/differences.py).
_CLOSE_DIFFERENCE = text("""
UPDATE differences SET state = 'closed', closed_at = now() WHERE task_id = :id AND state = 'open'
""")


def open_task(
    connection: Connection, task: OpenTask, *, key: str | None = None, workflow_id: str | None = None
) -> TaskOpened:
    """Opens a task, or returns the open one of the same kind and subject. `key`: of the step, for idempotency."""
    values = {"id": new_id("task"), "key": key, "workflow_id": workflow_id, **task.model_dump()}
    found = connection.execute(_OPEN, values).one()
    return TaskOpened(task_id=found.id, outcome=found.outcome)


def read(connection: Connection, task_id: str) -> Task:
    """Raises NotFound."""
    return _task(connection.execute(_READ, {"id": task_id}).first())


def page(
    connection: Connection, *, status: str | None, kind: str | None, subject: str | None, before: str | None, limit: int
) -> list[Task]:
    """Newest first, before the id `before`. `status`: open, resolved or None for all."""
    values = {"kind": kind, "subject": subject, "before": before or _AFTER_ALL, "limit": limit}
    return [_task(row) for row in connection.execute(_PAGES[status], values)]


def resolve(connection: Connection, task_id: str, outcome: TaskOutcome, note: str | None, initiator: Principal) -> Task:
    """Closes the task; the outbox signals the workflow that waits. Raises NotFound, InvalidTransition."""
    task = _task(connection.execute(_LOCK, {"id": task_id}).first())
    if outcome not in task.may:
        state = "resolved" if task.closed_at is not None else "open"
        raise InvalidTransition(f"The task is {state}: {outcome} is not possible", state=state, requested=str(outcome))
    closed_by = {"type": initiator.kind, "id": initiator.user_id}
    _close(connection, task_id, outcome, note, closed_by)
    connection.execute(_CLOSE_DIFFERENCE, {"id": task_id})
    if task.resumes and task.workflow_id is not None:
        event = topics.TaskResolution(task_id=task_id, workflow_id=task.workflow_id, outcome=outcome)
        outbox.publish(connection, topics.TASK_RESOLVED, task_id, event)
    resolved = read(connection, task_id)
    audit.append(connection, initiator, "task.resolved", task_id, kind=task.kind, about=task.subject, outcome=outcome)
    return resolved


def close(connection: Connection, command: CloseTask) -> TaskOutcome:
    """Records an outcome from the Temporal UI, unless the task was resolved before. Returns the stored outcome."""
    _close(connection, command.task_id, command.outcome, None, {"type": "staff", "id": None})
    found = read(connection, command.task_id).outcome
    assert found is not None
    return found


def close_obsolete(connection: Connection, task_id: str) -> None:
    """Closes a task whose cause has vanished."""
    _close(connection, task_id, TaskOutcome.DONE, None, {"type": "system", "id": None})


def _close(
    connection: Connection, task_id: str, outcome: TaskOutcome, note: str | None, closed_by: dict[str, Any]
) -> None:
    connection.execute(_CLOSE, {"id": task_id, "outcome": outcome, "note": note, "closed_by": json.dumps(closed_by)})


def _task(row: Row[Any] | None) -> Task:
    if row is None:
        raise NotFound("There is no such task")
    return Task.model_validate(dict(row._mapping))
