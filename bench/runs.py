"""The runs of the bench, and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.insight import DatabaseUse, History
from bench.stack import FLOOR_WORKER

RunKind = Literal["sequence", "checkout", "held", "steps", "logins"]
KINDS: tuple[RunKind, ...] = ("sequence", "checkout", "held", "steps", "logins")
NOT_COUNTED = frozenset({"sandbox", "load", "floors", FLOOR_WORKER})


@dataclass(frozen=True)
class Run:
    """`at_once` for a closed loop, `rate` for an open one.

    `sequence`: six calls, from an empty cart to an order. `checkout`: the last of them, on carts filled beforehand.
    `held`: the sequence, with all that follows delayed until the last response. `steps`: all buyers take one call after
    the other. `logins`: that many users who sign in repeatedly, beside catalogue reads at a steady rate.
    """

    kind: RunKind
    purchases: int
    at_once: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}-closed-{self.at_once}" if self.at_once else f"{self.kind}-open-{self.rate:g}"


WARM_UP = Run("sequence", 60, at_once=8)
LEVELS = ((60, 1, None), (160, 8, None), (160, 32, None), (80, None, 10.0), (200, None, 20.0))
EVERYTHING = (
    *(Run("sequence", *level) for level in LEVELS),
    *(Run("checkout", *level) for level in LEVELS),
    Run("held", 60, at_once=1),
    Run("held", 160, at_once=8),
    Run("steps", 160, at_once=8),
    Run("logins", 50, at_once=50),
)
# A minimum of each kind, which tests the bench and measures nothing.
QUICK = (
    Run("sequence", 6, at_once=2),
    Run("checkout", 6, rate=20),
    Run("held", 6, at_once=2),
    Run("steps", 4, at_once=2),
    Run("logins", 4, at_once=4),
)


def chosen(
    kinds: Sequence[str] = (), at_once: Sequence[int] = (), rates: Sequence[float] = (), purchases: int | None = None
) -> list[Run]:
    """The requested runs; all without a request."""
    runs = [run for run in EVERYTHING if not kinds or run.kind in kinds]
    if at_once or rates:
        levels: list[tuple[int | None, float | None]] = [(n, None) for n in at_once] + [(None, r) for r in rates]
        found = dict.fromkeys(run.kind for run in runs)
        runs = [
            Run(kind, 160, n, r) for kind in found for n, r in levels if r is None or kind in ("sequence", "checkout")
        ]
    return [replace(run, purchases=purchases or run.purchases) for run in runs]


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
    seconds: Sequence[float] = ()
    elapsed: float = 0.0
    failures: Sequence[str] = ()
    calls: Mapping[str, Sequence[float]] = field(default_factory=dict)  # seconds, by call
    samples: Sequence[Sequence[str]] = ()
    all_in: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, float] = field(default_factory=dict)
    later: Mapping[str, float] = field(default_factory=dict)
    by_call: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    elsewhere: float = 0.0  # other processes' share of the machine's CPU time during the load
    floors: Sequence[Floor] = ()
    database: Mapping[str, DatabaseUse] = field(default_factory=dict)  # until the response, and after it
    histories: Sequence[History] = ()
    logins_per_second: float = 0.0


def counted(split: Mapping[str, float]) -> float:
    """The cost of a purchase: all processes but the sandbox and the load generator."""
    return sum(ms for name, ms in split.items() if name not in NOT_COUNTED)
