"""Returns: a buyer requests one, the warehouse receives it, support may refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from api import paging
from api.auth import Caller, CartToken, Support, Warehouse
from api.commands import Command, initiator
from api.fields import Id
from api.paging import Cursor, Limit
from api.routes.orders.orders import own_order, visible_order
from api.schemas.base import Body, Line
from api.schemas.responses import Problem
from api.schemas.returns import ReturnOut, ReturnPage, ReturnWithOrder
from api.services import Shop
from models.accounts.access import Scope
from models.db.repositories import commands
from models.db.repositories.orders import return_reads
from models.delivery.stored_responses import StoredResponse
from models.errors import BadCursor, NotFound
from models.ids import new_id
from models.orders.returns import ReceivedLine, ReceiveReturn, ReturnLine
from models.states import ReturnStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)})

Units = Annotated[int, Field(strict=True, ge=1, le=999)]


class NewReturnLine(Body):
    line_id: Line
    quantity: Units
    reason: Line | None = None


class NewReturn(Body):
    lines: Annotated[list[NewReturnLine], Field(min_length=1, max_length=100)]


class ArrivedLine(Body):
    """`restock` of this line overrides the receipt's."""

    line_id: Line
    quantity: Units
    restock: bool | None = None


class NewReceipt(Body):
    """`lines`: units that have arrived; without it, all that were announced. `restock`: they can be sold again."""

    lines: Annotated[list[ArrivedLine], Field(min_length=1, max_length=100)] | None = None
    restock: bool = True


class ReturnRefusalIn(Body):
    reason: Line | None = None


@router.post("/v1/orders/{order_id}/returns", tags=["orders"], status_code=201, response_model=ReturnWithOrder)
def request_return(
    command: Command,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: NewReturn,
    cart_token: CartToken = None,
) -> Response:
    """Announces a return, by the buyer or by support for them; a mail tells the number to write on the parcel.

    Allowed from the first shipment until the return window after delivery has closed: else 409 `invalid-transition`
    with the state. More units of a line than were shipped and are neither back nor on their way back, or a line of
    another order: 409 `not-enough-to-return` with `left`. A line named twice is 422.
    """
    order_id = own_order(shop, caller, cart_token, order_id, needs=Scope.ORDERS_WRITE)
    key = command.key(caller, body, cart_token)
    initiated_by = initiator(caller, key)

    def announce(connection: Connection) -> StoredResponse:
        return commands.request_return(
            connection,
            order_id,
            initiated_by,
            [ReturnLine.model_validate(line.model_dump()) for line in body.lines],
            return_id=new_id("ret"),
            window_seconds=shop.settings.return_window_seconds,
            expires_seconds=shop.settings.return_expires_seconds,
        )

    return command.once(key, announce)


@router.get("/v1/orders/{order_id}/returns", tags=["orders"], response_model=ReturnPage)
def list_returns_of_order(shop: Shop, caller: Caller, order_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """All returns of that order, oldest first, on one page."""
    stored = visible_order(shop, caller, cart_token, order_id, "order.returns_read")
    with shop.database.autocommit() as connection:
        found = return_reads.of_order(connection, stored)
    return JSONResponse(paging.page([current.view() for current in found], None))


@router.get("/v1/fulfilment/returns", tags=["fulfilment"], response_model=ReturnPage)
def list_returns(
    shop: Shop,
    caller: Warehouse,
    status: Annotated[ReturnStatus | None, Query(description="`requested` is what is expected")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Newest first."""
    with shop.database.transaction() as connection:
        found = return_reads.page(connection, state=status, before=_before(cursor), limit=limit + 1)
    last = found[limit - 1].row if len(found) > limit else None
    next_cursor = paging.encode(last.requested_at.isoformat(), last.id) if last else None
    return JSONResponse(paging.page([current.view() for current in found[:limit]], next_cursor))


@router.get("/v1/fulfilment/returns/{return_id}", tags=["fulfilment"], response_model=ReturnOut)
def read_return(shop: Shop, caller: Warehouse, return_id: Id) -> JSONResponse:
    """By the number on the parcel."""
    with shop.database.autocommit() as connection:
        found = return_reads.find(connection, return_id)
    if found is None:
        raise NotFound("There is no such return")
    return JSONResponse(found.view())


@router.post("/v1/fulfilment/returns/{return_id}/receive", tags=["fulfilment"], response_model=ReturnWithOrder)
def receive_return(
    command: Command,
    shop: Shop,
    caller: Warehouse,
    return_id: Id,
    body: NewReceipt | None = None,
) -> Response:
    """Receives a return: restocks what can be sold again at the location it had left from, and refunds it.

    Announced units that are not in the parcel stay with the buyer, who may announce them again. A return that has
    expired is received all the same. A second receipt is 409 `invalid-transition` with the state.
    """
    body = body or NewReceipt()
    lines = None if body.lines is None else [ReceivedLine.model_validate(line.model_dump()) for line in body.lines]
    key = command.key(caller, body)
    receipt = ReceiveReturn(return_id=return_id, lines=lines, restock=body.restock, initiator=initiator(caller, key))
    return command.once(key, lambda connection: commands.receive_return(connection, receipt))


@router.post("/v1/support/returns/{return_id}/refuse", tags=["support"], response_model=ReturnWithOrder)
def refuse_return(
    command: Command,
    shop: Shop,
    caller: Support,
    return_id: Id,
    body: ReturnRefusalIn | None = None,
) -> Response:
    """Refuses a return: 409 once it has arrived. Only staff can read the reason."""
    body = body or ReturnRefusalIn()
    key = command.key(caller, body)
    initiated_by = initiator(caller, key)
    return command.once(
        key, lambda connection: commands.refuse_return(connection, return_id, initiated_by, body.reason)
    )


def _before(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    at, return_id = paging.decode(cursor, str, str)
    try:
        return datetime.fromisoformat(at).astimezone(UTC), return_id
    except (ValueError, OverflowError) as error:
        raise BadCursor() from error
