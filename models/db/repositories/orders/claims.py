"""Assigns guests' orders to the customer who has verified their e-mail address."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from models.db.repositories.orders.orders import append
from models.db.tables.accounts import users
from models.db.tables.orders import orders as orders_table
from models.orders import orders
from models.orders.orders import SYSTEM, Order


def claim_guest_orders(connection: Connection, user_id: str) -> int:
    """Assigns orders without a customer that were placed with this user's verified address; returns their number.

    Each gets an `order.claimed` event and no other change; its guest's cart token can still read it.
    Idempotent, also under concurrent calls. An unverified or disabled account claims nothing.

    Call it before `api.sessions.start`: it waits for locks of the orders, and the audit row must come last.
    """
    owner = (
        select(users.c.email_key)
        .where(users.c.id == user_id, users.c.verified_at.is_not(None), users.c.disabled_at.is_(None))
        .scalar_subquery()
    )
    rows = connection.execute(
        select(orders_table.c.document, text("now() AS now"))
        .where(orders_table.c.email_key == owner, orders_table.c.customer_id.is_(None))
        .order_by(orders_table.c.id)  # the lock order everywhere
        .with_for_update(of=orders_table)
    ).all()
    for document, now in rows:
        append(
            connection,
            Order.model_validate(document),
            [(orders.ORDER_CLAIMED, {"customer_id": user_id})],
            now=now,
            actor=SYSTEM,
            cause=user_id,
        )
    return len(rows)
