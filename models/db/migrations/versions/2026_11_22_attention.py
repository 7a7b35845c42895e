"""Tasks that their process waits for, a closed list of ledger entries, disputes, and reconciliation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

POSTINGS = (
    "(kind, debit, credit) IN ("
    "('authorise', 'provider_authorised', 'authorisations'), "
    "('authorisation_used', 'authorisations', 'provider_authorised'), "
    "('void', 'authorisations', 'provider_authorised'), "
    "('capture', 'provider_balance', 'sales'), "
    "('refund', 'sales', 'provider_balance'), "
    "('refund_failed', 'provider_balance', 'sales'), "
    "('dispute', 'disputes', 'provider_balance'), "
    "('dispute_won', 'provider_balance', 'disputes'), "
    "('write_off', 'write_offs', 'disputes'), "
    "('fee', 'fees', 'provider_balance'))"
)
LIVE = "status NOT IN ('completed', 'cancelled', 'returned')"
PROMISED = "state IN ('authorised', 'captured') AND amount > captured + released"
DISPUTE_STATES = "IN ('open', 'won', 'lost')"
MOVEMENTS = "kind IN ('authorisation', 'capture', 'refund', 'refund_failure', 'dispute', 'dispute_reversal')"
DIFFERENCES = (
    "kind IN ('orphaned-authorisation', 'authorisation-differs', 'unknown-payment', 'capture-unrecorded',"
    " 'capture-missing', 'refund-unrecorded', 'refund-missing', 'dispute-unrecorded')"
)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _amount(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def upgrade() -> None:
    op.create_check_constraint(op.f("ck_ledger_entries_posting"), "ledger_entries", POSTINGS)
    op.create_index("ix_ledger_entries_at", "ledger_entries", ["at"])
    op.create_index("ix_orders_live", "orders", ["id"], postgresql_where=sa.text(LIVE))
    op.create_index("ix_payments_promised", "payments", ["order_id"], postgresql_where=sa.text(PROMISED))
    _tasks()
    _disputes()
    _runs()
    _movements()
    _differences()


def _tasks() -> None:
    op.add_column("tasks", _text("key", nullable=True))
    op.add_column("tasks", _text("workflow_id", nullable=True))
    op.add_column("tasks", sa.Column("resumes", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("tasks", _text("outcome", nullable=True))
    op.add_column("tasks", _text("note", nullable=True))
    op.add_column("tasks", sa.Column("closed_by", postgresql.JSONB(), nullable=True))
    op.create_unique_constraint("uq_tasks_key", "tasks", ["key"])
    op.create_check_constraint(op.f("ck_tasks_outcome"), "tasks", "outcome IN ('retry', 'done')")
    op.create_index("ix_tasks_open", "tasks", ["id"], postgresql_where=sa.text("closed_at IS NULL"))


def _disputes() -> None:
    op.create_table(
        "disputes",
        _text("provider"),
        _text("reference"),
        _text("payment", nullable=True),
        _text("payment_id", nullable=True),
        _text("state"),
        _text("booked", nullable=True),
        _text("currency"),
        _amount("amount"),
        _text("reason"),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount")),
        sa.CheckConstraint(f"state {DISPUTE_STATES}", name=op.f("ck_disputes_state")),
        sa.CheckConstraint(f"booked {DISPUTE_STATES}", name=op.f("ck_disputes_booked")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_disputes_payment_id_payments")),
        sa.PrimaryKeyConstraint("provider", "reference", name=op.f("pk_disputes")),
    )
    op.create_index("ix_disputes_payment_id", "disputes", ["payment_id"])


def _runs() -> None:
    op.create_table(
        "reconciliation_runs",
        _text("id"),
        _text("key"),
        _text("provider"),
        _text("state"),
        _time("since"),
        _time("until"),
        sa.Column("movements", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _time("started_at", now=True),
        _time("ended_at", nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name=op.f("ck_reconciliation_runs_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_runs")),
        sa.UniqueConstraint("key", name=op.f("uq_reconciliation_runs_key")),
    )
    op.create_index(
        "ix_reconciliation_runs_done",
        "reconciliation_runs",
        ["provider", "until"],
        postgresql_where=sa.text("state = 'done'"),
    )


def _movements() -> None:
    op.create_table(
        "provider_movements",
        _text("provider"),
        _text("reference"),
        _text("kind"),
        _text("payment", nullable=True),
        _text("source", nullable=True),
        _text("currency"),
        _amount("amount"),
        _time("at"),
        _text("checkout_id", nullable=True),
        _text("refund_id", nullable=True),
        _text("run_id"),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_provider_movements_amount")),
        sa.CheckConstraint(MOVEMENTS, name=op.f("ck_provider_movements_kind")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["reconciliation_runs.id"], name=op.f("fk_provider_movements_run_id_reconciliation_runs")
        ),
        sa.PrimaryKeyConstraint("provider", "reference", name=op.f("pk_provider_movements")),
    )
    op.create_index("ix_provider_movements_payment", "provider_movements", ["provider", "payment"])
    op.create_index("ix_provider_movements_run_id", "provider_movements", ["run_id"])


def _differences() -> None:
    op.create_table(
        "differences",
        _text("id"),
        _text("run_id"),
        _text("provider"),
        _text("kind"),
        _text("subject"),
        _text("payment_id", nullable=True),
        _text("order_id", nullable=True),
        _text("checkout_id", nullable=True),
        _text("currency"),
        _amount("ours"),
        _amount("theirs"),
        _text("state"),
        _text("task_id", nullable=True),
        _time("found_at", now=True),
        _time("closed_at", nullable=True),
        sa.CheckConstraint(DIFFERENCES, name=op.f("ck_differences_kind")),
        sa.CheckConstraint("state IN ('found', 'open', 'healed', 'closed')", name=op.f("ck_differences_state")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["reconciliation_runs.id"], name=op.f("fk_differences_run_id_reconciliation_runs")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_differences_payment_id_payments")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_differences_task_id_tasks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_differences")),
        sa.UniqueConstraint("provider", "kind", "subject", "ours", "theirs", name="uq_differences_same"),
    )
    op.create_index(
        "ix_differences_unsettled", "differences", ["run_id", "id"], postgresql_where=sa.text("state = 'found'")
    )
    op.create_index(
        "ix_differences_task_id", "differences", ["task_id"], postgresql_where=sa.text("task_id IS NOT NULL")
    )


def downgrade() -> None:
    for table in ("differences", "provider_movements", "reconciliation_runs", "disputes"):
        op.drop_table(table)
    op.drop_index("ix_tasks_open", "tasks")
    for column in ("key", "workflow_id", "resumes", "outcome", "note", "closed_by"):
        op.drop_column("tasks", column)
    op.drop_index("ix_payments_promised", "payments")
    op.drop_index("ix_orders_live", "orders")
    op.drop_index("ix_ledger_entries_at", "ledger_entries")
    op.drop_constraint("ck_ledger_entries_posting", "ledger_entries")
