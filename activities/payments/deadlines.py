"""Deadlines of activities that would authorise, by the Temporal server's clock: workers' clocks need not agree."""

from __future__ import annotations

from datetime import datetime

from temporalio import activity


def is_past(not_after: datetime | None) -> bool:
    """Whether this attempt of the activity started after the deadline. None: there is none."""
    return not_after is not None and activity.info().started_time >= not_after
