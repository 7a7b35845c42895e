"""Orders whose payment failed after they were placed: where each one's ladder stands."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, text

from models.db.tables.base import json_column, metadata, one_of, time_column
from models.dunning import Verdict
from models.payment_retry import RetryState, Waiting

payment_retries = Table(
    "payment_retries",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),  # one at a time: the last is what is kept
    Column("payment_id", Text, ForeignKey("payments.id"), nullable=False),  # the one that failed
    Column("state", Text, nullable=False),
    Column("waits_for", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # on the order's own method
    Column("decline_code", Text, nullable=False),  # the last
    Column("step", Integer, nullable=False, server_default=text("0")),
    Column("extensions", Integer, nullable=False, server_default=text("0")),
    time_column("failed_at", nullable=True),  # by its process's clock; until it has begun there is none
    time_column("next_try_at", nullable=True),
    time_column("gives_up_at", nullable=True),
    json_column("open_try", nullable=True),  # models.payment_retry.ChargeOrder, until its outcome is known
    json_column("next_action", nullable=True),  # with the bank's secret, for the buyer's browser; gone at the end
    time_column("action_expires_at", nullable=True),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("state", RetryState), name="state"),
    CheckConstraint(one_of("waits_for", Waiting), name="waits_for"),
    CheckConstraint(one_of("verdict", Verdict), name="verdict"),
    Index("ix_payment_retries_live", "updated_at", postgresql_where=text("state = 'retrying'")),
)
