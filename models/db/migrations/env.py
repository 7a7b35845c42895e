"""Alembic's entry: one connection, given by `models.db.migrate`."""

from __future__ import annotations

from alembic import context

from models.db.tables import accounts, catalogue, checkout, delivery, orders, payments
from models.db.tables.base import metadata

__all__ = ["accounts", "catalogue", "checkout", "delivery", "orders", "payments"]  # imported for their tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    transactional_ddl=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
