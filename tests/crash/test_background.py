"""What runs beside a worker's queues never dies unseen: an outbox that nobody reads looks like peace."""

from __future__ import annotations

import asyncio

import pytest

from workers.main import _until_stopped


async def _dies() -> None:
    raise RuntimeError("the relay met what nobody thought of")


async def _goes_on() -> None:
    await asyncio.sleep(600)


def test_a_dead_relay_takes_the_worker_with_it() -> None:
    async def worker() -> None:
        await _until_stopped(asyncio.Event(), [asyncio.create_task(_goes_on()), asyncio.create_task(_dies())])

    with pytest.raises(RuntimeError, match="nobody thought of"):
        asyncio.run(worker())


def test_a_stop_ends_them_quietly() -> None:
    async def worker() -> list[bool]:
        stop, background = asyncio.Event(), [asyncio.create_task(_goes_on())]
        stop.set()
        await _until_stopped(stop, background)
        return [task.cancelled() for task in background]

    assert asyncio.run(worker()) == [True]
