"""Measures the cost of a purchase, on a stack of its own: `make bench JSON=path`, or `python -m bench --help`."""

from __future__ import annotations

import argparse
import contextlib
import json as encoder
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import machine, orders
from bench.figures import Figure, percentiles
from bench.helper import Helper
from bench.measure import Bench
from bench.report import console, show
from bench.results import budgets, figures_of
from bench.runs import KINDS, QUICK, WARM_UP, Measured, Run, chosen, counted
from bench.stack import BenchStack, private_stack
from deploy.errors import StackError
from deploy.stack.signals import StopRequested, stopping


def measure(
    runs: Sequence[Run], json: Path | None, *, floors: bool = True, quick: bool = False, among: int = 0
) -> None:
    """Prints tables and writes every figure with its unit. `among`: the size of the order search's data set; 0: no
    search.
    """
    if json is not None and not json.parent.is_dir():
        raise StackError(f"there is no folder {json.parent}", "make it, or name another")
    out = console()
    try:
        with stopping(None) as stop, _bench(quick=quick) as bench:
            result = _results(bench, runs, out, floors=floors, among=among)
            stop.shield()
    except StopRequested:
        sys.exit(130)
    show(result, out)
    if json is not None:
        json.write_text(encoder.dumps(result, indent=1, ensure_ascii=False) + "\n")
        out.print(f"{len(result['figures'])} figures are in {json}; `python -m bench.report {json}` gives Markdown.")


@contextmanager
def _bench(*, quick: bool) -> Iterator[Bench]:
    with private_stack(_say) as stack, contextlib.ExitStack() as helpers:
        load = helpers.enter_context(_helper("generator", stack, stack.environment))
        floors = helpers.enter_context(_helper("floors", stack, stack.floor_environment))
        yield Bench(stack, load, floors, quick=quick)


def _helper(name: str, stack: BenchStack, environment: dict[str, str]) -> Helper:
    return Helper(name, f"bench.{name}", environment, stack.log_of(name))


def _results(bench: Bench, runs: Sequence[Run], out: Console, *, floors: bool, among: int) -> dict[str, Any]:
    found: list[Figure] = machine.sync_figures(bench.stack.folder)
    described = machine.describe(bench.stack.folder)
    if runs and not bench.quick:
        bench.measure(WARM_UP)
    before = bench.floors() if floors else []
    for number, run in enumerate(runs, 1):
        measured = bench.measure(run)
        after = bench.floors() if floors else []
        measured.floors = [*before, *after]
        before = after
        found += figures_of(measured)
        out.print(f"{number:>2}/{len(runs)} {_line(measured)}")
    if among:
        found += orders.measure(bench.stack.empty_database("bench_orders"), among, _say, 3 if bench.quick else 100)
    return {
        "benchmark": "holdfast",
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "machine": described,
        "budgets": budgets(found),
        "figures": [figure.as_json() for figure in found],
    }


def _line(measured: Measured) -> str:
    parts = [f"{measured.run.name:<20}"]
    if measured.seconds:
        parts.append(f"{len(measured.seconds) / measured.elapsed:6.1f}/s")
        parts += [f"{name} {ms:7.1f} ms" for name, ms in percentiles(measured.seconds)]
    if measured.all_in:
        parts.append(f"CPU {counted(measured.all_in):6.1f} ms")
    if measured.logins_per_second:
        parts.append(f"beside {measured.logins_per_second:.1f} sign-ins a second")
    if measured.answer:
        parts.append(f"(to the answer {counted(measured.answer):.1f})")
    if measured.failures:
        parts.append(f"{len(measured.failures)} failed, first: {measured.failures[0][:60]}")
    return "  ".join(parts)


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=(*KINDS, orders.RUN), default=[], help="no floors then")
    parser.add_argument("--at-once", type=int, action="append", default=[], help="closed loops at these levels only")
    parser.add_argument("--rate", type=float, action="append", default=[], help="open loops at these rates only")
    parser.add_argument("--purchases", type=int, help="in each run")
    parser.add_argument("--orders", type=int, help=f"find some among so many ({orders.MANY}); 0: don't")
    parser.add_argument("--floors", action="store_true", help="measure the floors all the same")
    parser.add_argument(
        "--quick", action="store_true", help="so little of each kind that only the bench itself is tested"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    runs = QUICK if asked.quick else chosen(asked.only, asked.at_once, asked.rate, asked.purchases)
    among = 0
    if not asked.only or orders.RUN in asked.only:
        among = (orders.FEW if asked.quick else orders.MANY) if asked.orders is None else asked.orders
    try:
        measure(runs, asked.json, floors=asked.floors or not asked.only, quick=asked.quick, among=among)
    except StackError as error:
        sys.exit(f"error: {error}")
