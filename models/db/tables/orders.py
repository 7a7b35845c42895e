"""Tables of orders (append-only events and their projection), shipments, refunds and returns."""

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
    text,
)

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.orders.parcels import CARRIER_STATUSES
from models.states import OrderStatus, PaymentStatus, RefundStatus, ReturnStatus, ShipmentStatus

order_numbers = Sequence("order_numbers", start=100001, metadata=metadata)

_HAS_CUSTOMER = text("customer_id IS NOT NULL")

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
    json_column("document"),  # models.orders.orders.Order: the fold of the events
    # Personal data is only here and in carts, so that it can be erased while the events stay.
    Column("email", Text),
    Column("email_key", Text),  # models.accounts.accounts.email_key, to find a guest's orders
    json_column("shipping_address", nullable=True),
    json_column("billing_address", nullable=True),
    time_column("placed_at"),
    CheckConstraint(one_of("status", OrderStatus), name="status"),
    CheckConstraint(one_of("payment_status", PaymentStatus), name="payment_status"),
    Index("ix_orders_placed", "placed_at", "id"),
    Index("ix_orders_live", "id", postgresql_where=text("status NOT IN ('completed', 'cancelled', 'returned')")),
    Index("ix_orders_status", "status", "placed_at", "id"),
    Index("ix_orders_customer", "customer_id", "placed_at", "id", postgresql_where=_HAS_CUSTOMER),
    Index("ix_orders_customer_status", "customer_id", "status", "placed_at", "id", postgresql_where=_HAS_CUSTOMER),
    Index("ix_orders_email_key", "email_key", "placed_at"),
)

# One row per search term of an order. The primary key has the order of the pages: a page of one term is an index range.
# Terms include names and e-mail addresses, so erasing those must rewrite the order's terms.
order_terms = Table(
    "order_terms",
    metadata,
    Column("term", Text, primary_key=True),  # models.orders.search_terms
    time_column("placed_at", primary_key=True),
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Index("ix_order_terms_order_id", "order_id"),
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
    Column("tracking_number", Text),  # NULL until its label is bought
    json_column("lines"),
    Column("capture_amount", BigInteger, nullable=False),
    Column("location", Text, ForeignKey("stock_locations.code")),  # NULL: several locations
    Column("service", Text),  # of the label to buy; NULL: the warehouse had a label
    Column("label_id", Text),  # the carrier's
    Column("label_url", Text),
    time_column("eta", nullable=True),  # the carrier's estimate
    time_column("heard_at", default_now=True),  # when the last tracking event arrived
    time_column("created_at", default_now=True),
    UniqueConstraint("carrier", "tracking_number"),
    CheckConstraint(one_of("status", ShipmentStatus), name="status"),
    CheckConstraint("capture_amount >= 0", name="capture_amount"),
    CheckConstraint("tracking_number IS NOT NULL OR status = 'preparing'", name="tracked"),
    Index("ix_shipments_order_id", "order_id"),
    Index("ix_shipments_tracking_number", "tracking_number"),
)

# Carrier events, each once; applied to the order after its shipment, in a later transaction.
carrier_words = Table(
    "carrier_words",
    metadata,
    Column("gateway", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),  # the carrier's
    Column("tracking_number", Text, nullable=False),
    Column("carrier", Text),
    Column("status", Text, nullable=False),
    time_column("at"),  # by the carrier's clock
    Column("location", Text),
    time_column("eta", nullable=True),
    time_column("applied_at", nullable=True),
    time_column("received_at", default_now=True),
    CheckConstraint(one_of("status", CARRIER_STATUSES), name="status"),
    Index("ix_carrier_words_waiting", "tracking_number", postgresql_where=text("applied_at IS NULL")),
)

# Free text about an order (a note, a reason). It may contain personal data, so it is not stored in events.
NOTE_KINDS = ("note", "cancel", "hold", "release", "refund", "return")

order_notes = Table(
    "order_notes",
    metadata,
    id_column(),
    Column("order_id", Text, ForeignKey("orders.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    json_column("actor"),
    time_column("at", default_now=True),
    CheckConstraint(one_of("kind", NOTE_KINDS), name="kind"),
    Index("ix_order_notes_order_id", "order_id", "at"),
)

refunds = Table(
    "refunds",
    metadata,
    id_column(),
    Column("order_id", Text, ForeignKey("orders.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),  # a support command, a return, a cancellation
    Column("note_id", Text, ForeignKey("order_notes.id")),  # the reason
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("state", RefundStatus), name="state"),
    CheckConstraint("amount > 0", name="amount"),
    Index("ix_refunds_order_id", "order_id"),
    Index("ix_refunds_pending", "created_at", postgresql_where=text("state = 'pending'")),
)

# One row per payment: an order with a replaced payment may be refunded from several.
refund_parts = Table(
    "refund_parts",
    metadata,
    Column("refund_id", Text, ForeignKey("refunds.id"), primary_key=True),
    Column("payment_id", Text, ForeignKey("payments.id"), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("1")),  # of the requests to the provider
    Column("state", Text, nullable=False),
    Column("reference", Text, unique=True),  # the provider's id of that attempt
    CheckConstraint(one_of("state", RefundStatus), name="state"),
    CheckConstraint("amount > 0", name="amount"),
    Index("ix_refund_parts_payment_id", "payment_id"),
)

returns = Table(
    "returns",
    metadata,
    id_column(),
    Column("order_id", Text, ForeignKey("orders.id"), nullable=False),
    Column("state", Text, nullable=False),
    json_column("lines"),  # [{line_id, quantity, reason}]: the buyer's reasons are stored here only
    json_column("restocked", default="[]"),  # [{sku, location, quantity}]: at the location they were shipped from
    Column("refund_id", Text, ForeignKey("refunds.id"), unique=True),
    time_column("expires_at"),
    time_column("created_at", default_now=True),
    CheckConstraint(one_of("state", ReturnStatus), name="state"),
    Index("ix_returns_created", "created_at", "id"),
    Index("ix_returns_state", "state", "created_at", "id"),
    Index("ix_returns_order_id", "order_id"),
)
