"""Pages of rows that should have a running workflow. A row whose workflow is gone is an orphan."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, TextClause, text

from models.db.tables.base import one_of
from models.states import LIVE_CHECKOUT

Page = TextClause


class Row(NamedTuple):
    """`parent_id`: of the row's order or user."""

    id: str
    parent_id: str


# Rows with an undelivered message are left to the relay.
_DELIVERED = "NOT EXISTS (SELECT 1 FROM outbox b WHERE b.aggregate = {table}.id)"


def _page(statement: str, table: str = "") -> Page:
    return text(statement.format(delivered=_DELIVERED.format(table=table)))


# A checkout and a card to save wait until their last deadline, so their ages count from it.
CHECKOUTS = _page(f"""
SELECT id, order_id FROM checkouts
WHERE {one_of("status", LIVE_CHECKOUT)} AND id > :after
    AND greatest(hold_expires_at, action_expires_at) < now() - make_interval(secs => :margin)
ORDER BY id LIMIT :limit
""")  # noqa: S608  constants

CARDS_TO_SAVE = _page("""
SELECT id, user_id FROM payment_methods
WHERE state IN ('saving', 'requires_action') AND id > :after
    AND coalesce(action_expires_at, updated_at) < now() - make_interval(secs => :margin)
ORDER BY id LIMIT :limit
""")

CARDS_TO_REMOVE = _page(
    """
SELECT id, user_id FROM payment_methods
WHERE state = 'removing' AND id > :after AND updated_at < now() - make_interval(secs => :margin) AND {delivered}
ORDER BY id LIMIT :limit
""",
    "payment_methods",
)

# A cancelled order is finished once its open authorisation is voided.
ORDERS = _page(
    """
SELECT id, id FROM (
    SELECT o.id FROM orders o
    WHERE o.status NOT IN ('completed', 'cancelled', 'returned') AND o.id > :after
        AND o.placed_at < now() - make_interval(secs => :margin)
    UNION
    SELECT o.id FROM payments p JOIN orders o ON o.id = p.order_id
    WHERE p.state IN ('authorised', 'captured') AND p.amount > p.captured + p.released
        AND o.status IN ('completed', 'cancelled', 'returned') AND p.order_id > :after
        AND o.placed_at < now() - make_interval(secs => :margin)) AS live
WHERE {delivered} ORDER BY id LIMIT :limit
""",
    "live",
)

SHIPMENTS = _page(
    """
SELECT id, order_id FROM shipments
WHERE status NOT IN ('preparing', 'delivered', 'lost', 'returned_to_sender') AND id > :after
    AND created_at < now() - make_interval(secs => :margin) AND {delivered}
ORDER BY id LIMIT :limit
""",
    "shipments",
)

RETURNS = _page(
    """
SELECT id, order_id FROM returns
WHERE state = 'requested' AND id > :after AND created_at < now() - make_interval(secs => :margin) AND {delivered}
ORDER BY id LIMIT :limit
""",
    "returns",
)

# Pending, or failed with a task that is open or was resolved to retry since.
REFUNDS = _page(
    """
SELECT id, order_id FROM (
    SELECT id, order_id FROM refunds
    WHERE state = 'pending' AND id > :after AND updated_at < now() - make_interval(secs => :margin)
    UNION
    SELECT r.id, r.order_id FROM tasks t JOIN refunds r ON r.id = t.subject
    WHERE t.kind = 'refund-failed' AND r.state = 'failed' AND r.id > :after
        AND r.updated_at < now() - make_interval(secs => :margin)
        AND (t.closed_at IS NULL OR t.outcome = 'retry' AND t.closed_at > r.updated_at)
        AND NOT EXISTS (SELECT 1 FROM tasks n WHERE n.subject = t.subject AND n.kind = t.kind AND n.id > t.id)) AS live
WHERE {delivered} ORDER BY id LIMIT :limit
""",
    "live",
)

PAYMENT_RETRIES = _page("""
SELECT order_id, order_id FROM payment_retries
WHERE state = 'retrying' AND order_id > :after AND updated_at < now() - make_interval(secs => :margin)
ORDER BY order_id LIMIT :limit
""")


def read(connection: Connection, page: Page, *, after: str, margin: float, limit: int) -> list[Row]:
    """At most `limit` rows with ids behind `after`, in the order of their ids, at least `margin` seconds old."""
    return [Row(*row) for row in connection.execute(page, {"after": after, "margin": margin, "limit": limit})]
