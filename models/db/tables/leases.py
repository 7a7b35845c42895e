"""Leases of work that one process does for all."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from models.db.tables.base import metadata, time_column

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    time_column("until"),
)
