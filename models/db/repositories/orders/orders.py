"""Orders: every change appends events and rewrites their projection, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text

from models.db.tables.checkout import carts
from models.db.tables.orders import order_events
from models.db.tables.orders import orders as orders_table
from models.errors import NotFound
from models.orders import orders
from models.orders.events import apply
from models.orders.orders import SYSTEM, Actor, Event, Order
from models.states import OrderStatus


class StoredOrder(NamedTuple):
    """The fold of an order's events, and its personal data."""

    order: Order
    email: str | None
    shipping: dict[str, Any] | None
    billing: dict[str, Any] | None

    def view(self) -> dict[str, Any]:
        return orders.view(self.order, self.email, self.shipping, self.billing)


COLUMNS = (
    orders_table.c.document,
    orders_table.c.email,
    orders_table.c.shipping_address,
    orders_table.c.billing_address,
)

_APPEND = text("""
WITH events AS (
        INSERT INTO order_events (order_id, version, type, at, actor, cause, data)
        SELECT :order_id, e.version, e.type, :now, CAST(:actor AS jsonb), :cause, e.data
        FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (version int, type text, data jsonb))
UPDATE orders SET version = :version, status = :status, payment_status = :payment_status,
    customer_id = :customer_id, document = CAST(:document AS jsonb) WHERE id = :order_id
""")


def read_order(connection: Connection, order_id: str) -> StoredOrder | None:
    row = connection.execute(select(*COLUMNS).where(orders_table.c.id == order_id)).first()
    return StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]) if row else None


def require_order(connection: Connection, order_id: str) -> StoredOrder:
    """Raises NotFound."""
    stored = read_order(connection, order_id)
    if stored is None:
        raise NotFound("There is no such order")
    return stored


def read_order_with_owner(connection: Connection, order_id: str) -> tuple[StoredOrder, bytes | None] | None:
    """The order, and the digest of its guest's cart token."""
    row = connection.execute(
        select(*COLUMNS, carts.c.token_digest)
        .join(carts, carts.c.id == orders_table.c.cart_id)
        .where(orders_table.c.id == order_id)
    ).first()
    if row is None:
        return None
    digest = bytes(row[4]) if row[4] is not None else None
    return StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]), digest


def lock_order(connection: Connection, order_id: str) -> tuple[StoredOrder, datetime]:
    """Locks the order; returns it and the transaction's time. Raises NotFound."""
    row = connection.execute(
        select(*COLUMNS, text("now() AS now")).where(orders_table.c.id == order_id).with_for_update()
    ).first()
    if row is None:
        raise NotFound("There is no such order")
    return StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]), row[4]


def append(
    connection: Connection,
    order: Order,
    facts: Sequence[tuple[str, dict[str, Any]]],
    *,
    now: datetime,
    actor: Actor,
    cause: str,
) -> Order:
    """Appends events to the locked order and returns it. Raises InvalidTransition without appending anything."""
    written = []
    for type_, data in facts:
        event = Event(version=order.version + 1, type=type_, at=now, actor=actor, cause=cause, data=data)
        order = apply(order, event, order.id)
        written.append({"version": event.version, "type": type_, "data": data})
    connection.execute(
        _APPEND,
        {
            "order_id": order.id,
            "now": now,
            "actor": actor.model_dump_json(),
            "cause": cause,
            "events": json.dumps(written),
            "version": order.version,
            "status": order.status,
            "payment_status": order.payment_status,
            "customer_id": order.customer_id,
            "document": order.model_dump_json(),
        },
    )
    return order


def complete(connection: Connection, order_id: str) -> OrderStatus:
    """Completes a delivered order after its return window; other orders don't change. Returns the status."""
    stored, now = lock_order(connection, order_id)
    order = stored.order
    if order.status is OrderStatus.DELIVERED:
        order = append(connection, order, [(orders.ORDER_COMPLETED, {})], now=now, actor=SYSTEM, cause=order_id)
    return order.status


def read_events(connection: Connection, order_id: str, *, after: int = 0, limit: int | None = None) -> list[Event]:
    """Oldest first, after version `after`."""
    rows = connection.execute(
        select(order_events)
        .where(order_events.c.order_id == order_id, order_events.c.version > after)
        .order_by(order_events.c.version)
        .limit(limit)
    )
    return [
        Event(
            version=row.version,
            type=row.type,
            at=row.at,
            actor=Actor.model_validate(row.actor),
            cause=row.cause,
            data=row.data,
        )
        for row in rows
    ]
