"""The bench's own stack: the processes of `make run`, in a folder and on ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from activities.gateways.hashing import HASHER
from bench.empty import QUEUE as FLOOR_QUEUE
from bench.logins import PASSWORD
from deploy.demo.order import Shop
from deploy.errors import StackError
from deploy.stack import engines, plan
from deploy.stack.folder import held
from deploy.stack.ports import Port, free_ports
from deploy.stack.process import Process
from deploy.stack.programs import run_to_end
from deploy.stack.supervisor import Supervisor
from deploy.stack.temporal_binary import get_program
from models.db.session import Database
from models.ids import new_id
from runtime.settings import Settings
from workflows import queues

PORTS = ("api", "postgres", "valkey", "temporal", "temporal_ui", "sandbox", "worker_metrics")  # the last has followers
FOLLOWERS = 3
PREFIX = "holdfast-bench-"
DISK = Path("/var/tmp")  # noqa: S108  /tmp may be memory; the folder made here is ours alone
BASE = DISK if os.access(DISK, os.W_OK) else Path(tempfile.gettempdir())
ENOUGH = 100  # in stock, of each SKU that buyers buy
DRAIN_SECONDS = 120.0
FLOOR_DATABASE = "bench_floor"
FLOOR_WORKER = "floor-worker"
CHECKOUT_WORKER = "checkout-worker"
ORDERS_WORKER = "orders-worker"

# Open work: unfinished checkouts, undelivered messages, orders without their mail.
LEFT = """
SELECT /* bench */ (SELECT count(*) FROM checkouts WHERE status = 'processing'), (SELECT count(*) FROM outbox),
    (SELECT count(*) FROM orders) - (SELECT count(*) FROM notifications WHERE state = 'sent')
"""

PERSON = """
INSERT INTO users (id, email, email_key, name, password_hash, role, verified_at)
VALUES (%(id)s, %(email)s, %(email)s, 'Bench Member', %(hash)s, 'customer', now())
ON CONFLICT (email_key) DO NOTHING
"""

Say = Callable[[str], None]


@contextmanager
def private_stack(say: Say) -> Iterator[BenchStack]:
    """Durable storage in a folder that is deleted afterwards. Ignores what the caller exported for another stack."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        del os.environ[name]
    _clear_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=BASE, ignore_cleanup_errors=True) as name, held(Path(name)):
        ports = dict(zip(PORTS, free_ports(len(PORTS) + FOLLOWERS), strict=False))
        settings = Settings.model_validate(
            {"data_dir": Path(name), **{f"{service}_port": port for service, port in ports.items()}}
        )
        stack = BenchStack(settings, say)
        try:
            stack.bring_up()
            yield stack
        finally:
            stack.take_down()


def _clear_abandoned() -> None:
    """Deletes what a killed bench left."""
    for folder in BASE.glob(f"{PREFIX}*"):
        with contextlib.suppress(StackError), held(folder):  # refused while it is in use
            shutil.rmtree(folder, ignore_errors=True)


