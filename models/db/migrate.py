"""Migrates a database while the shop runs: an advisory lock admits one migrator, a lock timeout prevents long locks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x484F4C44  # "HOLD"


def upgrade(url: str, revision: str = "head") -> None:
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    _run(url, lambda config: command.downgrade(config, revision))


def check(url: str) -> None:
    """Raises alembic.util.CommandError if the tables in the code differ from the migrated schema."""
    _run(url, command.check)


def _run(url: str, act: Callable[[Config], object]) -> None:
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=10s -c timezone=UTC"})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
        config.attributes["connection"] = connection
        act(config)
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
