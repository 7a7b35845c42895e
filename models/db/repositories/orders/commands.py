"""Commands to an order other than shipping it, one transaction each. The order's lock serialises them."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, text

from models import topics
from models.addresses import Address
from models.catalogue.inventory import Movement
from models.db.repositories.catalogue import inventory
from models.db.repositories.delivery import outbox
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders import refunds, shipments
from models.db.repositories.orders import search as order_search
from models.db.repositories.orders.orders import StoredOrder, append, lock_order
from models.errors import InvalidRequest, InvalidTransition
from models.ids import cancellation_refund_of
from models.orders import orders
from models.orders.commands import Initiator, OrderSnapshot
from models.orders.events import shipments_have_ended
from models.orders.notices import OrderNotice
from models.orders.orders import Order
from models.states import OrderStatus

_DONE = text("SELECT 1 FROM order_events WHERE order_id = :order_id AND type = :type AND cause = :cause LIMIT 1")

_PACKED = text("SELECT id FROM shipments WHERE order_id = :order_id AND status = 'preparing' LIMIT 1")

_LOCK_STOCK = text("""
SELECT 1 FROM stock_levels s JOIN stock_holds h ON h.sku = s.sku AND h.location = s.location
WHERE h.checkout_id = :checkout_id AND h.state = 'allocated' ORDER BY s.sku, s.location FOR UPDATE OF s
""")

# A partly shipped allocation keeps the shipped part; the rest is available again.
_RELEASE_STOCK = inventory.statement(
    """
WITH left_over AS (
        SELECT sku, location, quantity - shipped AS quantity FROM stock_holds
        WHERE checkout_id = :checkout_id AND state = 'allocated'),
    holds AS (
        UPDATE stock_holds SET state = CASE WHEN shipped > 0 THEN 'shipped' ELSE 'released' END,
            quantity = CASE WHEN shipped > 0 THEN shipped ELSE quantity END
        WHERE checkout_id = :checkout_id AND state = 'allocated'),
    {moved}
SELECT sku FROM moved
""",
    Movement.RELEASE,
    "left_over",
)

_UNUSE_CODES = text("""
WITH unused AS (DELETE FROM promotion_uses WHERE checkout_id = :checkout_id RETURNING promotion_id)
UPDATE promotions p SET used = p.used - 1 FROM unused u WHERE p.id = u.promotion_id
""")


def cancel(connection: Connection, order_id: str, initiator: Initiator) -> StoredOrder:
    """Cancels an order without a shipment: releases stock and codes at once; the Order workflow voids the payment.

    Idempotent. Raises InvalidTransition with the state, also while a shipment is in progress.
    """
    stored, now = lock_order(connection, order_id)
    order = stored.order
    if order.status is OrderStatus.CANCELLED:
        return stored
    _nothing_packed(connection, order, "cancelled")
    return stored._replace(order=_cancel(connection, order, orders.ORDER_CANCELLED, initiator, now))


def cancel_remainder(connection: Connection, order_id: str, initiator: Initiator) -> StoredOrder:
    """Cancels the units that have not shipped: releases their stock and authorisation. Raises InvalidTransition."""
    stored, now = lock_order(connection, order_id)
    order = stored.order
    if order.shipments and not order.left_to_ship():
        return stored
    _nothing_packed(connection, order, "cancelled")
    return stored._replace(order=_cancel(connection, order, orders.ORDER_REMAINDER_CANCELLED, initiator, now))


def _cancel(connection: Connection, order: Order, event: str, initiator: Initiator, now: datetime) -> Order:
    whole = event == orders.ORDER_CANCELLED
    order = append(connection, order, [(event, {})], now=now, actor=initiator.actor, cause=initiator.cause)
    ended = None if whole else shipments_have_ended(order)
    if ended is not None:
        last = orders.ORDER_DELIVERED if ended is OrderStatus.DELIVERED else orders.ORDER_RETURNED
        order = append(connection, order, [(last, {})], now=now, actor=initiator.actor, cause=initiator.cause)
    checkout = {"checkout_id": order.checkout_id}
    connection.execute(_LOCK_STOCK, checkout)
    _RELEASE_STOCK.execute(connection, checkout)
    if whole:
        connection.execute(_UNUSE_CODES, checkout)
    order = _refund_overpaid(connection, order, initiator)
    outbox.publish(connection, topics.ORDER_CANCELLED, order.id, topics.OrderRef(order_id=order.id))
    order_notices.queue(connection, order.id, OrderNotice.CANCELLED, f"{order.id}:{order.version}")
    return order


def _refund_overpaid(connection: Connection, order: Order, initiator: Initiator) -> Order:
    """Requests the refund of what was captured for units that won't ship, at the provider by hand for example."""
    if order.overpaid.amount <= 0:
        return order
    requested = refunds.request(
        connection,
        order.id,
        amount=order.overpaid,
        lines=[],
        cause=initiator.cause,
        actor=initiator.actor,
        refund_id=cancellation_refund_of(order.id),
    )
    return requested.stored.order


