"""A sequence of idempotency keys for one effect, because a 500 can spoil a key.

Stripe repeats a 500 to the same key for a day (docs.stripe.com/api/idempotent_requests). So after a 500 the caller
retrieves what the provider holds, and uses the next key only if the effect is absent. Every retry of the activity uses
the same sequence, from the key that the last attempt recorded as its heartbeat, or else from the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from temporalio import activity

KEYS_PER_ATTEMPT = 5  # then the activity's retry policy waits


def key_sequence(first: str) -> Iterator[str]:
    """`first`, `first:2`, `first:3` …; take the next one only when the last one is spoilt."""
    info = activity.info()
    start = int(info.heartbeat_details[0]) if info.heartbeat_details else 1
    for number in range(start, start + KEYS_PER_ATTEMPT):
        yield first if number == 1 else f"{first}:{number}"
        if not info.is_local:  # the server has no heartbeats of local activities
            activity.heartbeat(number + 1)
