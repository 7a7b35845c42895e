"""Redis: cache and counters. It holds no facts; every call raises Unavailable when Redis doesn't answer."""

from __future__ import annotations

import redis
from limits.storage import storage_from_string
from redis.exceptions import RedisError

from models.errors import Unavailable

TIMEOUT_SECONDS = 0.05


class Cache:
    """Every call answers within TIMEOUT_SECONDS or raises Unavailable."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)
        self._counters = storage_from_string(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )

    def count(self, key: str, seconds: int, amount: int) -> int:
        """Adds to a counter that expires after `seconds`; returns its new value."""
        try:
            counted = self._counters.incr(key, seconds, amount=amount)
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error
        assert isinstance(counted, int), "the storage is a synchronous one"
        return counted

    def ping(self) -> None:
        try:
            self._redis.ping()
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error

    def close(self) -> None:
        self._redis.close()
