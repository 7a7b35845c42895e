"""Load: buyers in a closed loop (a number at once) or an open one (at a rate)."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.buyer import Buyer, Unexpected
from bench.wire import Wire

FILLERS = 8
SAMPLES = 5  # purchases whose histories are read afterwards

Job = Callable[[], Awaitable[None]]
_numbers = itertools.count(1)


@dataclass
class LoadResult:
    """Latencies in seconds, of what succeeded."""

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    failures: list[str] = field(default_factory=list)

    async def note(self, job: Job, since: float) -> None:
        try:
            await job()
            self.seconds.append(time.perf_counter() - since)
        except (Unexpected, OSError) as error:
            self.failures.append(str(error) or type(error).__name__)


async def closed_loop(jobs: Sequence[Job], at_once: int) -> LoadResult:
    """Each of `at_once` buyers begins the next purchase when the last one is done."""
    outcome, waiting = LoadResult(), iter(jobs)
    began = time.perf_counter()

    async def one_after_another() -> None:
        for job in waiting:
            await outcome.note(job, time.perf_counter())

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    outcome.elapsed = time.perf_counter() - began
    return outcome


async def open_loop(jobs: Sequence[Job], rate: float, seed: int) -> LoadResult:
    """Buyers arrive on schedule; the latency counts from the scheduled time."""
    outcome = LoadResult()
    began = time.perf_counter()

    async def come(job: Job, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        await outcome.note(job, at)

    arrivals = schedule(len(jobs), rate, seed)
    await asyncio.gather(*(come(job, began + at) for job, at in zip(jobs, arrivals, strict=True)))
    outcome.elapsed = time.perf_counter() - began
    return outcome


def schedule(count: int, rate: float, seed: int) -> list[float]:
    """Random arrivals over `count / rate` seconds: a Poisson process that keeps the rate exactly."""
    dice = random.Random(seed)
    return sorted(dice.uniform(0, count / rate) for _ in range(count))


async def load(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """`kind` is `sequence` or `checkout` (of carts filled beforehand)."""
    wire = Wire(task["base"])
    buyers = list(_buyers(wire, task["skus"], task["purchases"]))
    whole = task["kind"] == "sequence"
    if not whole:
        filled = await closed_loop([buyer.fill for buyer in buyers], FILLERS)
        buyers = [buyer for buyer in buyers if "option" in buyer.seconds]
        if filled.failures:
            yield {"done": True, "failures": filled.failures}
            return
    await wire.open(task["at_once"] or FILLERS)
    yield {"ready": True}
    jobs = [buyer.buy if whole else _only_checkout(buyer) for buyer in buyers]
    loop = closed_loop(jobs, task["at_once"]) if task["at_once"] else open_loop(jobs, task["rate"], task["seed"])
    outcome = await loop
    yield {"done": True, **_report(outcome, buyers)}
    wire.close()


async def steps(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """All buyers take the first step, then all the second …, so that CPU time can be measured by step."""
    wire = Wire(task["base"])
    buyers = list(_buyers(wire, task["skus"], task["purchases"]))
    await wire.open(task["at_once"])
    yield {"ready": True}
    for step in buyers[0].steps:
        outcome = await closed_loop([_taking(buyer, step) for buyer in buyers], task["at_once"])
        yield {"step": step, "failures": outcome.failures, "elapsed": outcome.elapsed}
    yield {"done": True}
    wire.close()


def _buyers(wire: Wire, skus: Sequence[str], count: int) -> Iterator[Buyer]:
    for number in itertools.islice(_numbers, count):
        yield Buyer(wire, skus[number % len(skus)], number)


def _taking(buyer: Buyer, step: str) -> Job:
    return lambda: buyer.take(step)


def _only_checkout(buyer: Buyer) -> Job:
    return _taking(buyer, "checkout")


def _report(outcome: LoadResult, buyers: Sequence[Buyer]) -> dict[str, Any]:
    done = [buyer for buyer in buyers if buyer.order_id]
    return {
        "seconds": outcome.seconds,
        "elapsed": outcome.elapsed,
        "failures": outcome.failures,
        "steps": {step: [buyer.seconds[step] for buyer in done] for step in (buyers[0].steps if buyers else ())},
        "samples": [[buyer.checkout_id, buyer.order_id] for buyer in done[-SAMPLES:]],
    }
