"""The log of all calls to providers, oldest first, without control calls."""

from itertools import islice, takewhile

from sandbox.clock import Clock
from sandbox.exchange import Call
from sandbox.store import Row, Store

CAPACITY = 200_000  # entries kept; the oldest are forgotten, TRIM at a time
TRIM = 1_000


class CallLog:
    """Entries `{n, at, service, method, path, idempotency_key, replayed, params, metadata, status}`.

    `n` counts from 1 and survives restarts; `status` is None until a response is sent, and stays None without one.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rows = store.table("calls")

    def open(self, call: Call) -> Row:
        """Appends a call that has just arrived and returns its entry."""
        last = next(reversed(self._rows.values()), None)
        entry: Row = {
            "n": last["n"] + 1 if last else 1,
            "at": self._clock.iso(),
            "service": call.service,
            "method": call.request.method,
            "path": call.request.path,
            "idempotency_key": call.idempotency_key,
            "replayed": False,
            "params": call.params,
            "metadata": call.metadata,
            "status": None,
        }
        self.keep(entry)
        if len(self._rows) >= CAPACITY + TRIM:
            for key in list(islice(self._rows, TRIM)):
                self._store.drop("calls", key)
        return entry

    def keep(self, entry: Row) -> None:
        """Stores a new or changed entry."""
        self._store.put("calls", str(entry["n"]), entry)

    def select(
        self, service: str | None = None, since: int = 0, path: str | None = None, limit: int | None = None
    ) -> list[Row]:
        """Entries after number `since`, by service and by path (exact or a parent of it)."""
        recent = takewhile(lambda entry: entry["n"] > since, reversed(self._rows.values()))
        found = [
            entry
            for entry in recent
            if service in (None, entry["service"]) and (path is None or is_under(entry["path"], path))
        ]
        return found[::-1][:limit]


def is_under(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or lies below it: `/v1/refunds/re_1` is under `/v1/refunds`."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")
