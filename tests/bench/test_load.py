"""The loops keep their promise: so many at once, or at a rate, whatever the shop does."""

import asyncio
import time

import pytest

from bench.buyer import Unexpected
from bench.load import closed_loop, open_loop, schedule
from bench.wire import Wire


def test_arrivals_keep_the_rate_and_are_the_same_again() -> None:
    arrivals = schedule(200, 20, seed=1)
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= 0
    assert arrivals[-1] <= 10
    assert arrivals == schedule(200, 20, seed=1)
    assert arrivals != schedule(200, 20, seed=2)


def test_a_closed_loop_has_so_many_at_once_and_does_each_job_once() -> None:
    running, most, done = 0, 0, 0

    async def job() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done += 1

    outcome = asyncio.run(closed_loop([job] * 40, 8))
    assert (most, done, len(outcome.seconds)) == (8, 40, 40)


def test_an_open_loop_counts_the_time_that_a_buyer_stood_in_line() -> None:
    """A shop that blocks for 0.3 s delays all who should have begun meanwhile, and each of them says so."""
    first = True

    async def job() -> None:
        nonlocal first
        if first:
            first = False
            time.sleep(0.3)

    outcome = asyncio.run(open_loop([job] * 20, rate=200, seed=1))
    assert len(outcome.seconds) == 20
    assert min(outcome.seconds) > 0.15  # all twenty were due within the first 0.1 s


def test_failures_are_told_and_not_timed() -> None:
    async def refused() -> None:
        raise Unexpected("503 at POST /v1/checkouts")

    async def lost() -> None:
        raise ConnectionResetError

    outcome = asyncio.run(closed_loop([refused, lost], 1))
    assert outcome.seconds == []
    assert outcome.failures == ["503 at POST /v1/checkouts", "ConnectionResetError"]


ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


async def _with_server(answers: list[bytes], calls: int) -> tuple[list[tuple[int, bytes]], int]:
    """What the calls got, and over how many connections; the server gives the answers in turn, empty ones hang up."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while answers and await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(4)
            if not (answer := answers.pop(0)):
                break
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        wire = Wire(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            return [await wire.call("POST", "/path", "body") for _ in range(calls)], connections
        finally:
            wire.close()


def test_calls_share_a_connection() -> None:
    found, connections = asyncio.run(_with_server([ANSWER] * 3, 3))
    assert found == [(201, b"hello")] * 3
    assert connections == 1


def test_a_connection_that_ends_without_an_answer_is_an_error() -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(_with_server([b""], 1))
