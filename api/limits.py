"""Rate limits by class of route and by network, counted in Redis, or per process while Redis does not answer."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import structlog
from limits import parse

from activities.gateways.cache import Cache
from models.accounts.accounts import network_of
from models.errors import Unavailable
from runtime.settings import Settings

log = structlog.get_logger()

RETRY_REDIS_SECONDS = 5.0

# A provider often gives one customer an IPv6 /56 or a /48, so those count too, against a multiple of the limit.
IPV6_NETWORKS = ((64, 1), (56, 4), (48, 16))

UNLIMITED = ("/health/live", "/metrics")  # what supervisors and Prometheus ask all the time


class RouteClass(NamedTuple):
    """Requests that count together. `routes` matches `METHOD /path`; None: those that no other class takes alone."""

    name: str
    setting: str
    routes: re.Pattern[str] | None


CLASSES = (
    RouteClass("webhooks", "webhook_rate_limit", re.compile(r"POST /v1/webhooks/")),
    RouteClass("auth", "auth_rate_limit", re.compile(r"\w+ /v1/auth/")),
    # What can be guessed: discount codes.
    RouteClass("codes", "code_rate_limit", re.compile(r"POST /v1/carts/[^/]+/discounts$")),
    # What takes room or stock: new carts, and checkouts.
    RouteClass("carts", "cart_rate_limit", re.compile(r"POST /v1/(carts|checkouts)$")),
    RouteClass("default", "rate_limit", None),
)


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


class Limits:
    """The limits of all classes. A webhook counts in its own class only, everything else in `default` too."""

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._limiters = [(each, Limiter(getattr(settings, each.setting), cache, each.name)) for each in CLASSES]

    def count(self, method: str, path: str, address: str) -> Allowance | None:
        """Counts one request; the tightest of its limits, None where there is none."""
        if path in UNLIMITED:
            return None
        request = f"{method} {path}"
        found = [allowance for limiter in self._of(request) for allowance in _counted(limiter, address)]
        return min(found, key=lambda allowance: allowance.remaining)

    def _of(self, request: str) -> Iterator[Limiter]:
        for each, limiter in self._limiters:
            if each.routes is None or each.routes.match(request):
                yield limiter
                if each.name == "webhooks":
                    return


def _counted(limiter: Limiter, address: str) -> Iterator[Allowance]:
    for network, times in networks(address):
        yield limiter.count(network, times)


@lru_cache(maxsize=4096)
def networks(address: str) -> tuple[tuple[str, int], ...]:
    """The networks that a request of this address counts for, and how often each has the limit of one caller."""
    found = {network_of(address, ipv4=32, ipv6=bits): times for bits, times in reversed(IPV6_NETWORKS)}
    return tuple(found.items())


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

    def count(self, caller: str, times: int = 1) -> Allowance:
        """Counts one request of this caller, who has the limit `times` times. Must be called from one thread."""
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
        limit = self._limit * times
        return Allowance(limit, self._window, limit - count, self._window - into, self._name)

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
