"""Tables of payments, payment retries, disputes, the ledger and reconciliation."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.ledger import closed_list
from models.payments.disputes import DisputeState
from models.payments.dunning import RetryAdvice
from models.payments.provider import MovementKind
from models.payments.reconciliation import DifferenceKind, DifferenceState, RunState
from models.payments.retry import RetryState, Waiting
from models.states import AttemptState

payment_retries = Table(
    "payment_retries",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),  # the order's last retry
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),  # the failed payment
    Column("state", Text, nullable=False),
    Column("waits_for", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # the retry advice for the order's own method
    Column("decline_code", Text, nullable=False),  # the last
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("extensions", Integer, nullable=False, server_default=text("0")),
    time_column("failed_at", nullable=True),  # by the workflow's clock; NULL until it has begun
    time_column("next_try_at", nullable=True),
    time_column("gives_up_at", nullable=True),
    json_column("open_try", nullable=True),  # models.payments.retry.ChargeOrder, until its outcome is known
    json_column("next_action", nullable=True),  # has the challenge's secret, for the buyer's browser; NULL at the end
    time_column("action_expires_at", nullable=True),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("state", RetryState), name="state"),
    CheckConstraint(one_of("waits_for", Waiting), name="waits_for"),
    CheckConstraint(one_of("verdict", RetryAdvice), name="verdict"),
    Index("ix_payment_retries_live", "updated_at", postgresql_where=text("state = 'retrying'")),
)

# `state`: the provider's; `booked`: the last state that the ledger has followed.
disputes = Table(
    "disputes",
    metadata,
    Column("provider", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("payment", Text),  # the provider's id of the payment
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

# Every row of the provider's list, once: its sums are the provider's side of the comparison.
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
    Column("run_id", Text, ForeignKey("reconciliation_runs.id"), nullable=False),  # the last run that listed it
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
    time_column("until"),  # the next run reads from here, less the overlap
    Column("movements", Integer, nullable=False, server_default=text("0")),
    Column("skipped", Integer, nullable=False, server_default=text("0")),  # in no currency of the shop
    time_column("started_at", default_now=True),
    time_column("ended_at", nullable=True),
    CheckConstraint(one_of("state", RunState), name="state"),
    Index("ix_reconciliation_runs_done", "provider", "until", postgresql_where=text("state = 'done'")),
)

differences = Table(
    "differences",
    metadata,
    id_column(),
    Column("run_id", Text, ForeignKey("reconciliation_runs.id"), nullable=False),  # the run that found it
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the provider's id of the payment, or of a movement without one
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
    # The same difference is recorded once, also after it was closed.
    UniqueConstraint("provider", "kind", "subject", "ours", "theirs", name="uq_differences_same"),
    Index("ix_differences_unsettled", "run_id", "id", postgresql_where=text("state = 'found'")),
    Index("ix_differences_task_id", "task_id", postgresql_where=text("task_id IS NOT NULL")),
)


_OPEN = text("state IN ('authorised', 'captured') AND amount > captured + released")


payments = Table(
    "payments",
    metadata,
    id_column(),
    Column("checkout_id", Text, ForeignKey("checkouts.id"), nullable=False),
    # 1 is the checkout's payment; later ones replace a payment that failed after the order was placed.
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("order_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("reference", Text),
    Column("state", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("captured", BigInteger, nullable=False, server_default=text("0")),
    Column(
        "released", BigInteger, nullable=False, server_default=text("0")
    ),  # of the authorisation: voided, released or expired
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),  # succeeded or pending
    Column("disputed", BigInteger, nullable=False, server_default=text("0")),
    Column("payment_method_id", Text),  # the saved method that was charged, or that was saved from this payment
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
    Index("ix_payments_promised", "order_id", postgresql_where=_OPEN),
)


# Double entry: a row moves `amount` from one account to another, so that the accounts always sum to 0.
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
