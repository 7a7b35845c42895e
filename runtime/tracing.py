"""The W3C trace context of what is running now, to be carried on by what it causes."""

from __future__ import annotations

from opentelemetry import propagate


def trace_context() -> dict[str, str] | None:
    """`{"traceparent": …}`, or None outside any trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier or None
