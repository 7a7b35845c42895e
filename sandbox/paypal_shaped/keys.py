"""PayPal-Request-Id: a repeated id gets the response of the request that succeeded under it, without a second effect.

Source: developer.paypal.com/api/rest/reference/idempotency. Only successes are stored: a request that was refused or
failed may be repeated under its id. Stricter than the original: another body under the same id is refused.
"""

import hashlib
import json

from sandbox.clock import Clock
from sandbox.exchange import Response
from sandbox.paypal_shaped.errors import BadRequest, InProgress, PayPalError
from sandbox.store import Row, Store

LONGEST = 108  # characters
ORDERS_KEPT = 6 * 3600  # seconds of the provider's clock
PAYMENTS_KEPT = 45 * 86_400


class Keys:
    """Responses by path and id, and the ids of running requests."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._rows = store.table("paypal_keys")
        self._running: set[str] = set()

    def claim(self, path: str, key: str, body: Row) -> Response | None:
        """Start a request under this id, or get the answer of the one before.

        Raises InProgress while another runs, BadRequest for an id that is too long, PayPalError for another body.
        """
        if not 1 <= len(key) <= LONGEST:
            raise BadRequest("INVALID_STRING_LENGTH", field="PayPal-Request-Id")
        name = f"{path} {key}"
        if name in self._running:
            raise InProgress()
        saved = self._rows.get(name)
        if saved is not None and self._clock.now() < saved["until"]:
            if saved["fingerprint"] != _fingerprint(body):
                raise PayPalError("DUPLICATE_REQUEST_ID", "The PayPal-Request-Id was used with another request.")
            return Response(200, saved["body"].encode(), saved["headers"], replayed=True)
        self._running.add(name)
        return None

    def save(self, path: str, key: str, body: Row, answer: Response) -> None:
        """Keep the answer of a request that succeeded."""
        kept = ORDERS_KEPT if "/checkout/" in path else PAYMENTS_KEPT
        row: Row = {
            "fingerprint": _fingerprint(body),
            "until": self._clock.now() + kept,
            "body": answer.body.decode(),
            "headers": answer.headers,
        }
        self._store.put("paypal_keys", f"{path} {key}", row)

    def release(self, path: str, key: str) -> None:
        """The request that claimed this id is over."""
        self._running.discard(f"{path} {key}")

    def forget(self) -> int:
        """Drop all answers and return how many there were."""
        names = list(self._rows)
        for name in names:
            self._store.drop("paypal_keys", name)
        return len(names)


def _fingerprint(body: Row) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
