"""One run: idle, load, idle again; and the CPU time of every process over it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cpu import Reading, Spent
from bench.helper import Helper
from bench.insight import DatabaseReading, DatabaseUse, histories
from bench.runs import Floor, Measured, Run
from bench.stack import FLOOR_WORKER, BenchStack
from deploy.errors import StackError

SEED = 1
READS = ("/v1/products?limit=20", "/v1/products/trail-rain-jacket")
READS_PER_SECOND = 40
PHASE_SECONDS = 5.0
ROUNDS = 4
QUIET_SECONDS = 1.5  # before idling is measured: a burst has after-effects (WAL, visibility, timers)
IDLE_SECONDS = 4.0
SETTLE_SECONDS = 0.3  # what an answered purchase still does
FLOORS = (("empty-workflow", 1, 30), ("empty-workflow", 8, 80), ("no-temporal", 1, 40), ("no-temporal", 8, 80))
TAKING_PART = {"empty-workflow": ("floors", FLOOR_WORKER, "temporal"), "no-temporal": ("floors", "postgres")}


class Bench:
    """Measures on a running stack."""

    def __init__(self, stack: BenchStack, load: Helper, floors: Helper, *, quick: bool = False) -> None:
        self.stack = stack
        self._load = load
        self._floors = floors
        self.quick = quick
        self._idle: dict[frozenset[str], Spent] = {}

    def measure(self, run: Run) -> Measured:
        if run.kind in ("held", "steps"):
            self.stack.split_workers()
        special = {"held": self._held, "steps": self._steps, "logins": self._logins}
        return special.get(run.kind, self._as_deployed)(run)

    def floors(self) -> list[Floor]:
        return [self._floor(kind, at_once, 8 if self.quick else count) for kind, at_once, count in FLOORS]

    def _floor(self, kind: str, at_once: int, count: int) -> Floor:
        idle = self.idle()
        self._floors.prepare(task=kind, at_once=at_once, count=count, skus=self.stack.skus)
        before = self.reading()
        report = self._floors.go()
        spent = Spent.between(before, self.reading()).without_idle(idle)
        cpu = {name: spent[name] * 1000 / count for name in TAKING_PART[kind]}
        return Floor(kind, at_once, report["seconds"], report["elapsed"], cpu)

    def _as_deployed(self, run: Run) -> Measured:
        """All parts run: the order's workflow, the mail and the webhooks overlap with the next purchases."""
        idle = self.idle()
        self._prepare_load(run)
        before = self.reading()
        report = self._load.go()
        loaded = self.reading()
        self.stack.wait_drained()
        spent = Spent.between(before, self.reading())
        found = _measured(run, report, Spent.between(before, loaded))
        found.all_in = _each(spent.without_idle(idle), report["seconds"])
        return found

    def _held(self, run: Run) -> Measured:
        """First until the response, then what follows."""
        idle = self.idle()
        self._prepare_load(run)
        with self.stack.connection() as connection:
            with self.stack.held_back():
                idle_held = self.idle(held=True)
                rows = [DatabaseReading.take(connection)]
                before = self.reading()
                report = self._load.go()
                time.sleep(SETTLE_SECONDS)
                answered = self.reading()
                rows.append(DatabaseReading.take(connection))
            self.stack.wait_drained()
            drained = self.reading()
            rows.append(DatabaseReading.take(connection))
        found = _measured(run, report, Spent.between(before, answered))
        found.answer = _each(Spent.between(before, answered).without_idle(idle_held), report["seconds"])
        found.later = _each(Spent.between(answered, drained).without_idle(idle), report["seconds"])
        found.all_in = {name: found.answer[name] + found.later.get(name, 0.0) for name in found.answer}
        found.database = {
            phase: DatabaseUse.between(rows[i], rows[i + 1], len(report["seconds"]))
            for i, phase in enumerate(("answer", "later"))
        }
        found.histories = asyncio.run(histories(self.stack.settings, found.samples))
        return found

    def _steps(self, run: Run) -> Measured:
        """CPU time of each of the six calls."""
        found = Measured(run)
        by_call: dict[str, Mapping[str, float]] = {}
        self._load.prepare(**self._task(run))
        with self.stack.held_back():
            idle = self.idle(held=True)
            before = self.reading()
            while not (report := self._load.go()).get("done"):
                after = self.reading()
                by_call[report["step"]] = _each(Spent.between(before, after).without_idle(idle), range(run.purchases))
                found.failures = [*found.failures, *report["failures"]]
                before = after
        self.stack.wait_drained()
        found.by_call = by_call
        return found

    def _logins(self, run: Run) -> Measured:
        """Latency of catalogue reads, alone and beside sign-ins."""
        assert run.at_once is not None, "logins run in a closed loop"
        self._load.prepare(
            task="logins",
            base=self.stack.settings.api_url,
            paths=READS,
            emails=self.stack.people(run.at_once),
            at_once=run.at_once,
            rate_of_reads=READS_PER_SECOND,
            phase_seconds=0.5 if self.quick else PHASE_SECONDS,
            rounds=1 if self.quick else ROUNDS,
            seed=SEED,
        )
        before = self.reading()
        report = self._load.go()
        spent = Spent.between(before, self.reading())
        found = Measured(run, report["seconds"], report["elapsed"], report["failures"], report["steps"])
        found.elsewhere = spent.share_elsewhere
        found.logins_per_second = len(report["steps"]["login"]) / report["login_elapsed"]
        return found

    def reading(self) -> Reading:
        return Reading.take({**self.stack.pids, "load": self._load.pid, "floors": self._floors.pid})

    def idle(self, *, held: bool = False) -> Spent:
        """CPU time of idle processes, delayed ones included; measured once for each state."""
        shape = frozenset({*self.stack.pids, *(["held"] if held else [])})
        if shape not in self._idle:
            time.sleep(0.1 if self.quick else QUIET_SECONDS)
            before = self.reading()
            time.sleep(0.5 if self.quick else IDLE_SECONDS)
            self._idle[shape] = Spent.between(before, self.reading())
        return self._idle[shape]

    def _task(self, run: Run) -> dict[str, Any]:
        return {
            "task": "steps" if run.kind == "steps" else "load",
            "kind": "checkout" if run.kind == "checkout" else "sequence",
            "base": self.stack.settings.api_url,
            "skus": self.stack.skus,
            "purchases": run.purchases,
            "at_once": run.at_once,
            "rate": run.rate,
            "seed": SEED,
        }

    def _prepare_load(self, run: Run) -> None:
        ready = self._load.prepare(**self._task(run))
        if "ready" not in ready:
            raise StackError(f"carts could not be filled ({ready['failures'][0]})", "the API's log says more")


def _measured(run: Run, report: Mapping[str, Any], load: Spent) -> Measured:
    if not report["seconds"]:
        raise StackError(f"no purchase of {run.name} succeeded ({report['failures'][0]})", "the API's log says more")
    return Measured(
        run,
        report["seconds"],
        report["elapsed"],
        report["failures"],
        report["steps"],
        report["samples"],
        elsewhere=load.share_elsewhere,
    )


def _each(seconds: Mapping[str, float], purchases: Sequence[Any]) -> dict[str, float]:
    return {name: used * 1000 / len(purchases) for name, used in seconds.items()}
