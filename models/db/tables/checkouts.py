"""Checkouts, what they hold, and what they pay with. The constraints here decide who wins."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.ledger import closed_list
from models.states import LIVE_CHECKOUT, AttemptState, CheckoutStatus, HoldState

checkouts = Table(
    "checkouts",
    metadata,
    id_column(),
    Column("cart_id", Text, ForeignKey("carts.id"), nullable=False),
    Column("order_id", Text, nullable=False, unique=True),
    Column("customer_id", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),  # the slug of why it ended without an order
    Column("key_digest", Text, nullable=False),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),  # ended by a 5xx
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    json_column("snapshot", nullable=True),  # what was priced at the hold: the order is made of it
    json_column("contact", nullable=True),  # personal data, apart, so that it can be erased
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

_PROMISED = text("state IN ('authorised', 'captured') AND amount > captured + released")

payments = Table(
    "payments",
    metadata,
    id_column(),
    Column("checkout_id", Text, ForeignKey("checkouts.id"), nullable=False),
    # 1 is the checkout's own; later ones stand in for one that failed after the order was placed.
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("order_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("reference", Text),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("captured", BigInteger, nullable=False, server_default=text("0")),
    Column("released", BigInteger, nullable=False, server_default=text("0")),  # of the promise: voided or lapsed
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),  # done, or asked for and not refused
    Column("disputed", BigInteger, nullable=False, server_default=text("0")),
    Column("payment_method_id", Text),  # the saved method that it was made with, or that it has kept
    time_column("created_at", default_now=True),
    UniqueConstraint("provider", "reference"),
    UniqueConstraint("checkout_id", "attempt"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("captured BETWEEN 0 AND amount", name="captured"),
    CheckConstraint("released BETWEEN 0 AND amount - captured", name="released"),
    CheckConstraint("refunded BETWEEN 0 AND captured", name="refunded"),
    CheckConstraint("disputed BETWEEN 0 AND captured", name="disputed"),
    CheckConstraint(one_of("state", AttemptState), name="state"),
    Index("ix_payments_order_id", "order_id"),
    Index("ix_payments_promised", "order_id", postgresql_where=_PROMISED),
)

# Double entry: a row moves `amount` from one account to another, so that Σ over all accounts is 0 by shape.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),
    Column("cause", Text, nullable=False),
    Column("debit", Text, nullable=False),
    Column("credit", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    time_column("at", default_now=True),
    UniqueConstraint("payment_id", "kind", "cause"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("debit <> credit", name="two_accounts"),
    CheckConstraint(closed_list(), name="posting"),
    Index("ix_ledger_entries_at", "at"),
)
