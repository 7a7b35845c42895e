"""Temporal schedules. Every worker ensures them at its start; a schedule changes only with its settings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from models.ids import RECONCILIATION
from runtime.settings import Settings
from workflows import starts
from workflows.client import scheduled

CATCH_UP = timedelta(hours=1)  # a run missed for longer is skipped: the next one reads from where the last ended

log = structlog.get_logger()


async def ensure(client: Client, settings: Settings) -> None:
    """Creates or updates the schedule; keeps an operator's pause and note. Only logs a server without schedules."""
    wanted = reconciliation(settings)
    try:
        try:
            await client.create_schedule(RECONCILIATION, wanted)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(RECONCILIATION).update(_with_spec_of(wanted))
    except RPCError as error:
        log.warning("schedules_unavailable", error=str(error))


def reconciliation(settings: Settings) -> Schedule:
    """The schedule; overlap policy SKIP: a run that is longer than the interval suppresses the next."""
    return Schedule(
        action=scheduled(starts.reconciliation(settings)),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=settings.reconciliation_seconds))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


def _with_spec_of(wanted: Schedule) -> Callable[[ScheduleUpdateInput], ScheduleUpdate | None]:
    def update(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
        held = found.description.schedule
        if held.spec.intervals == wanted.spec.intervals:
            return None
        held.spec, held.action = wanted.spec, wanted.action
        return ScheduleUpdate(schedule=held)

    return update


async def reconcile_now(client: Client) -> None:
    """Triggers a run outside the schedule, unless one is running."""
    await client.get_schedule_handle(RECONCILIATION).trigger(overlap=ScheduleOverlapPolicy.SKIP)
