"""Timeouts and retry policies, by kind of step; `**` spreads one into the call. On exhaustion a manual task opens."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypedDict

from temporalio.common import RetryPolicy


class AttemptOptions(TypedDict):
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


class ActivityOptions(AttemptOptions):
    schedule_to_close_timeout: timedelta


class HeartbeatOptions(ActivityOptions):
    heartbeat_timeout: timedelta


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


# Short transactions in local activities; retried through lock waits and restarts of the database.
DATABASE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(days=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.1), maximum_interval=_seconds(5)),
}

# One bounded call, because the buyer waits. PAYMENT_LOOKUP resolves an unknown outcome.
PAYMENT: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(4),
    "schedule_to_close_timeout": _seconds(4),
    "retry_policy": RetryPolicy(maximum_attempts=1),
}

# Resolves an unknown outcome: retrieves, then retries, for as long as Stripe keeps idempotency keys.
PAYMENT_LOOKUP: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(hours=23),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=_seconds(30)),
}

# How long an outcome is searched for after the deadline of its request, before the buyer is answered without it.
LAST_SEARCHES: Final = timedelta(minutes=1)


def lookup_until(left: timedelta) -> ActivityOptions:
    """PAYMENT_LOOKUP for the time `left` of a deadline, and the last searches after it."""
    return {**PAYMENT_LOOKUP, "schedule_to_close_timeout": max(timedelta(), left) + LAST_SEARCHES}


# One poll of a payment that waits for its buyer; the next poll follows anyway.
PAYMENT_POLL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(5),
    "schedule_to_close_timeout": _seconds(15),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_attempts=3),
}

# Authorises an approved payment. The gateway's own timeout is shorter, so no attempt is cut off that may succeed.
PAYMENT_COMPLETION: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": _seconds(40),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_attempts=5),
}

# Voids, refunds and every other undo: retried for three days, then a manual task.
COMPENSATION: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(days=3),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=5)),
}

# A pending refund is polled at growing intervals beside its webhooks; banks take days.
REFUND_POLL_INTERVALS: Final = (
    _seconds(2),
    _seconds(10),
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)

# Captures the authorisation when a parcel ships.
CAPTURE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(days=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}

# Buys a label; an hour at most, because the warehouse waits with the parcel.
LABEL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(30),
    "schedule_to_close_timeout": timedelta(hours=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}

# One poll of the carrier; the next poll follows anyway.
CARRIER: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(minutes=2),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=_seconds(30)),
}

# A mail: first in a local activity, one attempt …
MAIL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(8),
    "schedule_to_close_timeout": _seconds(8),
    "retry_policy": RetryPolicy(maximum_attempts=1),
}

# … then in a remote activity, retried for as long as the mail is of use.
MAIL_LATER: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(days=3),
    "retry_policy": RetryPolicy(initial_interval=_seconds(2), maximum_interval=timedelta(minutes=2)),
}

# The mail of a link, retried while the link is live: the caller sets `schedule_to_close_timeout`.
LINK_MAIL: Final[AttemptOptions] = {
    "start_to_close_timeout": _seconds(20),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=timedelta(minutes=1)),
}

# Reads a provider's whole list, or compares the whole ledger; heartbeats show progress.
PROVIDER_LIST: Final[HeartbeatOptions] = {
    "start_to_close_timeout": timedelta(hours=2),
    "schedule_to_close_timeout": timedelta(hours=12),
    "heartbeat_timeout": _seconds(120),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=timedelta(minutes=5)),
}

# Resolves one difference with the provider; then a manual task.
RESOLVE_DIFFERENCE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(hours=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}
