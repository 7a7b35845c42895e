"""Turns measurements into figures, and compares them with the budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import Figure, mean, percentiles
from bench.runs import Floor, Measured, counted

EMPTY = "empty-workflow"
STATEMENTS = 12
CPU = "CPU ms/purchase"


@dataclass(frozen=True)
class Budget:
    name: str
    run: str
    figure: str
    limit: float
    unit: str


BUDGETS = (
    Budget("whole sequence, to the answer", "held-closed-8", "cpu_answer", 60, CPU),
    Budget("whole sequence, all in", "sequence-closed-8", "cpu_all_in", 85, CPU),
    Budget("checkout call alone, 1 at once, p50", "checkout-closed-1", "p50", 40, "ms"),
    Budget("checkout call alone, 20 a second, p99", "checkout-open-20", "p99", 200, "ms"),
    Budget("catalogue reads, p99 beside 50 sign-ins at once", "logins-closed-50", "read_p99_ratio", 2, "× alone"),
)


def figures_of(measured: Measured) -> list[Figure]:
    """Every figure of one run, the floors around it included."""
    run = measured.run
    return [
        Figure(name, value, unit, run.name, of, run.at_once, run.rate)
        for name, value, unit, of in (
            *(_reads(measured) if run.kind == "logins" else _rows(measured)),
            *_insights(measured),
            *_floors(measured),
        )
    ]


Row = tuple[str, float, str, str | None]


def _rows(measured: Measured) -> Iterator[Row]:
    yield "failures", len(measured.failures), "purchases", None
    if measured.seconds:
        yield "purchases", len(measured.seconds), "purchases", None
        yield "per_second", len(measured.seconds) / measured.elapsed, "purchases/s", None
        yield "elsewhere", measured.elsewhere * 100, "% of the machine's CPU", None
        for name, value in percentiles(measured.seconds):
            yield name, value, "ms", None
    for call, seconds in measured.calls.items():
        if measured.run.kind != "checkout":
            for name, value in percentiles(seconds):
                yield name, value, "ms", call
    for name, split in (
        ("cpu_all_in", measured.all_in),
        ("cpu_answer", measured.answer),
        ("cpu_later", measured.later),
    ):
        if split:
            yield from _split(name, split)
    for call, split in measured.by_call.items():
        yield f"cpu_{call}", counted(split), "CPU ms/call", None
        for process, ms in split.items():
            yield f"cpu_{call}", ms, "CPU ms/call", process


def _reads(measured: Measured) -> Iterator[Row]:
    """Latencies of catalogue reads alone (`idle`) and beside sign-ins (`during`), and of the sign-ins."""
    yield "failures", len(measured.failures), "calls", None
    yield "elsewhere", measured.elsewhere * 100, "% of the machine's CPU", None
    yield "logins_per_second", measured.logins_per_second, "1/s", None
    for call, seconds in measured.calls.items():
        yield "calls", len(seconds), "calls", call
        for name, value in percentiles(seconds):
            yield name, value, "ms", call
    alone, beside = (dict(percentiles(measured.calls[phase])) for phase in ("idle", "during"))
    for name in alone:
        yield f"read_{name}_ratio", beside[name] / alone[name], "×", None


def _split(name: str, split: Mapping[str, float]) -> Iterator[Row]:
    yield name, counted(split), CPU, None
    for process, ms in split.items():
        yield name, ms, CPU, process


def _insights(measured: Measured) -> Iterator[Row]:
    for phase, use in measured.database.items():
        yield f"statements_{phase}", use.calls, "round trips/purchase", None
        yield f"commits_{phase}", use.commits, "transactions/purchase", None
        yield f"statements_{phase}_ms", use.ms, "ms/purchase", None
        yield f"statements_{phase}_plan_ms", use.plan_ms, "ms/purchase", None
        yield f"wal_syncs_{phase}", use.wal_syncs, "syncs/purchase", None
        for statement in use.statements[:STATEMENTS]:
            yield f"statement_{phase}_ms", statement.ms, "ms/purchase", statement.text
            yield f"statement_{phase}_plan_ms", statement.plan_ms, "ms/purchase", statement.text
            yield f"statement_{phase}_calls", statement.calls, "calls/purchase", statement.text
    for history in measured.histories:
        yield "history_events", history.events, "events", history.workflow
        yield "workflow_tasks", history.tasks, "tasks", history.workflow
        yield "history_size", history.kib, "KiB", history.workflow


def _floors(measured: Measured) -> Iterator[Row]:
    """Means of before and after, and the run's multiple of the empty workflow."""
    for (kind, at_once), around in grouped(measured.floors).items():
        of = f"{kind}-{at_once}"
        yield "floor_p50", mean([p50(floor) for floor in around]), "ms", of
        yield "floor_p50_spread", max(map(p50, around)) / min(map(p50, around)), "×", of
        yield "floor_per_second", mean([len(floor.seconds) / floor.elapsed for floor in around]), "1/s", of
        yield "floor_cpu", mean([sum(floor.cpu.values()) for floor in around]), "CPU ms", of
        for process in around[0].cpu:
            yield "floor_cpu", mean([floor.cpu[process] for floor in around]), "CPU ms", f"{of}/{process}"
        if kind == EMPTY and measured.seconds:
            if at_once == measured.run.at_once:
                floor_p50 = mean([p50(floor) for floor in around])
                yield "p50_to_floor", dict(percentiles(measured.seconds))["p50"] / floor_p50, "×", of
            if measured.all_in and (at_once == 1) == (measured.run.at_once == 1):
                cpu = mean([sum(floor.cpu.values()) for floor in around])
                yield "cpu_to_floor", counted(measured.all_in) / cpu, "×", of


def p50(floor: Floor) -> float:
    return dict(percentiles(floor.seconds))["p50"]


def grouped(floors: Iterable[Floor]) -> dict[tuple[str, int], list[Floor]]:
    found: dict[tuple[str, int], list[Floor]] = {}
    for floor in floors:
        found.setdefault((floor.kind, floor.at_once), []).append(floor)
    return found


def budgets(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The budgets that were measured."""
    values = {(figure.run, figure.name): figure.value for figure in figures if figure.of is None}
    return [
        {
            "name": budget.name,
            "limit": budget.limit,
            "value": round(value, 1),
            "unit": budget.unit,
            "met": value <= budget.limit,
        }
        for budget in BUDGETS
        if (value := values.get((budget.run, budget.figure))) is not None
    ]
