"""Rate limits by caller, over Redis where it answers and per process where it does not."""

from __future__ import annotations

import time
from typing import NamedTuple

import structlog
from limits import parse
from limits.storage import MemoryStorage, storage_from_string
from redis.exceptions import RedisError

log = structlog.get_logger()

RETRY_REDIS_SECONDS = 5.0
TIMEOUT_SECONDS = 0.05


class Allowance(NamedTuple):
    """How much is left of a caller's limit, and in how many seconds it begins anew."""

    limit: int
    window: int
    remaining: int
    reset: int

    @property
    def exceeded(self) -> bool:
        return self.remaining < 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the IETF draft "RateLimit header fields for HTTP"."""
        return [
            (b"ratelimit-policy", f'"default";q={self.limit};w={self.window}'.encode()),
            (b"ratelimit", f'"default";r={max(0, self.remaining)};t={self.reset}'.encode()),
        ]


class Limiter:
    """One limit for everybody, such as `600/minute`: fixed windows of the clock, one round trip a request."""

    def __init__(self, limit: str, redis_url: str) -> None:
        item = parse(limit)
        self._limit = item.amount
        self._window = item.get_expiry()
        self._shared = storage_from_string(
            redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._own = MemoryStorage()
        self._redis_again_at = 0.0

    def count(self, caller: str) -> Allowance:
        """Counts one request of this caller."""
        now = time.time()
        number, into = divmod(int(now), self._window)
        count = self._count(f"limit:{caller}:{number}")
        return Allowance(self._limit, self._window, self._limit - count, self._window - into)

    def _count(self, key: str) -> int:
        if time.monotonic() >= self._redis_again_at:
            try:
                return self._shared.incr(key, self._window)  # type: ignore[return-value]  # the sync storage
            except RedisError as error:
                log.warning("rate_limits_per_process", error=str(error))
                self._redis_again_at = time.monotonic() + RETRY_REDIS_SECONDS
        return self._own.incr(key, self._window)
