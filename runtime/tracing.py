"""The current W3C trace context, to pass on to the work that is caused by it."""

from __future__ import annotations

from opentelemetry import propagate


def trace_context() -> dict[str, str] | None:
    """`{"traceparent": …}`, or None outside any trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier or None
