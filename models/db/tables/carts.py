"""Carts: rows with a version; they take as many changes as the buyer likes."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from models.db.tables.base import id_column, json_column, metadata, time_column

carts = Table(
    "carts",
    metadata,
    id_column(),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("customer_id", Text),
    Column("token_digest", LargeBinary),  # SHA-256 of the guest's token; the token itself is not kept
    Column("currency", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("email", Text),
    json_column("shipping_address", nullable=True),
    json_column("billing_address", nullable=True),
    Column("shipping_option_id", Text),
    Column("discount_codes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("completed_order_id", Text),
    Column("merged_into", Text, ForeignKey("carts.id")),  # a guest's, once its owner has signed in
    json_column("merge_warnings", nullable=True),  # what of it found no room there, for a repeated call
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint("(customer_id IS NULL) <> (token_digest IS NULL)", name="one_owner"),
    Index("ix_carts_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
)

cart_items = Table(
    "cart_items",
    metadata,
    Column("cart_id", Text, ForeignKey("carts.id", ondelete="CASCADE"), primary_key=True),
    Column("sku", Text, ForeignKey("variants.sku"), primary_key=True),
    Column("id", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("seen_price", BigInteger),  # what it cost when it was added, for the "price changed" warning
    time_column("added_at", default_now=True),
    CheckConstraint("quantity BETWEEN 1 AND 999", name="quantity"),
)
