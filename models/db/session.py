"""The database's connection pools. Transactions commit and roll back by context manager."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.db.wake_ups import CHANNEL, Notifier, take_consumers
from models.errors import Unavailable

_NOTIFY = text("SELECT pg_notify(:channel, consumer) FROM unnest(CAST(:consumers AS text[])) AS consumer")


class Database:
    """PostgreSQL with two connection pools. Raises Unavailable, which is retryable, for a lost or busy server."""

    def __init__(self, url: str, *, pool_size: int = 10, application: str = "holdfast") -> None:
        self.engine = _engine(url, pool_size, application)
        # A separate pool: switching a connection to autocommit and back costs more than two pools.
        self._autocommit = _engine(url, pool_size, application, isolation_level="AUTOCOMMIT")
        self._notifier = Notifier(self._notify)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in one transaction, which commits at the end of the block and rolls back on any error."""
        with self._translated(), self.engine.connect() as connection, self._waking(connection), connection.begin():
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """An autocommit connection: each statement is its own transaction, which saves two round trips."""
        with self._translated(), self._autocommit.connect() as connection, self._waking(connection):
            yield connection

    @contextmanager
    def _waking(self, connection: Connection) -> Iterator[None]:
        """Wakes the consumers of the committed messages. After an error it is unknown which are committed: relays find
        those when they poll."""
        take_consumers(connection)  # of a transaction that failed
        yield
        if consumers := take_consumers(connection):
            self._notifier.wake(consumers)

    def _notify(self, consumers: Collection[str]) -> None:
        with suppress(SQLAlchemyError), self._autocommit.connect() as connection:
            connection.execute(_NOTIFY, {"channel": CHANNEL, "consumers": list(consumers)})

    def ping(self) -> None:
        """One round trip. Raises Unavailable."""
        with self.autocommit() as connection:
            connection.exec_driver_sql("SELECT 1")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            # The server is lost, or a migration has invalidated prepared statements: drop all pooled connections.
            outdated = error.connection_invalidated or _sqlstate(error) == CACHED_PLAN_CHANGED
            if outdated:
                self._dispose()
            if outdated or _retryable(error):
                raise Unavailable("The database is not available for the moment") from error
            raise
        except PoolTimeout as error:
            raise Unavailable("The database is busy") from error

    def close(self) -> None:
        self._notifier.close()
        self._dispose()

    def _dispose(self) -> None:
        self.engine.dispose()
        self._autocommit.dispose()


def _engine(url: str, pool_size: int, application: str, **options: Any) -> Engine:
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=5,
        pool_use_lifo=True,
        hide_parameters=True,  # an error's text must not carry people's addresses into the logs
        connect_args={
            "connect_timeout": 3,
            "application_name": application,
            "options": "-c timezone=UTC -c lock_timeout=5000 -c statement_timeout=15000"
            " -c idle_in_transaction_session_timeout=30000",
        },
        json_serializer=lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
        **options,
    )


# Retryable SQLSTATE classes: connection (08), rollback (40: deadlock, serialisation), resources (53), lock not
# available (55P03), operator intervention (57: shutdown, recovery, cancel), and a transaction that was idle for too
# long (25P03).
_RETRYABLE = ("08", "40", "53", "55P03", "57", "25P03")


CACHED_PLAN_CHANGED = "0A000"


def _retryable(error: DBAPIError) -> bool:
    code = _sqlstate(error)
    if code is None:  # never reached the server: there is no SQLSTATE for a failed connection
        return type(error).__name__ == "OperationalError"
    return code.startswith(_RETRYABLE)


def _sqlstate(error: DBAPIError) -> str | None:
    """The attribute of psycopg 3, or that of psycopg2."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
