"""Idempotency keys as docs.stripe.com/api/idempotent_requests has them."""

import hashlib
import json

from sandbox.clock import Clock
from sandbox.exchange import Response
from sandbox.store import Row, Store
from sandbox.stripe_shaped.errors import BadParameter, KeyInUse, KeyMisused

KEPT_FOR = 24 * 3600  # seconds of the provider's clock
LONGEST = 255  # characters


class Keys:
    """Saved answers by key, and the keys of calls that are running."""

    def __init__(self, store: Store, clock: Clock, table: str = "idempotency") -> None:
        self._store = store
        self._clock = clock
        self._table = table
        self._rows = store.table(table)
        self._running: dict[str, str] = {}

    def claim(self, key: str, fingerprint: str) -> Response | None:
        """Start a call under this key, or get the saved answer of the one before.

        Raises KeyMisused for other parameters, KeyInUse while another runs, BadParameter for a bad key.
        """
        if len(key) > LONGEST:
            raise BadParameter(f"Idempotency keys can't be longer than {LONGEST} characters.")
        self._forget_expired()
        saved = self._rows.get(key)
        known = self._running.get(key) or (saved and saved["fingerprint"])
        if known and known != fingerprint:
            raise KeyMisused(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with. Try using a key other than '{key}' if you meant to execute a different request."
            )
        if key in self._running:
            raise KeyInUse(
                f"There is currently another in-progress request using this Idempotent Key: {key}.",
                "idempotency_key_in_use",
            )
        if saved is not None:
            return _replay(saved)
        self._running[key] = fingerprint
        return None

    def save(self, key: str, fingerprint: str, answer: Response) -> None:
        """Keep an answer for repeats; the last one kept is the one they get."""
        row: Row = {
            "fingerprint": fingerprint,
            "at": self._clock.now(),
            "status": answer.status,
            "body": answer.body.decode(),
            "headers": answer.headers,
        }
        self._store.put(self._table, key, row)

    def release(self, key: str) -> None:
        """The call that claimed this key has ended."""
        self._running.pop(key, None)

    def forget(self) -> int:
        """Drop all saved answers and return how many there were."""
        keys = list(self._rows)
        for key in keys:
            self._store.drop(self._table, key)
        return len(keys)

    def _forget_expired(self) -> None:
        expired = self._clock.now() - KEPT_FOR
        while self._rows:
            key = next(iter(self._rows))  # the oldest
            if self._rows[key]["at"] > expired:
                break
            self._store.drop(self._table, key)


def fingerprint(method: str, path: str, params: Row) -> str:
    """What has to be the same for a key to be reused; the order of parameters doesn't matter."""
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _replay(saved: Row) -> Response:
    headers = {**saved["headers"], "original-request": saved["headers"].get("request-id", "")}
    headers["idempotent-replayed"] = "true"
    return Response(saved["status"], saved["body"].encode(), headers, replayed=True)
