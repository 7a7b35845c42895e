"""One row of the outbox for each event and consumer, claimed by a lease; dead letters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=False)


def upgrade() -> None:
    """The new columns may be NULL: builds before this one go on writing and reading the table."""
    op.add_column("outbox", _text("consumer", nullable=True))
    op.add_column("outbox", _text("error", nullable=True))
    op.add_column("outbox", _text("claimed_by", nullable=True))
    op.create_index("ix_outbox_consumer_due_at", "outbox", ["consumer", "due_at"])
    op.create_index("ix_outbox_aggregate_consumer_id", "outbox", ["aggregate", "consumer", "id"])
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        _text("consumer"),
        _text("topic"),
        _text("aggregate"),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("trace", postgresql.JSONB(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _text("error"),
        _time("created_at"),
        _time("dead_at", now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )


def downgrade() -> None:
    op.drop_table("dead_letters")
    op.drop_index("ix_outbox_aggregate_consumer_id", "outbox")
    op.drop_index("ix_outbox_consumer_due_at", "outbox")
    op.drop_column("outbox", "claimed_by")
    op.drop_column("outbox", "error")
    op.drop_column("outbox", "consumer")
