"""Refunds by support: an amount, lines, or all that is left; together never more than was captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from api.auth import OrdersReader, requires
from api.commands import Command, initiator
from api.fields import Id, Words
from api.idempotency import required
from api.schemas.base import Body, Line
from api.schemas.responses import OrderOut, Out, Problem
from api.services import Shop
from models.accounts.access import Principal, Scope
from models.db.repositories import commands
from models.db.repositories.delivery import audit
from models.db.repositories.orders import refunds
from models.db.repositories.orders.orders import require_order
from models.delivery.stored_responses import StoredResponse
from models.errors import InvalidRequest
from models.ids import derived_id
from models.money import MAX_AMOUNT, Currency, Money
from models.orders.orders import LineQuantity

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(
    prefix="/v1/support/orders",
    tags=["support"],
    responses={status: {"model": Problem} for status in (401, 403, 404)},
)

Refunder = Annotated[Principal, Depends(requires(Scope.REFUNDS_WRITE))]


class RefundAmount(Body):
    amount: Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT, description="minor units by ISO 4217 exponent")]
    currency: Currency


class RefundLine(Body):
    line_id: Line
    quantity: Annotated[int, Field(strict=True, ge=1, le=999)]


class NewRefund(Body):
    """An amount, lines (what they cost, with their tax), both (part of that), or neither: all that is left."""

    amount: RefundAmount | None = None
    lines: Annotated[list[RefundLine], Field(min_length=1, max_length=100)] | None = None
    reason: Words


class RefundLineOut(Out):
    line_id: str
    quantity: int


class RefundPartOut(Out):
    payment_id: str
    provider: str
    amount: Money
    status: str
    reference: str | None


class RefundOut(Out):
    id: str
    order_id: str
    status: str
    amount: Money
    tax: Money
    lines: list[RefundLineOut]
    reason: str | None
    requested_at: str
    parts: list[RefundPartOut]


class NewRefundOut(RefundOut):
    order: OrderOut


class RefundList(Out):
    items: list[RefundOut]
    next_cursor: str | None


@router.post(
    "/{order_id}/refunds",
    status_code=201,
    response_model=NewRefundOut,
    responses={status: {"model": Problem} for status in (400, 409, 422)},
)
def create_refund(
    command: Command,
    shop: Shop,
    caller: Refunder,
    order_id: Id,
    body: NewRefund,
) -> Response:
    """Decides the refund; `status` is `pending` until the provider has done it."""
    key = required(command.key(caller, body))
    lines = [LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in body.lines or []]
    if len({line.line_id for line in lines}) != len(lines):
        raise InvalidRequest.at("/lines", "names a line twice")
    amount = Money.of(body.amount.amount, body.amount.currency) if body.amount else None
    initiated_by = initiator(caller, key)

    def refund(connection: Connection) -> StoredResponse:
        return commands.request_refund(
            connection,
            order_id,
            initiated_by,
            refund_id=derived_id("rfd", key.digest),
            amount=amount,
            lines=lines,
            reason=body.reason,
        )

    return command.once(key, refund)


@router.get("/{order_id}/refunds", response_model=RefundList)
def read_refunds(shop: Shop, caller: OrdersReader, order_id: Id) -> JSONResponse:
    """An order's refunds, oldest first, with their reasons and their parts by payment."""
    with shop.database.autocommit() as connection:
        stored = require_order(connection, order_id)
        found = refunds.views(connection, stored.order)
        audit.append(connection, caller, "order.refunds_read", order_id)
    return JSONResponse({"items": found, "next_cursor": None})