def hold(connection: Connection, order_id: str, initiator: Initiator) -> StoredOrder:
    """Puts the order on hold: nothing ships until it is released. Idempotent. Raises InvalidTransition."""
    stored, now = lock_order(connection, order_id)
    if stored.order.status is OrderStatus.ON_HOLD or _done(connection, order_id, orders.ORDER_HELD, initiator):
        return stored
    _nothing_packed(connection, stored.order, "on_hold")
    return stored._replace(order=_append(connection, stored.order, orders.ORDER_HELD, initiator, now))


def release(connection: Connection, order_id: str, initiator: Initiator) -> StoredOrder:
    """Resumes the status before the hold. Raises InvalidTransition if the order is not on hold."""
    stored, now = lock_order(connection, order_id)
    if _done(connection, order_id, orders.ORDER_RELEASED, initiator):
        return stored
    return stored._replace(order=_append(connection, stored.order, orders.ORDER_RELEASED, initiator, now))


def _done(connection: Connection, order_id: str, event: str, initiator: Initiator) -> bool:
    """Whether this command was executed before: a repeat must not undo later commands."""
    return (
        connection.execute(_DONE, {"order_id": order_id, "type": event, "cause": initiator.cause}).first() is not None
    )


def change_address(connection: Connection, order_id: str, address: Address, initiator: Initiator) -> StoredOrder:
    """Changes the shipping address within the country and region that the order was priced for. Raises
    InvalidTransition after packing has begun, InvalidRequest for another place."""
    stored, now = lock_order(connection, order_id)
    stored.order.check_address_may_change()
    _nothing_packed(connection, stored.order, "shipping-address")
    before = stored.shipping or {}
    for part in ("country", "region"):
        if getattr(address, part) != before.get(part):
            raise InvalidRequest.at(
                f"/{part}", f"the order was priced for {before.get('country')} {before.get('region') or ''}".strip()
            )
    order = _append(connection, stored.order, orders.ORDER_ADDRESS_CHANGED, initiator, now)
    shown = address.model_dump()
    connection.execute(
        text("UPDATE orders SET shipping_address = CAST(:address AS jsonb) WHERE id = :id"),
        {"id": order_id, "address": json.dumps(shown)},
    )
    order_search.rewrite_terms(connection, order, email=stored.email, shipping=shown)
    return stored._replace(order=order, shipping=shown)


def resend_confirmation(connection: Connection, order_id: str, initiator: Initiator) -> StoredOrder:
    """Queues the confirmation mail again, with the present state of the order."""
    stored, _ = lock_order(connection, order_id)
    order_notices.queue(connection, order_id, OrderNotice.CONFIRMED, initiator.cause)
    return stored


# The Order workflow's snapshot


def load_snapshot(connection: Connection, order_id: str) -> OrderSnapshot:
    """Reads without a lock: every later change signals the workflow. Raises InvalidTransition for an unknown order."""
    row = connection.execute(_SNAPSHOT, {"order_id": order_id}).first()
    if row is None:
        raise InvalidTransition("There is no such order", state="unknown", requested="look")
    order = Order.model_validate(row.document)
    needed = bool(order.left_to_ship()) and order.status is not OrderStatus.CANCELLED
    return OrderSnapshot(
        status=order.status,
        fulfilment=order.fulfilment,
        unused_authorisation=0 if needed else row.open_amount,
        since_delivery=row.since_delivery,
        unfinished=shipments.unfinished(connection, order_id)[0] if row.preparing else None,
    )


_SNAPSHOT = text("""
SELECT o.document,
    (SELECT coalesce(sum(amount - captured - released), 0) FROM payments p
        WHERE p.order_id = o.id AND p.state IN ('authorised', 'captured')) AS open_amount,
    coalesce((SELECT extract(epoch FROM now() - e.at) FROM order_events e
        WHERE e.order_id = o.id AND e.type = 'order.delivered' ORDER BY e.version DESC LIMIT 1), 0)::float
        AS since_delivery,
    EXISTS (SELECT 1 FROM shipments s WHERE s.order_id = o.id AND s.status = 'preparing') AS preparing
FROM orders o WHERE o.id = :order_id
""")


def _append(connection: Connection, order: Order, event: str, initiator: Initiator, now: datetime) -> Order:
    order = append(connection, order, [(event, {})], now=now, actor=initiator.actor, cause=initiator.cause)
    outbox.publish(connection, topics.ORDER_CHANGED, order.id, topics.OrderRef(order_id=order.id))
    return order


def _nothing_packed(connection: Connection, order: Order, requested: str) -> None:
    """Raises InvalidTransition while a shipment is in progress: it can't be stopped."""
    if connection.execute(_PACKED, {"order_id": order.id}).first() is not None:
        raise InvalidTransition("A parcel of it is being handed over", state=str(order.status), requested=requested)
