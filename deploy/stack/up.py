"""`make run`: brings up the stack, places a demo order, follows the logs, and stops in order."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console

from deploy.demo.order import DemoOrder, place
from deploy.stack import engines, plan
from deploy.stack.folder import end_leftovers, held, write_record
from deploy.stack.logs import LogFollower, rotate
from deploy.stack.ports import check_free
from deploy.stack.process import Process
from deploy.stack.programs import run_to_end
from deploy.stack.signals import Stopping, StopRequested, stopping
from deploy.stack.supervisor import Supervisor
from deploy.stack.temporal_binary import get_program
from deploy.stack.welcome import addresses, welcome
from runtime.settings import Settings


def run(settings: Settings, parent: int | None = None) -> None:
    """Returns after an orderly stop. Raises StackError when it could not start or go on."""
    with contextlib.suppress(StopRequested), stopping(parent) as stop, held(settings.data_dir):
        stack = Stack(settings, stop)
        try:
            stack.bring_up()
            stack.follow()
        except BrokenPipeError:
            _speak_to_nobody()
        finally:
            stop.shield()
            stack.take_down()


class Stack:
    """All processes of one data folder."""

    def __init__(self, settings: Settings, stop: Stopping) -> None:
        self.settings = settings
        self.console = Console(soft_wrap=True)
        self.began = time.monotonic()
        self.supervisor = Supervisor(settings.data_dir.resolve() / "logs", on_event=self.say, on_change=self._record)
        self._stop = stop
        stop.urged = self.supervisor.kill_all

    def bring_up(self) -> None:
        """Runs the steps of the start. Each may raise StackError; what was started by then is stopped."""
        settings = self.settings
        for name in end_leftovers(settings.data_dir):
            self.say(f"ended {name}, left over from a stack that was killed")
        check_free(port for process in self._everything() for port in process.listens)
        if not settings.temporal_address:
            get_program(self.say)
        rotate(self.supervisor.logs)
        self._start([*engines.engines(settings), *plan.outside_world(settings)])
        engines.check_own_servers(settings)
        self._prepare_database()
        self._start(plan.holdfast(settings))
        order = self._place_order()
        self.console.print(welcome(settings, order, time.monotonic() - self.began))

    def follow(self) -> None:
        """Shows the logs until a stop is requested or a process can't be kept alive."""
        follower = LogFollower(self.supervisor.logs, self.supervisor.names, on_closed=self._stop.request)
        follower.start()
        try:
            while self.supervisor.failure is None:
                self._stop.check()
                time.sleep(0.5)
            raise self.supervisor.failure
        finally:
            follower.close()

    def take_down(self) -> None:
        if self.supervisor.pids:
            self.say("Stopping.")
        self.supervisor.close()
        write_record(self.settings.data_dir, {}, {})
        if self._stop.requested.is_set():
            self.say("Everything has stopped.")

    def say(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:  # the reader of our output is gone; the stop goes on
            _speak_to_nobody()

    def _everything(self) -> list[Process]:
        settings = self.settings
        return [*engines.engines(settings), *plan.outside_world(settings), *plan.holdfast(settings)]

    def _start(self, processes: Iterable[Process]) -> None:
        engines.start_together(self.supervisor, processes, self._ready)
        self._stop.check()

    def _prepare_database(self) -> None:
        log = self.supervisor.log_of("migrate")
        with self._timed("schema, catalogue"):
            run_to_end("the migration", plan.MIGRATE_AND_SEED, plan.environment(self.settings), log=log)

    def _place_order(self) -> DemoOrder:
        with self._timed("demo order"):
            return place(self.settings)

    def _ready(self, name: str, seconds: float) -> None:
        self.say(f"  ✓ {name:<18} {seconds:5.1f} s")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._ready(name, time.monotonic() - began)

    def _record(self) -> None:
        write_record(self.settings.data_dir, addresses(self.settings), self.supervisor.pids)


def _speak_to_nobody() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
