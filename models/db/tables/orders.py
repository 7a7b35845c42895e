"""Orders: an append-only event stream each, and its projection, written in the same transaction."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
)

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.states import OrderStatus, PaymentStatus, ShipmentStatus

order_numbers = Sequence("order_numbers", start=100001, metadata=metadata)

orders = Table(
    "orders",
    metadata,
    id_column(),
    Column("number", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("payment_status", Text, nullable=False),
    Column("customer_id", Text),
    Column("cart_id", Text, ForeignKey("carts.id"), nullable=False, unique=True),
    Column("checkout_id", Text, ForeignKey("checkouts.id"), nullable=False, unique=True),
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    json_column("document"),  # models.orders.Order: the fold of the events
    # Personal data stands only here and in carts, so that it can be erased while the events stay.
    Column("email", Text),
    Column("email_key", Text),  # models.accounts.email_key: by which a guest's orders are found again
    json_column("shipping_address", nullable=True),
    json_column("billing_address", nullable=True),
    time_column("placed_at"),
    CheckConstraint(one_of("status", OrderStatus), name="status"),
    CheckConstraint(one_of("payment_status", PaymentStatus), name="payment_status"),
    Index("ix_orders_placed", "placed_at", "id"),
    Index("ix_orders_customer", "customer_id", "placed_at", "id"),
    Index("ix_orders_email_key", "email_key", "placed_at"),
)

order_events = Table(
    "order_events",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("type", Text, nullable=False),
    time_column("at"),
    json_column("actor"),
    Column("cause", Text, nullable=False),
    json_column("data"),
    CheckConstraint("version > 0", name="version"),
)

shipments = Table(
    "shipments",
    metadata,
    id_column(),
    Column("order_id", Text, ForeignKey("orders.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("carrier", Text, nullable=False),
    Column("tracking_number", Text, nullable=False),
    json_column("lines"),
    Column("capture_amount", BigInteger, nullable=False),
    time_column("created_at", default_now=True),
    UniqueConstraint("carrier", "tracking_number"),
    CheckConstraint(one_of("status", ShipmentStatus), name="status"),
    CheckConstraint("capture_amount >= 0", name="capture_amount"),
    Index("ix_shipments_order_id", "order_id"),
)
