"""Wakes relays by NOTIFY, sent after the publishing transaction, and receives it by LISTEN.

A NOTIFY holds a database-wide lock until its transaction has committed: inside the publishing transactions it would
serialise the commits of all checkouts. One thread per process sends it after the commits. A wake-up may be lost with
its process, so relays also poll.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import psycopg
from sqlalchemy import Connection

CHANNEL = "outbox"
GAP_SECONDS = 0.05
"""The least time between two notifications of a process."""

_INFO = "holdfast_consumers"


def wake_after_commit(connection: Connection, consumers: Iterable[str]) -> None:
    """`Database` sends the wake-up once the transaction of this connection has committed."""
    connection.info.setdefault(_INFO, set()).update(consumers)


def take_consumers(connection: Connection) -> set[str]:
    """Returns and clears the consumers to wake."""
    taken: set[str] = connection.info.pop(_INFO, set())
    return taken


class Notifier:
    """Batches wake-ups in a thread that starts with the first one. `send` may fail."""

    def __init__(self, send: Callable[[Collection[str]], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._pending: set[str] = set()
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self, consumers: Collection[str]) -> None:
        with self._lock:
            self._pending.update(consumers)
            if self._thread is None:
                self._closed = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._closed,), name="outbox-notifier", daemon=True
                )
                self._thread.start()
        self._awake.set()

    def close(self) -> None:
        """Sends the pending wake-ups, then ends the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._closed.set()
        self._awake.set()
        if thread is not None:
            thread.join(timeout=5)

    def _run(self, closed: threading.Event) -> None:
        while not closed.is_set():
            self._awake.wait()
            self._awake.clear()
            self._send_pending()
            closed.wait(GAP_SECONDS)
        self._send_pending()

    def _send_pending(self) -> None:
        with self._lock:
            consumers, self._pending = self._pending, set()
        if consumers:
            self._send(consumers)


async def listen(conninfo: str) -> AsyncIterator[str]:
    """Yields an empty string once the connection listens, then each woken consumer. Raises OSError if it is lost.

    It needs a direct connection: behind a pooler that shares sessions LISTEN receives nothing.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, application_name="holdfast-listener", connect_timeout=3, keepalives_idle=10
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield ""
            async for notification in connection.notifies():
                yield notification.payload
    except psycopg.Error as error:
        raise ConnectionError(str(error)) from error
