"""One line for each request by its route's template, and one event for each refusal that matters to security.

Neither holds a path, a query, a header or a body: what callers type stays out of the logs.
"""

from __future__ import annotations

from typing import Any

import structlog
from prometheus_client import Counter

from models.accounts.accounts import address_range

log = structlog.get_logger()

# Problems that tell of a guess, a forgery, or a caller who asks for more than is theirs.
SECURITY_PROBLEMS = frozenset(
    {
        "unauthenticated",
        "invalid-credentials",
        "sign-in-refused",
        "sign-in-expired",
        "address-not-verified",
        "forbidden",
        "gone",
        "bad-signature",
        "card-number-refused",
        "too-many-requests",
        "too-many-attempts",
    }
)
QUIET = ("/health/live", "/health/ready", "/metrics")  # what supervisors ask all the time

SECURITY_EVENTS = Counter("holdfast_security_events_total", "Refusals that matter to security", ["reason"])


def record(scope: Any, status: int, seconds: float) -> None:
    """Logs an answered request. `scope["problem"]` is the slug of its problem, `scope["caller"]` who asked."""
    reason = scope.get("problem")
    if scope["path"] in QUIET and reason is None:
        return
    route = getattr(scope.get("route"), "path", "unmatched")
    facts = {"method": scope["method"], "route": route, "status": status, "request_id": scope["request_id"]}
    log.info("request", **facts, ms=round(seconds * 1000, 1))
    if reason in SECURITY_PROBLEMS:
        SECURITY_EVENTS.labels(reason).inc()
        address = scope["client"][0] if scope["client"] else ""
        caller = scope.get("caller") or "anonymous"
        log.warning("security_event", reason=reason, caller=caller, network=address_range(address), **facts)
