"""Rate limits by caller, counted in Redis, or per process while Redis does not answer."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

import structlog
from limits import parse

from activities.gateways.cache import Cache
from models.errors import Unavailable

log = structlog.get_logger()

RETRY_REDIS_SECONDS = 5.0


class Allowance(NamedTuple):
    """The requests left of a caller's limit, and the seconds until the window ends."""

    limit: int
    window: int
    remaining: int
    reset: int
    name: str = "default"

    @property
    def exceeded(self) -> bool:
        return self.remaining < 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the IETF draft "RateLimit header fields for HTTP"."""
        return [
            (b"ratelimit-policy", f'"{self.name}";q={self.limit};w={self.window}'.encode()),
            (b"ratelimit", f'"{self.name}";r={max(0, self.remaining)};t={self.reset}'.encode()),
        ]


class Limiter:
    """One limit for all callers, such as `600/minute`, in fixed windows of the clock.

    Processes share their counts in steps of a hundredth of the limit: a wide limit costs no round trip, a narrow one is
    exact, and none is off by more than one step for each process.
    """

    def __init__(self, limit: str, cache: Cache, name: str = "default") -> None:
        item = parse(limit)
        self._limit = item.amount
        self._window = item.get_expiry()
        self._step = max(1, self._limit // 100)
        self._cache = cache
        self._name = name
        self._redis_again_at = 0.0
        self._number = 0  # of the current window
        self._own: Counter[str] = Counter()
        self._shared: dict[str, int] = {}

    def count(self, caller: str) -> Allowance:
        """Counts one request of this caller. Must be called from one thread."""
        number, into = divmod(int(time.time()), self._window)
        if number != self._number:
            self._number = number
            self._own.clear()
            self._shared.clear()
        self._own[caller] += 1
        into_step = (self._own[caller] - 1) % self._step
        if into_step == 0:
            self._share(caller)
        count = max(self._own[caller], self._shared.get(caller, 0) - self._step + into_step + 1)
        return Allowance(self._limit, self._window, self._limit - count, self._window - into, self._name)

    def _share(self, caller: str) -> None:
        if time.monotonic() < self._redis_again_at:
            return
        try:
            self._shared[caller] = self._cache.count(
                f"limit:{self._name}:{caller}:{self._number}", self._window, self._step
            )
        except Unavailable as error:
            log.warning("rate_limits_per_process", error=error.detail)
            self._redis_again_at = time.monotonic() + RETRY_REDIS_SECONDS
