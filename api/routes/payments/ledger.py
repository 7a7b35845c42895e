"""The ledger: an order's entries and balances, and what reconciliation found."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api import paging
from api.auth import OpsReader
from api.paging import Cursor, Limit
from api.schemas.responses import Out, Problem
from api.services import Shop
from models.base import Storable
from models.db.repositories import ledger
from models.db.repositories.orders.orders import require_order
from models.db.repositories.payments import differences as difference_repository
from models.db.repositories.payments import reconciliation
from models.delivery.stored_responses import rfc3339
from models.payments.reconciliation import DifferenceState, RunState

router = APIRouter(prefix="/v1/ops", tags=["operations"])

REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 401, 403, 404, 422)}


class EntryOut(Out):
    """`amount` minor units moved from the account `credit` to the account `debit`."""

    id: int
    kind: str
    payment_id: str
    cause: str
    debit: str
    credit: str
    currency: str
    amount: int
    at: datetime


class BooksOut(Out):
    """`balances`: by account, debits less credits; `balanced`: their sum is 0."""

    order_id: str
    currency: str
    entries: list[EntryOut]
    balances: dict[str, int]
    balanced: bool


class RunOut(Out):
    id: str
    provider: str
    state: RunState
    since: datetime
    until: datetime
    started_at: datetime
    ended_at: datetime | None
    movements: int
    skipped: int
    differences: dict[str, int]


class RunPage(Out):
    items: list[RunOut]
    next_cursor: str | None


class DifferenceOut(Out):
    id: str
    run_id: str
    provider: str
    kind: str
    subject: str
    payment_id: str | None
    order_id: str | None
    checkout_id: str | None
    currency: str
    ours: int
    theirs: int
    state: DifferenceState
    task_id: str | None
    found_at: datetime
    closed_at: datetime | None


class DifferencePage(Out):
    items: list[DifferenceOut]
    next_cursor: str | None


@router.get("/ledger", response_model=BooksOut, responses=REFUSALS)
def read_ledger(shop: Shop, caller: OpsReader, order_id: Annotated[Storable, Query(max_length=64)]) -> JSONResponse:
    """All entries about one order, oldest first."""
    with shop.database.autocommit() as connection:
        stored = require_order(connection, order_id)
        entries = ledger.of_order(connection, order_id)
    current = ledger.balances(entries)
    return JSONResponse(
        {
            "order_id": order_id,
            "currency": stored.order.currency,
            "entries": [{**entry._asdict(), "at": rfc3339(entry.at)} for entry in entries],
            "balances": current,
            "balanced": sum(current.values()) == 0,
        }
    )


@router.get("/reconciliations", response_model=RunPage, responses=REFUSALS)
def list_reconciliations(shop: Shop, caller: OpsReader, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """One a provider and run, newest first, with the number of its differences by state.

    `skipped`: rows of the provider's list in no currency of the shop.
    """
    before = paging.decode(cursor, str)[0] if cursor is not None else None
    with shop.database.autocommit() as connection:
        found = reconciliation.page(connection, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1]["id"]) if len(found) > limit else None
    shown = [RunOut.model_validate(row).model_dump(mode="json") for row in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))


@router.get("/differences", response_model=DifferencePage, responses=REFUSALS)
def list_differences(
    shop: Shop,
    caller: OpsReader,
    state: DifferenceState | None = None,
    order_id: Annotated[Storable | None, Query(max_length=64)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Where a provider's list and the ledger disagree, newest first. An open difference has a manual task."""
    before = paging.decode(cursor, str)[0] if cursor is not None else None
    with shop.database.autocommit() as connection:
        found = difference_repository.page(connection, state=state, order_id=order_id, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1]["id"]) if len(found) > limit else None
    shown = [DifferenceOut.model_validate(row).model_dump(mode="json") for row in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))
