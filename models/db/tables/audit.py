"""The audit log: append-only and chained by hash, in the database itself (migration 0003 has the triggers)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from models.db.tables.base import json_column, metadata, time_column

audit_log = Table(
    "audit_log",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # without gaps
    time_column("at"),
    Column("actor_type", Text, nullable=False),  # customer, staff, machine, system
    Column("actor_id", Text),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    json_column("data"),  # no personal data: rows can't be erased
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ix_audit_log_subject", "subject", "number"),
    Index("ix_audit_log_actor_id", "actor_id", "number"),
)
