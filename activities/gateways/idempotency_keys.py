"""A row of idempotency keys for one effect, where a provider may have spoilt some of them.

It repeats a 500 to the same key for a day (docs.stripe.com/api/idempotent_requests). So after one, what it holds is
looked at, and only if the effect is not there the row's next key is used: every repeat walks the same row, and starts
where the last one has told the server (as its heartbeat) that it had come to. One that died untold walks it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from temporalio import activity

KEYS_PER_ATTEMPT = 5  # then the provider is given time


def key_sequence(first: str) -> Iterator[str]:
    """`first`, `first:2`, `first:3` …; whoever asks for the next one has seen that the last one is spoilt."""
    info = activity.info()
    start = int(info.heartbeat_details[0]) if info.heartbeat_details else 1
    for number in range(start, start + KEYS_PER_ATTEMPT):
        yield first if number == 1 else f"{first}:{number}"
        if not info.is_local:  # the server keeps nothing of those
            activity.heartbeat(number + 1)
