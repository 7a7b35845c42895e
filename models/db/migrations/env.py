"""Alembic's entry: one connection, given by `models.db.migrate`."""

from __future__ import annotations

from alembic import context

from models.db.tables import (
    accounts,
    attention,
    audit,
    carts,
    catalog,
    checkouts,
    leases,
    messaging,
    orders,
    payment_retries,
)
from models.db.tables.base import metadata

__all__ = [
    "accounts",
    "attention",
    "audit",
    "carts",
    "catalog",
    "checkouts",
    "leases",
    "messaging",
    "orders",
    "payment_retries",
]  # imported for their tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    transactional_ddl=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
