"""Rate limits by caller, over Redis where it answers and per process where it does not."""

from __future__ import annotations

import time

import structlog
from fastapi import Request, Response
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from models.errors import TooManyRequests

log = structlog.get_logger()

RETRY_REDIS_SECONDS = 5.0
TIMEOUT_SECONDS = 0.25


class Limiter:
    """One limit for everybody, such as `600/minute`; headers as the IETF draft RateLimit fields have them."""

    def __init__(self, limit: str, redis_url: str) -> None:
        self._limit: RateLimitItem = parse(limit)
        self._shared = FixedWindowRateLimiter(
            storage_from_string(redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        )
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._redis_again_at = 0.0

    def check(self, request: Request, response: Response, caller: str) -> None:
        """Counts this request. Raises TooManyRequests with `retry_after`."""
        strategy = self._strategy()
        try:
            allowed = strategy.hit(self._limit, caller)
            reset_at, remaining = strategy.get_window_stats(self._limit, caller)
        except RedisError as error:
            log.warning("rate_limits_per_process", error=str(error))
            self._redis_again_at = time.monotonic() + RETRY_REDIS_SECONDS
            self.check(request, response, caller)
            return
        seconds = max(1, int(reset_at - time.time()))
        response.headers["RateLimit"] = f'"default";r={max(0, remaining)};t={seconds}'
        response.headers["RateLimit-Policy"] = f'"default";q={self._limit.amount};w={self._limit.get_expiry()}'
        if not allowed:
            raise TooManyRequests(f"At most {self._limit}", retry_after=seconds)

    def _strategy(self) -> FixedWindowRateLimiter:
        return self._own if time.monotonic() < self._redis_again_at else self._shared
