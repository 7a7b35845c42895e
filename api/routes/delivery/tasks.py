"""Manual tasks: list them with their possible actions, and resolve them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from api import paging
from api.auth import OpsReader, Support
from api.commands import Command
from api.fields import Id
from api.paging import Cursor, Limit
from api.schemas.base import Body
from api.schemas.responses import Out, Problem
from api.services import Shop
from models.base import Storable
from models.db.repositories import commands
from models.db.repositories.delivery import tasks as repository
from models.delivery.tasks import TaskOutcome

router = APIRouter(prefix="/v1/ops/needs-attention", tags=["operations"])

REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 401, 403, 404, 422)}
Name = Annotated[Storable | None, Query(max_length=100)]


class Resolution(Body):
    """`retry`: the workflow tries again. `done`: the task was finished by hand."""

    outcome: Annotated[TaskOutcome, Field(strict=False)]
    note: Annotated[Storable, Field(max_length=2000)] = ""


class ClosedBy(Out):
    type: str
    id: str | None


class TaskOut(Out):
    id: str
    kind: str
    status: Literal["open", "resolved"]
    subject: str
    detail: str
    advice: str
    actions: list[TaskOutcome]
    workflow_id: str | None
    opened_at: datetime
    closed_at: datetime | None
    outcome: TaskOutcome | None
    note: str | None
    closed_by: ClosedBy | None


class TaskPage(Out):
    items: list[TaskOut]
    next_cursor: str | None


@router.get("", response_model=TaskPage, responses=REFUSALS)
def list_tasks(
    shop: Shop,
    caller: OpsReader,
    kind: Name = None,
    status: Literal["open", "resolved"] | None = None,
    subject: Name = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Newest first. `subject`: the id of the order, checkout, refund … that a task is about."""
    before = paging.decode(cursor, str)[0] if cursor is not None else None
    with shop.database.autocommit() as connection:
        found = repository.page(connection, status=status, kind=kind, subject=subject, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].id) if len(found) > limit else None
    return JSONResponse(paging.page([task.view() for task in found[:limit]], next_cursor))


@router.get("/{task_id}", response_model=TaskOut, responses=REFUSALS)
def read_task(shop: Shop, caller: OpsReader, task_id: Id) -> JSONResponse:
    with shop.database.autocommit() as connection:
        return JSONResponse(repository.read(connection, task_id).view())


@router.post("/{task_id}/resolve", response_model=TaskOut, responses={**REFUSALS, 409: {"model": Problem}})
def resolve_task(
    command: Command,
    caller: Support,
    task_id: Id,
    body: Resolution,
) -> Response:
    """Closes the task; the workflow that waits for it continues. Tasks about money also need `refunds:write`."""
    key = command.key(caller, body)
    return command.once(
        key,
        lambda connection: commands.resolve_task(connection, task_id, body.outcome, body.note or None, caller),
    )
