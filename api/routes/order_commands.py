"""What a buyer (or support for them) does to an order: cancel it, send it somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.addresses import AddressIn, Body, Line, checked_address
from api.auth import Caller, CartToken, audience
from api.fields import Id
from api.idempotency import IdempotencyKey, Key, key_of, once
from api.routes.orders import own_order
from api.schemas import OrderOut, Problem
from api.services import Shop
from models.access import Principal, Scope
from models.answers import Answer
from models.db.repositories import audit, order_commands
from models.ids import derived_id, new_id
from models.order_commands import By
from models.orders import Actor

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(
    prefix="/v1/orders",
    tags=["orders"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)},
)


class Cancel(Body):
    reason: Line | None = None


@router.post("/{order_id}/cancel", response_model=OrderOut)
def cancel_order(
    request: Request,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: Cancel,
    cart_token: CartToken = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Before anything has left: the stock is free at once, and the money as soon as the provider answers.

    Once a parcel is being handed over it is too late: 409, naming the state. What is cancelled stays so.
    """
    own_order(shop, caller, cart_token, order_id, needs=Scope.ORDERS_WRITE)
    key = key_of(idempotency_key, audience(caller, cart_token), request.url.path, body)
    by = asked_by(caller, key)

    def cancel(connection: Connection) -> Answer:
        stored = order_commands.cancel(connection, order_id, by)
        order_commands.remember(connection, order_id, "cancel", body.reason, by.actor)
        if caller is not None and by.actor.type != "customer":
            audit.append(connection, caller, "order.cancelled", order_id)
        return Answer.of(200, stored.view())

    return once(request, shop.database, key, cancel)


@router.put("/{order_id}/shipping-address", response_model=OrderOut)
def change_shipping_address(
    request: Request,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: AddressIn,
    cart_token: CartToken = None,
) -> Response:
    """Until anything is packed, within the country and region that the order was priced for."""
    own_order(shop, caller, cart_token, order_id, needs=Scope.ORDERS_WRITE)
    address = checked_address(body)
    by = asked_by(caller, None)

    def change(connection: Connection) -> Answer:
        stored = order_commands.change_address(connection, order_id, address, by)
        if caller is not None and by.actor.type != "customer":
            audit.append(connection, caller, "order.address_changed", order_id)
        return Answer.of(200, stored.view())

    return once(request, shop.database, None, change)


def asked_by(caller: Principal | None, key: Key | None) -> By:
    """Whoever asks, and an id for what they ask: the same for the same key."""
    actor = Actor(type=caller.kind, id=caller.user_id) if caller else Actor(type="guest")
    return By(actor=actor, cause=derived_id("evt", key.digest) if key else new_id("evt"))
