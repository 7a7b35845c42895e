"""The shared metadata and the column kinds that every table uses."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, DateTime, MetaData, Text, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def id_column(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def time_column(
    name: str, *, nullable: bool = False, default_now: bool = False, primary_key: bool = False
) -> Column[object]:
    """A UTC time by the database's clock, so that clocks of different machines are never compared."""
    return Column(
        name,
        DateTime(timezone=True),
        nullable=nullable,
        primary_key=primary_key,
        server_default=text("now()") if default_now else None,
    )


def json_column(name: str, *, nullable: bool = False, default: str | None = None) -> Column[object]:
    return Column(name, JSONB, nullable=nullable, server_default=text(f"'{default}'") if default else None)


def one_of(column: str, values: Iterable[str]) -> str:
    """A SQL condition: the column has one of these members of a StrEnum."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"
