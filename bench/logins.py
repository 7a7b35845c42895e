"""Catalogue reads at a steady rate, alone and beside concurrent sign-ins."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from bench.buyer import Unexpected
from bench.load import LoadResult, open_loop
from bench.wire import Wire

PASSWORD = "as good as any other passphrase"  # noqa: S105  of people who exist for a minute
READERS = 8  # connections opened beforehand
REST_SECONDS = 0.5  # between two phases


async def logins(task: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    """Phases without and with sign-ins alternate, so that other load on the machine affects both alike."""
    async with _connected(task["base"], READERS) as wire:
        for path in task["paths"]:
            await _read(wire, path)
    yield {"ready": True}
    found: dict[str, LoadResult] = {"idle": LoadResult(), "during": LoadResult(), "login": LoadResult()}
    for number in range(task["rounds"]):
        await _reads(found["idle"], task, 2 * number)
        await asyncio.sleep(REST_SECONDS)
        async with _storm(found["login"], task):
            await _reads(found["during"], task, 2 * number + 1)
        await asyncio.sleep(REST_SECONDS)
    yield {
        "done": True,
        "seconds": found["during"].seconds,
        "elapsed": found["during"].elapsed,
        "failures": [failure for outcome in found.values() for failure in outcome.failures],
        "steps": {name: outcome.seconds for name, outcome in found.items()},
        "login_elapsed": found["login"].elapsed,
    }


@asynccontextmanager
async def _connected(base: str, count: int) -> AsyncIterator[Wire]:
    """Connections for one phase: the API closes idle ones after some seconds."""
    wire = Wire(base)
    await wire.open(count)
    yield wire
    wire.close()


async def _reads(outcome: LoadResult, task: Mapping[str, Any], seed: int) -> None:
    count = int(task["rate_of_reads"] * task["phase_seconds"])
    async with _connected(task["base"], READERS) as wire:
        jobs = [partial(_read, wire, path) for path in itertools.islice(itertools.cycle(task["paths"]), count)]
        _add(outcome, await open_loop(jobs, task["rate_of_reads"], task["seed"] + seed))


@asynccontextmanager
async def _storm(outcome: LoadResult, task: Mapping[str, Any]) -> AsyncIterator[None]:
    """Each user signs in repeatedly."""
    over = asyncio.Event()
    found = LoadResult()
    async with _connected(task["base"], task["at_once"]) as wire:
        began = time.perf_counter()

        async def one(email: str) -> None:
            while not over.is_set():
                await found.note(partial(_login, wire, email), time.perf_counter())

        everybody = asyncio.gather(*(one(email) for email in task["emails"][: task["at_once"]]))
        yield
        over.set()
        await everybody
        found.elapsed = time.perf_counter() - began
    _add(outcome, found)


def _add(to: LoadResult, found: LoadResult) -> None:
    to.seconds += found.seconds
    to.failures += found.failures
    to.elapsed += found.elapsed


async def _read(wire: Wire, path: str) -> None:
    status, answer = await wire.call("GET", path)
    if status != 200:
        raise Unexpected(f"{status} at GET {path}: {answer[:300].decode(errors='replace')}")


async def _login(wire: Wire, email: str) -> None:
    body = json.dumps({"email": email, "password": PASSWORD})
    status, answer = await wire.call("POST", "/v1/auth/login", body)
    if status != 200:
        raise Unexpected(f"{status} at a sign-in: {answer[:300].decode(errors='replace')}")
