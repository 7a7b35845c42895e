"""What runs by the clock, told to Temporal by every worker that starts: once, and again only when a setting changes."""

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

CATCH_UP = timedelta(hours=1)  # a run that was missed for longer is the next one's: it reads from where the last ended

log = structlog.get_logger()


async def ensure(client: Client, settings: Settings) -> None:
    """A pause or a note that an operator has set stays. A server without schedules is told in the log, no more."""
    wanted = reconciliation(settings)
    try:
        try:
            await client.create_schedule(RECONCILIATION, wanted)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(RECONCILIATION).update(_with_spec_of(wanted))
    except RPCError as error:
        log.warning("schedules_unavailable", error=str(error))


def reconciliation(settings: Settings) -> Schedule:
    """One at a time: a run that takes longer than the interval is not overtaken."""
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
    """Beside the clock; where one is running already, that one goes on alone."""
    await client.get_schedule_handle(RECONCILIATION).trigger(overlap=ScheduleOverlapPolicy.SKIP)
