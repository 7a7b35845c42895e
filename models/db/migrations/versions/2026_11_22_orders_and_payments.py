"""Refunds, returns, notes, and payments that take over from one that failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PARCELS_BEFORE = "status IN ('preparing', 'shipped', 'in_transit', 'out_for_delivery', 'delivered')"
PARCELS = (
    "status IN ('preparing', 'shipped', 'in_transit', 'out_for_delivery', 'exception', 'delivered', 'refused', 'lost',"
    " 'returned_to_sender')"
)
CARRIER_STATUSES = (
    "status IN ('in_transit', 'out_for_delivery', 'exception', 'delivered', 'refused', 'lost', 'returned_to_sender')"
)
REFUND_STATES = "state IN ('pending', 'succeeded', 'failed')"
RETURN_STATES = "state IN ('requested', 'received', 'refunded', 'refused', 'expired')"
NOTE_KINDS = "kind IN ('note', 'cancel', 'hold', 'release', 'refund', 'return')"


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.drop_constraint("ck_shipments_status", "shipments")
    op.create_check_constraint(op.f("ck_shipments_status"), "shipments", PARCELS)
    op.alter_column("shipments", "tracking_number", nullable=True)
    op.create_check_constraint(
        op.f("ck_shipments_tracked"), "shipments", "tracking_number IS NOT NULL OR status = 'preparing'"
    )
    for name in ("location", "service", "label_id", "label_url"):
        op.add_column("shipments", sa.Column(name, sa.Text(), nullable=True))
    op.create_foreign_key(
        "fk_shipments_location_stock_locations", "shipments", "stock_locations", ["location"], ["code"]
    )
    op.add_column("shipments", sa.Column("eta", sa.DateTime(timezone=True), nullable=True))
    op.add_column("shipments", _now("heard_at"))
    op.create_index("ix_shipments_tracking_number", "shipments", ["tracking_number"])
    for name in ("country", "region", "postal_code"):
        op.add_column("stock_locations", sa.Column(name, sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_stock_locations_country"), "stock_locations", "country ~ '^[A-Z]{2}$'")
    _carrier_words()
    op.drop_constraint("uq_payments_checkout_id", "payments")
    op.add_column("payments", sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("payments", sa.Column("released", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("payments", sa.Column("refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("payments", sa.Column("disputed", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("payments", sa.Column("payment_method_id", sa.Text(), nullable=True))
    op.create_unique_constraint("uq_payments_checkout_id_attempt", "payments", ["checkout_id", "attempt"])
    op.create_check_constraint(op.f("ck_payments_released"), "payments", "released BETWEEN 0 AND amount - captured")
    op.create_check_constraint(op.f("ck_payments_refunded"), "payments", "refunded BETWEEN 0 AND captured")
    op.create_check_constraint(op.f("ck_payments_disputed"), "payments", "disputed BETWEEN 0 AND captured")
    op.create_table(
        "order_notes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("actor", postgresql.JSONB(), nullable=False),
        _now("at"),
        sa.CheckConstraint(NOTE_KINDS, name=op.f("ck_order_notes_kind")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_notes_order_id_orders"),
        sa.PrimaryKeyConstraint("id", name="pk_order_notes"),
    )
    op.create_index("ix_order_notes_order_id", "order_notes", ["order_id", "at"])
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("note_id", sa.Text(), nullable=True),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint(REFUND_STATES, name=op.f("ck_refunds_state")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_refunds_order_id_orders"),
        sa.ForeignKeyConstraint(["note_id"], ["order_notes.id"], name="fk_refunds_note_id_order_notes"),
        sa.PrimaryKeyConstraint("id", name="pk_refunds"),
    )
    op.create_index("ix_refunds_order_id", "refunds", ["order_id"])
    op.create_index("ix_refunds_pending", "refunds", ["created_at"], postgresql_where=sa.text("state = 'pending'"))
    op.create_table(
        "refund_parts",
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.CheckConstraint(REFUND_STATES, name=op.f("ck_refund_parts_state")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refund_parts_amount")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name="fk_refund_parts_refund_id_refunds"),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name="fk_refund_parts_payment_id_payments"),
        sa.PrimaryKeyConstraint("refund_id", "payment_id", name="pk_refund_parts"),
        sa.UniqueConstraint("reference", name="uq_refund_parts_reference"),
    )
    op.create_index("ix_refund_parts_payment_id", "refund_parts", ["payment_id"])
    op.create_table(
        "returns",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("restocked", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _now("created_at"),
        sa.CheckConstraint(RETURN_STATES, name=op.f("ck_returns_state")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_returns_order_id_orders"),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name="fk_returns_refund_id_refunds"),
        sa.PrimaryKeyConstraint("id", name="pk_returns"),
        sa.UniqueConstraint("refund_id", name="uq_returns_refund_id"),
    )
    op.create_index("ix_returns_created", "returns", ["created_at", "id"])
    op.create_index("ix_returns_state", "returns", ["state", "created_at", "id"])
    op.create_index("ix_returns_order_id", "returns", ["order_id"])


def _carrier_words() -> None:
    op.create_table(
        "carrier_words",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("tracking_number", sa.Text(), nullable=False),
        sa.Column("carrier", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("location", sa.Text(), nullable=True),
        sa.Column("eta", sa.DateTime(timezone=True), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        _now("received_at"),
        sa.CheckConstraint(CARRIER_STATUSES, name=op.f("ck_carrier_words_status")),
        sa.PrimaryKeyConstraint("gateway", "event_id", name="pk_carrier_words"),
    )
    op.create_index(
        "ix_carrier_words_waiting",
        "carrier_words",
        ["tracking_number"],
        postgresql_where=sa.text("applied_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("carrier_words")
    op.drop_constraint("ck_stock_locations_country", "stock_locations")
    for column in ("country", "region", "postal_code"):
        op.drop_column("stock_locations", column)
    op.drop_index("ix_shipments_tracking_number", "shipments")
    op.drop_constraint("fk_shipments_location_stock_locations", "shipments")
    for column in ("location", "service", "label_id", "label_url", "eta", "heard_at"):
        op.drop_column("shipments", column)
    op.drop_constraint("ck_shipments_tracked", "shipments")
    op.execute("DELETE FROM shipments WHERE tracking_number IS NULL")  # nothing has left of them
    op.alter_column("shipments", "tracking_number", nullable=False)
    for table in ("returns", "refund_parts", "refunds", "order_notes"):
        op.drop_table(table)
    op.drop_constraint("ck_payments_released", "payments")
    op.drop_constraint("ck_payments_refunded", "payments")
    op.drop_constraint("ck_payments_disputed", "payments")
    op.drop_constraint("uq_payments_checkout_id_attempt", "payments")
    for column in ("attempt", "released", "refunded", "disputed", "payment_method_id"):
        op.drop_column("payments", column)
    op.create_unique_constraint("uq_payments_checkout_id", "payments", ["checkout_id"])
    op.drop_constraint("ck_shipments_status", "shipments")
    op.create_check_constraint(op.f("ck_shipments_status"), "shipments", PARCELS_BEFORE)
