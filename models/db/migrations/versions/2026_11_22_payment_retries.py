"""Orders whose payment failed after they were placed, and where each one's ladder stands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATES = "state IN ('retrying', 'paid', 'gave_up', 'cancelled')"
WAITS = "waits_for IN ('next_try', 'new_method', 'bank', 'provider', 'person', 'nothing')"
VERDICTS = "verdict IN ('retry', 'new_method', 'never')"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def upgrade() -> None:
    op.create_table(
        "payment_retries",
        _text("order_id"),
        _text("payment_id"),
        _text("state"),
        _text("waits_for"),
        _text("verdict"),
        _text("decline_code"),
        _count("step"),
        _count("extensions"),
        _time("failed_at"),
        _time("next_try_at"),
        _time("gives_up_at"),
        sa.Column("open_try", postgresql.JSONB(), nullable=True),
        sa.Column("next_action", postgresql.JSONB(), nullable=True),
        _time("action_expires_at"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.CheckConstraint(STATES, name=op.f("ck_payment_retries_state")),
        sa.CheckConstraint(WAITS, name=op.f("ck_payment_retries_waits_for")),
        sa.CheckConstraint(VERDICTS, name=op.f("ck_payment_retries_verdict")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_payment_retries_order_id_orders")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_retries_payment_id_payments")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_payment_retries")),
    )
    op.create_index(
        "ix_payment_retries_live", "payment_retries", ["updated_at"], postgresql_where=sa.text("state = 'retrying'")
    )


def downgrade() -> None:
    op.drop_table("payment_retries")
