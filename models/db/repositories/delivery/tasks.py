"""The queue of what only a person can finish: opened once, resolved once, and whoever waits is told."""

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

# A step that is repeated finds its own task, also after somebody has resolved it. A process that began anew takes over
# the task that the one before it had opened.
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

# A person's word on a difference is the last: it is not found again (models/db/repositories/payments/differences.py).
_CLOSE_DIFFERENCE = text("""
UPDATE differences SET state = 'closed', closed_at = now() WHERE task_id = :id AND state = 'open'
""")


def open_task(
    connection: Connection, task: OpenTask, *, key: str | None = None, workflow_id: str | None = None
) -> TaskOpened:
    """One open task per kind and subject, however often it is asked for. `key`: of the step that asks."""
    values = {"id": new_id("task"), "key": key, "workflow_id": workflow_id, **task.model_dump()}
    found = connection.execute(_OPEN, values).one()
    return TaskOpened(task_id=found.id, outcome=found.outcome)


def read(connection: Connection, task_id: str) -> Task:
    """Raises NotFound."""
    return _task(connection.execute(_READ, {"id": task_id}).first())


def page(
    connection: Connection, *, status: str | None, kind: str | None, subject: str | None, before: str | None, limit: int
) -> list[Task]:
    """Newest first, from the one before the id `before`. `status`: open or resolved; None asks for all."""
    values = {"kind": kind, "subject": subject, "before": before or _AFTER_ALL, "limit": limit}
    return [_task(row) for row in connection.execute(_PAGES[status], values)]


def resolve(connection: Connection, task_id: str, outcome: TaskOutcome, note: str | None, initiator: Principal) -> Task:
    """Closed by a person; the process that waits for it is told by the outbox. Raises NotFound, InvalidTransition."""
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
    """What was typed in the Temporal UI, written down; what a person had decided before stands. The outcome."""
    _close(connection, command.task_id, command.outcome, None, {"type": "staff", "id": None})
    found = read(connection, command.task_id).outcome
    assert found is not None
    return found


def close_obsolete(connection: Connection, task_id: str) -> None:
    """What it was about has gone by itself."""
    _close(connection, task_id, TaskOutcome.DONE, None, {"type": "system", "id": None})


def _close(
    connection: Connection, task_id: str, outcome: TaskOutcome, note: str | None, closed_by: dict[str, Any]
) -> None:
    connection.execute(_CLOSE, {"id": task_id, "outcome": outcome, "note": note, "closed_by": json.dumps(closed_by)})


def _task(row: Row[Any] | None) -> Task:
    if row is None:
        raise NotFound("There is no such task")
    return Task.model_validate(dict(row._mapping))
