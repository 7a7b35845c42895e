"""Commands of a buyer (or support for them): cancel an order, change its shipping address."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.addresses import AddressIn, checked_address
from api.auth import Caller, CartToken
from api.commands import Command, initiator
from api.fields import Id
from api.idempotency import once
from api.routes.orders.orders import own_order
from api.schemas.base import Body, Line
from api.schemas.responses import OrderOut, Problem
from api.services import Shop
from models.accounts.access import Scope
from models.db.repositories import commands

router = APIRouter(
    prefix="/v1/orders",
    tags=["orders"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)},
)


class Cancel(Body):
    reason: Line | None = None


@router.post("/{order_id}/cancel", response_model=OrderOut)
def cancel_order(
    command: Command,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: Cancel,
    cart_token: CartToken = None,
) -> Response:
    """Cancels before anything has left: the stock is free at once, the money as soon as the provider answers.

    Later it is 409 with the state. Cancelling a cancelled order changes nothing.
    """
    own_order(shop, caller, cart_token, order_id, needs=Scope.ORDERS_WRITE)
    key = command.key(caller, body, cart_token)
    initiated_by = initiator(caller, key)
    return command.once(key, lambda connection: commands.cancel_order(connection, order_id, initiated_by, body.reason))


@router.put("/{order_id}/shipping-address", response_model=OrderOut)
def change_shipping_address(
    request: Request,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: AddressIn,
    cart_token: CartToken = None,
) -> Response:
    """Allowed until anything is packed, within the country and region that the order was priced for."""
    own_order(shop, caller, cart_token, order_id, needs=Scope.ORDERS_WRITE)
    address = checked_address(body)
    initiated_by = initiator(caller, None)
    return once(
        request,
        shop.database,
        None,
        lambda connection: commands.change_address(connection, order_id, initiated_by, address),
    )
