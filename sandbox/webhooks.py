"""Webhook deliveries: signed, in order for each object, retried until 2xx, and disturbed as a test asks."""

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.post import post
from sandbox.store import Row, Store

FIRST_RETRY = 0.2  # seconds; doubles with every failure
LAST_RETRY = 2.0
SHUFFLE_WINDOW = 0.5  # seconds over which shuffled deliveries are strewn
CONNECTIONS = 64  # at once, so that a shop that comes back isn't flooded


@dataclass(frozen=True)
class Travel:
    """Delivery settings of one service. `duplicate`: how often each webhook arrives."""

    mode: str = "deliver"
    delay_ms: int = 0
    duplicate: int = 1
    shuffle: bool = False
    seed: int = 1
    forge: bool = False


@dataclass(frozen=True)
class Sender:
    """How one service sends. `sign(url, body, forged)` returns the headers; `forge(body)` a body with false claims."""

    sign: Callable[[str, str, bool], dict[str, str]]
    forge: Callable[[str], str]


class Webhooks:
    """Undelivered webhooks and the tasks that deliver them.

    A lane is one object's stream of events: within it a webhook waits until the one before was accepted, and lanes
    don't wait for each other. Must be used from inside a running event loop.
    """

    def __init__(self, store: Store, target: str, senders: dict[str, Sender]) -> None:
        self._store = store
        self._target = target.rstrip("/")
        self._senders = senders
        self._rows = store.table("deliveries")
        self._lanes: dict[str, deque[tuple[str, float]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._closed_until: dict[str, float] = {}
        self._dice: dict[str, random.Random] = {}

    def travel(self, service: str) -> Travel:
        """This service's delivery settings."""
        row = self._store.get("travel", service)
        return Travel(**row) if row else Travel()

    def configure(self, service: str, travel: Travel) -> None:
        """Changes them from now on; held webhooks stay held until `release`."""
        self._store.put("travel", service, asdict(travel))
        self._dice.pop(service, None)

    def emit(self, service: str, lane: str, url: str, body: str) -> None:
        """Send one webhook. `url`: absolute, or a path on the configured target."""
        travel = self.travel(service)
        row: Row = {"service": service, "lane": lane, "url": url, "body": body, "held": travel.mode == "hold"}
        if travel.forge:
            self._spawn(self._send_forged(row))
        if travel.mode != "drop":
            key = secrets.token_hex(8)
            self._store.put("deliveries", key, row)
            if not row["held"]:
                self._enqueue(key, row)

    def release(self, service: str | None) -> int:
        """Delivers what is held, of one service or all, and returns how many."""
        held = [(key, row) for key, row in self._rows.items() if row["held"] and service in (None, row["service"])]
        for key, row in held:
            row["held"] = False
            self._store.put("deliveries", key, row)
            self._enqueue(key, row)
        return len(held)

    def overview(self) -> Row:
        """By service: its settings and how many webhooks are held and on their way."""
        rows = list(self._rows.values())
        return {
            service: {
                **asdict(self.travel(service)),
                "held": sum(row["held"] for row in rows if row["service"] == service),
                "pending": sum(not row["held"] for row in rows if row["service"] == service),
            }
            for service in self._senders
        }

    def resume(self) -> None:
        """Resumes what an earlier process left undelivered."""
        for key, row in self._rows.items():
            if not row["held"]:
                self._enqueue(key, row)

    def stop(self) -> None:
        """Cancels all deliveries in flight; those in the store can be resumed."""
        for task in self._tasks:
            task.cancel()
        self._lanes.clear()
        self._dice.clear()
        self._closed_until.clear()

    def _enqueue(self, key: str, row: Row) -> None:
        travel = self.travel(row["service"])
        due = time.monotonic() + travel.delay_ms / 1000
        lane = row["lane"]
        if travel.shuffle:
            dice = self._dice.setdefault(row["service"], random.Random(travel.seed))  # noqa: S311
            due += dice.uniform(0, SHUFFLE_WINDOW)
            lane = key
        waiting = self._lanes.get(lane)
        if waiting is None:
            waiting = self._lanes[lane] = deque()
            self._spawn(self._run_lane(lane, waiting))
        waiting.append((key, due))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_lane(self, lane: str, waiting: deque[tuple[str, float]]) -> None:
        while waiting:
            key, due = waiting[0]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            row = self._rows[key]
            for _ in range(self.travel(row["service"]).duplicate):
                await self._send_until_accepted(row)
            # Not committed here: the next request commits it, and a crash until then only repeats this delivery.
            self._store.drop("deliveries", key)
            waiting.popleft()
        self._lanes.pop(lane, None)

    async def _send_until_accepted(self, row: Row) -> None:
        pause = FIRST_RETRY
        while not 200 <= await self._attempt(row, row["body"], forged=False) < 300:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY)

    async def _send_forged(self, row: Row) -> None:
        body = self._senders[row["service"]].forge(row["body"])
        await self._attempt(row, body, forged=True)

    async def _attempt(self, row: Row, body: str, forged: bool) -> int:
        """One attempt: the status, or 0 without a response."""
        url = row["url"] if "://" in row["url"] else self._target + row["url"]
        origin = "/".join(url.split("/", 3)[:3])
        async with self._slots:
            # A receiver that is down gets few attempts at once, not one from every lane.
            if time.monotonic() < self._closed_until.get(origin, 0.0):
                return 0
            try:
                headers = self._senders[row["service"]].sign(url, body, forged)
                return await post(url, headers, body.encode())
            except ConnectionError:
                self._closed_until[origin] = time.monotonic() + FIRST_RETRY
                return 0
            except (TimeoutError, ValueError):
                return 0


def read_travel(wishes: Row) -> Travel:
    """Reads a control call's settings; others get their defaults. Raises ValueError with the invalid one."""
    unknown = set(wishes) - set(asdict(Travel()))
    if unknown:
        raise ValueError(f"unknown settings: {sorted(unknown)}")
    if wishes.get("mode", "deliver") not in ("deliver", "hold", "drop"):
        raise ValueError("mode must be deliver, hold or drop")
    for name, least in (("delay_ms", 0), ("duplicate", 1), ("seed", None)):
        value = wishes.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            raise ValueError(f"{name} must be a whole number, at least {least}")
    for name in ("shuffle", "forge"):
        if not isinstance(wishes.get(name, False), bool):
            raise ValueError(f"{name} must be true or false")
    return Travel(**wishes)
