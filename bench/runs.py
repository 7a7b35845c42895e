"""One run: quiet, idle, load, quiet again; and the CPU of every process over it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.cpu import Reading, Spent
from bench.helper import Helper
from bench.stack import FLOOR_WORKER, BenchStack
from deploy.stack.errors import StackError

Kind = Literal["sequence", "checkout", "held"]

SEED = 1
QUIET_SECONDS = 1.5  # before idling is measured: a burst has echoes (WAL, visibility, timers)
IDLE_SECONDS = 4.0
SETTLE_SECONDS = 0.3  # what an answered purchase still does of itself
NOT_COUNTED = frozenset({"sandbox", "load", "floors", FLOOR_WORKER})


@dataclass(frozen=True)
class Run:
    """`at_once` for a closed loop, `rate` for an open one. `held`: the whole sequence, and all that follows later."""

    kind: Kind
    purchases: int
    at_once: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        loop = f"closed-{self.at_once}" if self.at_once else f"open-{self.rate:g}"
        return f"{self.kind}-{loop}"


@dataclass(frozen=True)
class Floor:
    """A floor at one level: latencies in seconds, CPU ms of one by process."""

    kind: str
    at_once: int
    seconds: Sequence[float]
    elapsed: float
    cpu: Mapping[str, float]


@dataclass
class Measured:
    """CPU in milliseconds a purchase, by process, less what idling costs; `answer` and `later` of held runs only."""

    run: Run
    seconds: Sequence[float]
    elapsed: float
    failures: Sequence[str]
    steps: Mapping[str, Sequence[float]]
    samples: Sequence[Sequence[str]]
    all_in: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, float] = field(default_factory=dict)
    later: Mapping[str, float] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)  # ms a second
    elsewhere: float = 0.0  # of all the machine's CPU time during the load, the share of strangers
    floors: Sequence[Floor] = ()


def counted(split: Mapping[str, float]) -> float:
    """The purchase's cost: everything but the stand-in for the world and the load itself."""
    return sum(ms for name, ms in split.items() if name not in NOT_COUNTED)


class Bench:
    """Measures on a stack that is up."""

    def __init__(self, stack: BenchStack, load: Helper, floors: Helper) -> None:
        self.stack = stack
        self._load = load
        self._floors = floors
        self._idle: dict[frozenset[str], Spent] = {}

    def reading(self) -> Reading:
        return Reading.take({**self.stack.pids, "load": self._load.pid, "floors": self._floors.pid})

    def idle(self, *, held: bool = False) -> Spent:
        """Of the processes as they are now, held back or not; measured once for each."""
        shape = frozenset({*self.stack.pids, *(["held"] if held else [])})
        if shape not in self._idle:
            time.sleep(QUIET_SECONDS)
            before = self.reading()
            time.sleep(IDLE_SECONDS)
            self._idle[shape] = Spent.between(before, self.reading())
        return self._idle[shape]

    def measure(self, run: Run) -> Measured:
        return self._held(run) if run.kind == "held" else self._as_deployed(run)

    def floor(self, kind: str, at_once: int, count: int) -> Floor:
        self._floors.prepare(task=kind, at_once=at_once, count=count, skus=self.stack.skus)
        before = self.reading()
        told = self._floors.go()
        spent = Spent.between(before, self.reading())
        taking_part = {"floors", "postgres"} if kind == "no-temporal" else {"floors", FLOOR_WORKER, "temporal"}
        cpu = {name: s * 1000 / count for name, s in spent.seconds.items() if name in taking_part}
        return Floor(kind, at_once, told["seconds"], told["elapsed"], cpu)

    def _as_deployed(self, run: Run) -> Measured:
        """Everything runs: the order's process, the mail and the webhooks overlap with the next purchases."""
        self._prepare(run)
        idle, before = self.idle(), self.reading()
        told = self._load.go()
        loaded = self.reading()
        self.stack.wait_drained()
        spent = Spent.between(before, self.reading())
        found = _measured(run, told, idle, Spent.between(before, loaded))
        found.all_in = _each(spent.without_idle(idle), told)
        return found

    def _held(self, run: Run) -> Measured:
        """First to the answer alone, then what follows."""
        self._prepare(run)
        idle = self.idle()
        self.stack.hold_back()
        idle_held, before = self.idle(held=True), self.reading()
        told = self._load.go()
        time.sleep(SETTLE_SECONDS)
        answered = self.reading()
        self.stack.let_go()
        self.stack.wait_drained()
        drained = self.reading()
        found = _measured(run, told, idle_held, Spent.between(before, answered))
        found.answer = _each(Spent.between(before, answered).without_idle(idle_held), told)
        found.later = _each(Spent.between(answered, drained).without_idle(idle), told)
        found.all_in = {name: found.answer[name] + found.later.get(name, 0.0) for name in found.answer}
        return found

    def steps(self, purchases: int, at_once: int) -> dict[str, dict[str, float]]:
        """CPU ms of each of the six calls, by process."""
        self._load.prepare(
            task="steps", base=self.stack.settings.api_url, skus=self.stack.skus, purchases=purchases, at_once=at_once
        )
        self.stack.hold_back()
        idle = self.idle(held=True)
        found: dict[str, dict[str, float]] = {}
        before = self.reading()
        while not (told := self._load.go()).get("done"):
            after = self.reading()
            spent = Spent.between(before, after).without_idle(idle)
            found[told["step"]] = {name: s * 1000 / purchases for name, s in spent.items()}
            before = after
        self.stack.let_go()
        self.stack.wait_drained()
        return found

    def _prepare(self, run: Run) -> None:
        ready = self._load.prepare(
            task="load",
            kind="checkout" if run.kind == "checkout" else "sequence",
            base=self.stack.settings.api_url,
            skus=self.stack.skus,
            purchases=run.purchases,
            at_once=run.at_once,
            rate=run.rate,
            seed=SEED,
        )
        if "ready" not in ready:
            raise StackError(f"carts could not be filled ({ready['failures'][0]})", "see the message")
        self.stack.wait_drained()


def _measured(run: Run, told: Mapping[str, Any], idle: Spent, load: Spent) -> Measured:
    if not told["seconds"]:
        raise StackError(f"no purchase of {run.name} succeeded ({told['failures'][0]})", "see the message")
    return Measured(
        run,
        told["seconds"],
        told["elapsed"],
        told["failures"],
        told["steps"],
        told["samples"],
        idle={name: s * 1000 / idle.elapsed for name, s in idle.seconds.items()},
        elsewhere=load.share_elsewhere,
    )


def _each(seconds: Mapping[str, float], told: Mapping[str, Any]) -> dict[str, float]:
    return {name: used * 1000 / len(told["seconds"]) for name, used in seconds.items()}
