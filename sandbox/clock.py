"""The provider's clock: real time plus whatever the tests have advanced it by."""

import time
from datetime import UTC, datetime

from sandbox.store import Store


class Clock:
    """Seconds since the epoch as the outside world sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def offset(self) -> float:
        """How far ahead of real time this clock is, in seconds."""
        row = self._store.get("settings", "clock")
        return float(row["offset"]) if row else 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.offset

    def iso(self) -> str:
        """Now as ISO 8601 in UTC, to the microsecond."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat().replace("+00:00", "Z")

    def advance(self, seconds: float) -> None:
        """Move on; it never goes back."""
        self._store.put("settings", "clock", {"offset": self.offset + seconds})
