"""Tables of carts, checkouts, and their holds of stock and promotions. Unique constraints decide races."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.states import LIVE_CHECKOUT, CheckoutStatus, HoldState

carts = Table(
    "carts",
    metadata,
    id_column(),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("customer_id", Text),
    Column("token_digest", LargeBinary),  # SHA-256 of the guest's token; the token itself is not stored
    Column("currency", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("email", Text),
    json_column("shipping_address", nullable=True),
    json_column("billing_address", nullable=True),
    Column("shipping_option_id", Text),
    Column("discount_codes", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("completed_order_id", Text),
    Column("merged_into", Text, ForeignKey("carts.id")),  # of a guest's cart whose owner has signed in
    json_column("merge_warnings", nullable=True),  # the merge's warnings, for a repeated call
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
    Column("seen_price", BigInteger),  # the price when it was added, for the "price changed" warning
    time_column("added_at", default_now=True),
    CheckConstraint("quantity BETWEEN 1 AND 999", name="quantity"),
)

checkouts = Table(
    "checkouts",
    metadata,
    id_column(),
    Column("cart_id", Text, ForeignKey("carts.id"), nullable=False),
    Column("order_id", Text, nullable=False, unique=True),
    Column("customer_id", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),  # the slug of the error, if it ended without an order
    Column("key_digest", Text, nullable=False),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),  # ended by a 5xx
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    json_column("snapshot", nullable=True),  # the priced cart at the hold: the order's data
    json_column("contact", nullable=True),  # personal data, separate so that it can be erased
    json_column("next_action", nullable=True),
    Column("decline_code", Text),
    time_column("hold_expires_at", nullable=True),
    time_column("action_expires_at", nullable=True),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("status", CheckoutStatus), name="status"),
    Index(
        "uq_checkouts_live_cart",
        "cart_id",
        unique=True,
        postgresql_where=text(one_of("status", LIVE_CHECKOUT)),
    ),
    Index("ix_checkouts_cart_id", "cart_id"),
    Index("ix_checkouts_key_digest", "key_digest", postgresql_where=text("retryable")),
)

stock_holds = Table(
    "stock_holds",
    metadata,
    Column("checkout_id", Text, ForeignKey("checkouts.id"), primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("location", Text, primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("shipped", Integer, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    ForeignKeyConstraint(["sku", "location"], ["stock_levels.sku", "stock_levels.location"]),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("shipped BETWEEN 0 AND quantity", name="shipped"),
    CheckConstraint(one_of("state", HoldState), name="state"),
    Index("ix_stock_holds_live", "sku", "location", postgresql_where=text("state IN ('held', 'allocated')")),
)

promotion_uses = Table(
    "promotion_uses",
    metadata,
    Column("promotion_id", Text, ForeignKey("promotions.id"), primary_key=True),
    Column("checkout_id", Text, ForeignKey("checkouts.id"), primary_key=True),
    Column("customer_id", Text),
    Column("final", Boolean, nullable=False, server_default=text("false")),
    Index("ix_promotion_uses_checkout_id", "checkout_id"),
    Index(
        "ix_promotion_uses_customer", "customer_id", "promotion_id", postgresql_where=text("customer_id IS NOT NULL")
    ),
)
