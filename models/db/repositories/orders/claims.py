"""A guest's orders become a customer's once the address that they were placed with is verified as theirs."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from models.db.repositories.orders.orders import append
from models.db.tables.accounts import users
from models.db.tables.orders import orders as orders_table
from models.orders import orders
from models.orders.orders import SYSTEM, Order


def claim_guest_orders(connection: Connection, user_id: str) -> int:
    """How many orders without a customer, placed with this user's verified address, are now theirs.

    Each gets an `order.claimed` event; nothing else about it changes, and its guest's cart token goes on reading it.
    Repeated, or done twice at once, it adds nothing. An unverified or disabled account claims nothing.

    Call it before `api.sessions.start`: it waits for other writers of the orders, and the audit row comes last.
    """
    owner = (
        select(users.c.email_key)
        .where(users.c.id == user_id, users.c.verified_at.is_not(None), users.c.disabled_at.is_(None))
        .scalar_subquery()
    )
    rows = connection.execute(
        select(orders_table.c.document, text("now() AS now"))
        .where(orders_table.c.email_key == owner, orders_table.c.customer_id.is_(None))
        .order_by(orders_table.c.id)  # everybody locks in this order
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
