"""The audit log, newest first: actor, action, subject, time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from api import paging
from api.auth import requires
from api.paging import Cursor, Limit
from api.schemas.responses import Out, Problem
from api.services import Shop
from models.accounts.access import Principal, Scope
from models.base import Storable
from models.db.repositories.delivery import audit as repository
from models.errors import BadCursor

router = APIRouter(
    prefix="/v1/audit", tags=["staff"], responses={status: {"model": Problem} for status in (400, 401, 403, 422)}
)

Id = Annotated[Storable | None, Query(max_length=100)]


class AuditActor(Out):
    type: str
    id: str | None


class AuditRowOut(Out):
    number: int
    at: datetime
    actor: AuditActor
    action: str
    subject: str
    data: dict[str, Any]
    hash: str


class AuditPage(Out):
    items: list[AuditRowOut]
    next_cursor: str | None


@router.get("", response_model=AuditPage)
def list_audit_rows(
    shop: Shop,
    caller: Annotated[Principal, Depends(requires(Scope.USERS_WRITE))],
    subject: Id = None,
    actor: Id = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """`subject`: the id acted upon; `actor`: the id of the user or API key."""
    before = paging.decode(cursor, int)[0] if cursor is not None else None
    if before is not None and not 0 <= before < 2**63:
        raise BadCursor()
    with shop.database.autocommit() as connection:
        found = repository.page(connection, subject=subject, actor=actor, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].number) if len(found) > limit else None
    shown = [AuditRowOut(**row.view()).model_dump(mode="json") for row in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))
