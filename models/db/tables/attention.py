"""What money did that the books must follow: disputes, the provider's own list, and each difference between the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from models.db.tables.base import id_column, metadata, one_of, time_column
from models.disputes import DisputeState
from models.provider import MovementKind
from models.reconciliation import DifferenceKind, DifferenceState, RunState

# `state` is the provider's word, `booked` how far our books have followed it.
disputes = Table(
    "disputes",
    metadata,
    Column("provider", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("payment", Text),  # the provider's reference of it
    Column("payment_id", Text, ForeignKey("payments.id")),
    Column("state", Text, nullable=False),
    Column("booked", Text),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    PrimaryKeyConstraint("provider", "reference"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint(one_of("state", DisputeState), name="state"),
    CheckConstraint(one_of("booked", DisputeState), name="booked"),
    Index("ix_disputes_payment_id", "payment_id"),
)

# Every line of the provider's list, once: sums over it are the provider's side of the comparison.
provider_movements = Table(
    "provider_movements",
    metadata,
    Column("provider", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payment", Text),
    Column("source", Text),  # the provider's id of the refund or the dispute
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    time_column("at"),
    Column("checkout_id", Text),
    Column("refund_id", Text),
    Column("run_id", Text, ForeignKey("reconciliation_runs.id"), nullable=False),  # the last that saw it
    PrimaryKeyConstraint("provider", "reference"),
    CheckConstraint("amount >= 0", name="amount"),
    CheckConstraint(one_of("kind", MovementKind), name="kind"),
    Index("ix_provider_movements_payment", "provider", "payment"),
    Index("ix_provider_movements_run_id", "run_id"),
)

reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    id_column(),
    Column("key", Text, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    time_column("since"),
    time_column("until"),  # the next run begins there, less the overlap
    Column("movements", Integer, nullable=False, server_default=text("0")),
    time_column("started_at", default_now=True),
    time_column("ended_at", nullable=True),
    CheckConstraint(one_of("state", RunState), name="state"),
    Index("ix_reconciliation_runs_done", "provider", "until", postgresql_where=text("state = 'done'")),
)

differences = Table(
    "differences",
    metadata,
    id_column(),
    Column("run_id", Text, ForeignKey("reconciliation_runs.id"), nullable=False),  # that found it
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the provider's reference of a payment, or of a movement without one
    Column("payment_id", Text, ForeignKey("payments.id")),
    Column("order_id", Text),
    Column("checkout_id", Text),
    Column("currency", Text, nullable=False),
    Column("ours", BigInteger, nullable=False),
    Column("theirs", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("task_id", Text, ForeignKey("tasks.id")),
    time_column("found_at", default_now=True),
    time_column("closed_at", nullable=True),
    CheckConstraint(one_of("kind", DifferenceKind), name="kind"),
    CheckConstraint(one_of("state", DifferenceState), name="state"),
    # The same difference is found once, also after a person has closed it.
    UniqueConstraint("provider", "kind", "subject", "ours", "theirs", name="uq_differences_same"),
    Index("ix_differences_unsettled", "run_id", "id", postgresql_where=text("state = 'found'")),
    Index("ix_differences_task_id", "task_id", postgresql_where=text("task_id IS NOT NULL")),
)
