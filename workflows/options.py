"""Patience, in one table: how long each kind of step may take and how it is tried again. Spread into the call."""

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


# Short transactions, beside the workflow's own task: a lock or a restart of the database is waited out.
DATABASE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(days=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.1), maximum_interval=_seconds(5)),
}

# The buyer waits: one bounded call. What it leaves unknown goes to PAYMENT_LOOKUP, which looks before it leaps.
PAYMENT: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(4),
    "schedule_to_close_timeout": _seconds(4),
    "retry_policy": RetryPolicy(maximum_attempts=1),
}

# A payment whose outcome is not known: looked up until the provider says, for as long as Stripe keeps its keys.
PAYMENT_LOOKUP: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(hours=23),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=_seconds(30)),
}

# A look at a payment whose buyer is at the bank; the next look comes anyway.
PAYMENT_POLL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(5),
    "schedule_to_close_timeout": _seconds(15),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_attempts=3),
}

# Holding what the buyer has agreed to. Nobody gives up an attempt that may still succeed: the gateway does, before.
PAYMENT_COMPLETION: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": _seconds(40),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_attempts=5),
}

# Money that is the buyer's again, and every other undo: tried for days, then it is a person's.
COMPENSATION: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(days=3),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=5)),
}

# A refund on its way: its provider tells, and is asked all the same, ever more seldom; banks take days.
REFUND_POLL_INTERVALS: Final = (
    _seconds(2),
    _seconds(10),
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)

# Taking what was authorised, as a parcel leaves.
CAPTURE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(days=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}

# A label for a parcel that stands on the bench: the warehouse has others to pack.
LABEL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(30),
    "schedule_to_close_timeout": timedelta(hours=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}

# A question to the carrier; the next one comes anyway.
CARRIER: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(15),
    "schedule_to_close_timeout": timedelta(minutes=2),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=_seconds(30)),
}

# A mail, first beside the workflow's own task and once only …
MAIL: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(8),
    "schedule_to_close_timeout": _seconds(8),
    "retry_policy": RetryPolicy(maximum_attempts=1),
}

# … then for as long as a buyer could still want it.
MAIL_LATER: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(days=3),
    "retry_policy": RetryPolicy(initial_interval=_seconds(2), maximum_interval=timedelta(minutes=2)),
}

# The mail with a link, for as long as the link lives: the caller says how long that is.
LINK_MAIL: Final[AttemptOptions] = {
    "start_to_close_timeout": _seconds(20),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=timedelta(minutes=1)),
}

# The whole of a provider's list, or all of the books: as long as it takes, while it goes on.
PROVIDER_LIST: Final[HeartbeatOptions] = {
    "start_to_close_timeout": timedelta(hours=2),
    "schedule_to_close_timeout": timedelta(hours=12),
    "heartbeat_timeout": _seconds(120),
    "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=timedelta(minutes=5)),
}

# One difference with the provider; after that it is a person's.
RESOLVE_DIFFERENCE: Final[ActivityOptions] = {
    "start_to_close_timeout": _seconds(20),
    "schedule_to_close_timeout": timedelta(hours=1),
    "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_interval=timedelta(minutes=1)),
}