class BenchStack:
    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings = settings
        self.environment = plan.environment(settings)
        self.skus: list[str] = []
        self._say = say
        self._supervisor = Supervisor(settings.data_dir / "logs", on_event=say)

    def bring_up(self) -> None:
        began = time.monotonic()
        get_program(self._say)
        self._start([*engines.engines(self.settings), *plan.outside_world(self.settings)])
        run_to_end("the migration", plan.MIGRATE_AND_SEED, self.environment, log=self._supervisor.log_of("migrate"))
        self._copy_database()
        self._start([*plan.holdfast(self.settings), _floor_worker(self.settings)])
        self.skus = list(_in_stock(Shop(self.settings.api_url)))
        self._say(f"The stack is up after {time.monotonic() - began:.1f} s.")

    def take_down(self) -> None:
        self._supervisor.close()

    @property
    def pids(self) -> dict[str, int]:
        return self._supervisor.pids

    @property
    def folder(self) -> Path:
        return self.settings.data_dir

    def people(self, count: int) -> list[str]:
        """That many customers' addresses, each existing once."""
        emails = [f"member{number}@bench.example" for number in range(count)]
        hashed = HASHER.hash(PASSWORD)
        with self.connection() as connection:
            for email in emails:
                connection.exec_driver_sql(PERSON, {"id": new_id("usr"), "email": email, "hash": hashed})
        return emails

    def log_of(self, name: str) -> Path:
        return self._supervisor.log_of(name)

    # -- delaying what follows a response

    def split_workers(self) -> None:
        """One process a queue instead of one for all, with `holdfast worker --queue`."""
        (both,) = [process for process in plan.holdfast(self.settings) if "worker" in process.command]
        if both.name in self.pids:
            self._supervisor.stop(both.name)
            others = [queue for queue in queues.ALL if queue != queues.CHECKOUT]
            self._start([_only(self.settings, both, CHECKOUT_WORKER, [queues.CHECKOUT], 1)])
            self._start([_only(self.settings, both, ORDERS_WORKER, others, 2)])

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """In the block orders are placed but nothing follows them: no relay, no mail, no webhooks."""
        self.control("/webhooks", {"mode": "hold"})
        self.pause(ORDERS_WORKER)
        try:
            yield
        finally:
            self.resume(ORDERS_WORKER)
        self.control("/webhooks", {"mode": "deliver"})
        self.control("/webhooks/release", {})

    def pause(self, name: str) -> None:
        """Stops the process (SIGSTOP): it uses no CPU and loses nothing."""
        os.kill(self.pids[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        if name in self.pids:
            os.kill(self.pids[name], signal.SIGCONT)

    def wait_drained(self) -> None:
        """Waits until every order has its workflow and its mail, and no webhook is under way."""
        deadline = time.monotonic() + DRAIN_SECONDS
        with self.connection() as connection:
            while any(left := self._left(connection)):
                if time.monotonic() > deadline:
                    words = "{} checkouts, {} messages, {} mails and {} webhooks".format(*left)
                    raise StackError(
                        f"after {DRAIN_SECONDS:.0f} s there were still {words} under way", "run it again, less at once"
                    )
                time.sleep(0.1)

    def _left(self, connection: Any) -> tuple[int, int, int, int]:
        checkouts, messages, mails = connection.exec_driver_sql(LEFT).one()
        webhooks = sum(row["pending"] for row in self.control("/webhooks").values())
        return checkouts, messages, mails, webhooks

    # -- connections

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Autocommit."""
        with _reading(self.settings.database) as connection:
            yield connection

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The sandbox's control API: a GET without a body, a POST with one."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.settings.sandbox_url}/_sandbox{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  our own
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def _start(self, processes: Iterable[Process]) -> None:
        engines.start_together(self._supervisor, processes)

    def empty_database(self, name: str) -> str:
        """An empty database on the same server; its address."""
        with _reading(re.sub(r"/\w+$", "/postgres", self.settings.database)) as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return re.sub(r"/\w+$", f"/{name}", self.settings.database)

    def _copy_database(self) -> None:
        """For the floor without Temporal, whose orders no relay may deliver."""
        with _reading(re.sub(r"/\w+$", "/postgres", self.settings.database)) as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {FLOOR_DATABASE} TEMPLATE holdfast")

    @property
    def floor_environment(self) -> dict[str, str]:
        """For the floors' client: the copy of the database, the same Temporal server."""
        return {
            **self.environment,
            "HOLDFAST_DATABASE_URL": re.sub(r"/\w+$", f"/{FLOOR_DATABASE}", self.settings.database),
        }


@contextmanager
def _reading(url: str) -> Iterator[Any]:
    database = Database(url, pool_size=1, application="bench")
    try:
        with database.autocommit() as connection:
            yield connection
    finally:
        database.close()


def _only(settings: Settings, both: Process, name: str, served: list[str], follower: int) -> Process:
    metrics = settings.worker_metrics_port + follower
    return replace(
        both,
        name=name,
        command=(*both.command, *(word for queue in served for word in ("--queue", queue))),
        ready=lambda: _polls(metrics, served),
        environment={**both.environment, "HOLDFAST_WORKER_METRICS_PORT": str(metrics)},
        listens=(Port(metrics, "HOLDFAST_WORKER_METRICS_PORT"),),
    )


def _floor_worker(settings: Settings) -> Process:
    metrics = settings.worker_metrics_port + 3
    return Process(
        name=FLOOR_WORKER,
        command=(sys.executable, "-m", "bench.floor_worker"),
        ready=lambda: _polls(metrics, [FLOOR_QUEUE]),
        environment={**plan.environment(settings), "HOLDFAST_WORKER_METRICS_PORT": str(metrics)},
    )


def _polls(metrics: int, served: Iterable[str]) -> bool:
    figures = (plan.read(f"http://127.0.0.1:{metrics}/metrics") or "").splitlines()
    pollers = [line for line in figures if line.startswith("temporal_num_pollers")]
    return all(any(f'"{queue}"' in line for line in pollers) for queue in served)


def _in_stock(shop: Shop) -> Iterator[str]:
    """SKUs with more stock than the bench can sell."""
    path = "/v1/products?in_stock=true&limit=100"
    cursor: str | None = ""
    while cursor is not None:
        page = shop.call("GET", path + (f"&cursor={cursor}" if cursor else ""))
        for product in page["items"]:
            yield from (str(v["sku"]) for v in product["variants"] if v["available"] >= ENOUGH)
        cursor = page["next_cursor"]
