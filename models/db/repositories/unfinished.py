"""What is not at its end and so has to have a process: pages of it, and the word that begins the process anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, TextClause, text

from models import ids, orders
from models.db.repositories import outbox, parcels, payment_methods, payment_retry, returns


class Unfinished(NamedTuple):
    id: str
    order_id: str | None


class Kind(NamedTuple):
    """`page` gives ids behind `:after`, at least `:margin` seconds old and of which the outbox has nothing to tell.

    `topic` is what the relay begins the process by.
    """

    name: str
    page: TextClause
    topic: str
    workflow_id: Callable[[str], str]
    told: Callable[[Unfinished], dict[str, Any]]


_UNTOLD = "NOT EXISTS (SELECT 1 FROM outbox b WHERE b.aggregate = {table}.id)"

# A cancelled order is finished once its bank has been let go of.
_ORDERS = """
SELECT id, id AS order_id FROM (
    SELECT o.id FROM orders o
    WHERE o.status NOT IN ('completed', 'cancelled', 'returned') AND o.id > :after
        AND o.placed_at < now() - make_interval(secs => :margin)
    UNION
    SELECT o.id FROM payments p JOIN orders o ON o.id = p.order_id
    WHERE p.state IN ('authorised', 'captured') AND p.amount > p.captured + p.released
        AND o.status IN ('completed', 'cancelled', 'returned') AND p.order_id > :after
        AND o.placed_at < now() - make_interval(secs => :margin)) AS live
WHERE {untold} ORDER BY id LIMIT :limit
"""

_SHIPMENTS = """
SELECT id, order_id FROM shipments
WHERE status NOT IN ('preparing', 'delivered', 'lost', 'returned_to_sender') AND id > :after
    AND created_at < now() - make_interval(secs => :margin) AND {untold}
ORDER BY id LIMIT :limit
"""

_RETURNS = """
SELECT id, order_id FROM returns
WHERE state = 'requested' AND id > :after AND created_at < now() - make_interval(secs => :margin) AND {untold}
ORDER BY id LIMIT :limit
"""

_RETRIES = """
SELECT order_id AS id, order_id FROM payment_retries
WHERE state = 'retrying' AND order_id > :after AND updated_at < now() - make_interval(secs => :margin)
ORDER BY order_id LIMIT :limit
"""

_REMOVALS = """
SELECT id, NULL AS order_id FROM payment_methods
WHERE state = 'removing' AND id > :after AND updated_at < now() - make_interval(secs => :margin) AND {untold}
ORDER BY id LIMIT :limit
"""


def _page(statement: str, table: str) -> TextClause:
    return text(statement.format(untold=_UNTOLD.format(table=table)))


KINDS = (
    Kind(
        "order",
        _page(_ORDERS, "live"),
        orders.ORDER_CONFIRMED,
        ids.order_workflow,
        lambda found: {"order_id": found.id, "resumed": True},
    ),
    Kind(
        "shipment",
        _page(_SHIPMENTS, "shipments"),
        parcels.CHANGED,
        ids.shipment_workflow,
        lambda found: {"shipment_id": found.id, "order_id": found.order_id},
    ),
    Kind(
        "return",
        _page(_RETURNS, "returns"),
        returns.REQUESTED,
        ids.return_workflow,
        lambda found: {"return_id": found.id, "order_id": found.order_id},
    ),
    Kind(
        "payment_retry",
        _page(_RETRIES, "payment_retries"),
        payment_retry.FAILED,
        ids.payment_retry_workflow,
        lambda found: {"order_id": found.id},
    ),
    Kind(
        "removal",
        _page(_REMOVALS, "payment_methods"),
        payment_methods.REMOVED,
        ids.remove_payment_method_workflow,
        lambda found: {"payment_method_id": found.id},
    ),
)


def page(connection: Connection, kind: Kind, *, after: str, margin: float, limit: int) -> list[Unfinished]:
    """In the order of their ids."""
    rows = connection.execute(kind.page, {"after": after, "margin": margin, "limit": limit})
    return [Unfinished(*row) for row in rows]


def tell(connection: Connection, kind: Kind, found: Unfinished) -> None:
    """Has the relay begin its process; one that runs after all is left alone."""
    outbox.publish(connection, kind.topic, found.id, kind.told(found))
