"""Order projections: read in bulk for comparison with their events, and rebuilt from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.db.repositories.orders import search as order_search
from models.db.repositories.orders.orders import read_events
from models.orders.events import fold
from models.orders.orders import Order

Rows = list[dict[str, Any]]


class Batch(NamedTuple):
    """Orders with their events and search terms, of one snapshot."""

    orders: Rows
    events: Rows
    terms: Rows


_ORDERS = text("""
SELECT id, number, version, status, payment_status, customer_id, cart_id, checkout_id, currency, total, document, email,
    shipping_address ->> 'name' AS recipient, placed_at
FROM orders WHERE id > :after ORDER BY id LIMIT :limit
""")
_EVENTS = text("""
SELECT order_id, version, type, at, actor, cause, data FROM order_events
WHERE order_id = ANY(CAST(:ids AS text[])) ORDER BY order_id, version
""")
_TERMS = text("""
SELECT order_id, placed_at, array_agg(term) AS terms FROM order_terms
WHERE order_id = ANY(CAST(:ids AS text[])) GROUP BY order_id, placed_at
""")
_LOCK = text("SELECT email, shipping_address FROM orders WHERE id = :id FOR UPDATE")
_WRITE = text("""
UPDATE orders SET number = :number, version = :version, status = :status, payment_status = :payment_status,
    customer_id = :customer_id, cart_id = :cart_id, checkout_id = :checkout_id, currency = :currency, total = :total,
    document = CAST(:document AS jsonb), placed_at = :placed_at
WHERE id = :id
""")


def read_batch(connection: Connection, *, after: str, limit: int) -> Batch:
    """The next orders by id. Call it first in the transaction, so that events and rows are of one snapshot."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    found = _rows(connection.execute(_ORDERS, {"after": after, "limit": limit}).mappings())
    ids = {"ids": [row["id"] for row in found]}
    events, terms = (_rows(connection.execute(statement, ids).mappings()) for statement in (_EVENTS, _TERMS))
    return Batch(found, events, terms)


def rebuild(connection: Connection, order_id: str) -> Order:
    """Overwrites the projection by the fold of the events. Raises as `fold`, without writing anything."""
    email, shipping = connection.execute(_LOCK, {"id": order_id}).one()
    order = fold(read_events(connection, order_id), order_id)
    connection.execute(
        _WRITE,
        {
            **order.model_dump(
                include={"id", "number", "version", "customer_id", "cart_id", "checkout_id", "currency"}
            ),
            "status": order.status,
            "payment_status": order.payment_status,
            "placed_at": order.placed_at,
            "total": order.totals.total.amount,
            "document": order.model_dump_json(),
        },
    )
    order_search.rewrite_terms(connection, order, email=email, shipping=shipping)
    return order


def _rows(found: Any) -> Rows:
    rows: list[Mapping[str, Any]] = list(found)
    return [dict(row) for row in rows]
