"""Starts processes, watches them, restarts dead ones, and stops all in reverse order."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from deploy.errors import StackError
from deploy.stack.process import Process, spawn

POLL_SECONDS = 0.1
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds before each restart in a row; after the last, the stack gives up
STEADY_SECONDS = 10.0  # a process that lived this long resets the row

Event = Callable[[str], None]


@dataclass
class Child:
    """A started process; `wanted` says whether it should be running."""

    process: Process
    popen: subprocess.Popen[bytes]
    started: float
    wanted: bool = True
    was_ready: bool = False  # only a process that was ready once is restarted
    deaths_in_a_row: int = 0
    back_at: float | None = None


@dataclass
class Supervisor:
    """One thread starts and reaps every child, because a child's death signal is tied to the thread that made it.

    `on_event` gets one line for every death and restart; `on_change` is called when a pid changes. With `restarts=None`
    it restarts without limit, for tests that kill processes.
    """

    logs: Path
    on_event: Event = print
    on_change: Callable[[], None] = lambda: None
    restarts: int | None = len(BACK_OFF)
    back_off: tuple[float, ...] = BACK_OFF
    failure: StackError | None = None
    _children: dict[str, Child] = field(default_factory=dict)
    _orders: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = field(
        default_factory=queue.SimpleQueue
    )
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closing: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    # -- calls from other threads

    def start(self, process: Process, patience: float = 60.0) -> float:
        """Starts it and waits until it is ready; returns the seconds."""
        began = time.monotonic()
        process.prepare()
        self._order(lambda: self._launch(process))
        self.wait_ready(process.name, patience)
        return time.monotonic() - began

    def wait_ready(self, name: str, patience: float = 60.0) -> None:
        """Waits until it is ready. Raises StackError at once when it stopped before it was."""
        deadline = time.monotonic() + patience
        while not self._children[name].process.ready():
            child = self._children[name]
            if self._closing.is_set():
                raise StackError(f"{name} was stopped while starting", "start again")
            if self.failure:
                raise self.failure
            if child.popen.poll() is not None and not child.was_ready:
                raise StackError(f"{name} stopped while starting{self._last_words(name)}", self._see(name))
            if time.monotonic() > deadline:
                raise StackError(f"{name} was not ready after {patience:.0f} s", self._see(name))
            time.sleep(0.05)
        self._children[name].was_ready = True

    def kill(self, name: str) -> None:
        """Sends SIGKILL, and does not restart it until `restart`."""
        self._children[name].wanted = False
        self._signal(name, signal.SIGKILL)
        self._children[name].popen.wait()

    def stop(self, name: str) -> None:
        """Sends the stop signal, then SIGKILL after its grace."""
        child = self._children[name]
        child.wanted = False
        self._signal(name, child.process.stop_signal)
        try:
            child.popen.wait(child.process.grace)
        except subprocess.TimeoutExpired:
            self.on_event(f"{name} did not stop within {child.process.grace:.0f} s and was killed")
        self._signal_session(child)
        child.popen.wait()

    def restart(self, name: str, patience: float = 60.0) -> float:
        """Restarts a killed, stopped or running process; returns the seconds until it is ready."""
        if self._children[name].popen.poll() is None:
            self.stop(name)
        return self.start(self._children[name].process, patience)

    def abandon(self) -> None:
        """Cancels all pending starts; their callers get an error."""
        self._closing.set()

    def kill_all(self) -> None:
        """Kills everything at once, without an orderly stop; nothing is restarted."""
        self.abandon()
        for name in reversed(self.names):
            self._signal(name, signal.SIGKILL)

    def close(self) -> None:
        """Stops everything, last started first."""
        self.abandon()
        if self._thread is None:
            return
        self._order(lambda: None, last=True)  # after every start that was already requested
        for name in reversed(self.names):
            self.stop(name)
        self._orders.put(None)
        self._thread.join()  # not earlier: the thread's end would kill the children
        self._thread = None

    @property
    def pids(self) -> dict[str, int]:
        """The pids of running children."""
        return {name: child.popen.pid for name, child in self._children.items() if child.popen.poll() is None}

    @property
    def names(self) -> list[str]:
        return list(self._children)

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    # -- the thread's own work

    def _order(self, what: Callable[[], None], *, last: bool = False) -> None:
        done: Future[None] = Future()
        with self._lock:
            if self._closing.is_set() and not last:
                raise StackError("the stack is stopping", "start it again")
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
                self._thread.start()
            self._orders.put((what, done))
        done.result()

    def _watch(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=POLL_SECONDS)
                if order is None:
                    return
                what, done = order
                try:
                    what()
                    done.set_result(None)
                except BaseException as error:  # noqa: BLE001  handed to the caller's thread
                    done.set_exception(error)
            for child in list(self._children.values()):
                self._look_after(child)

    def _look_after(self, child: Child) -> None:
        expected = not (child.wanted and child.was_ready) or self._closing.is_set()
        if expected or child.popen.poll() is None:
            return
        if child.back_at is None:
            self._schedule_return(child)
        elif time.monotonic() >= child.back_at:
            self._bring_back(child)

    def _schedule_return(self, child: Child) -> None:
        steady = time.monotonic() - child.started > STEADY_SECONDS
        child.deaths_in_a_row = 1 if steady else child.deaths_in_a_row + 1
        name, how = child.process.name, _how_it_ended(child.popen.returncode)
        if self.restarts is not None and child.deaths_in_a_row > self.restarts:
            child.wanted = False
            self.failure = StackError(f"{name} keeps stopping ({how}){self._last_words(name)}", self._see(name))
            return
        delay = self.back_off[min(child.deaths_in_a_row, len(self.back_off)) - 1]
        child.back_at = time.monotonic() + delay
        self.on_event(f"{name} stopped unexpectedly ({how}); starting it again in {delay:.1f} s")

    def _bring_back(self, child: Child) -> None:
        try:
            child.process.prepare()
            self._launch(child.process)
        except (StackError, OSError) as error:
            child.wanted = False
            name = child.process.name
            self.failure = StackError(f"{name} could not be started again ({error})", self._see(name))

    def _launch(self, process: Process) -> None:
        before = self._children.get(process.name)
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log_of(process.name).open("ab") as output:
            popen = spawn(process, output)
        child = Child(process, popen, started=time.monotonic())
        if before:
            child.was_ready = before.was_ready
            child.deaths_in_a_row = before.deaths_in_a_row if before.wanted else 0
        self._children[process.name] = child
        self.on_change()

    # -- helpers

    def _signal(self, name: str, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._children[name].popen.send_signal(number)

    def _signal_session(self, child: Child) -> None:
        """Sends the signal to the child and to what is left of its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.popen.pid, signal.SIGKILL)

    def _last_words(self, name: str) -> str:
        lines = [line for line in _tail(self.log_of(name)).splitlines() if line.strip()]
        return f" ({lines[-1].strip()[:300]})" if lines else ""

    def _see(self, name: str) -> str:
        return f"see {self.log_of(name)}"


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit status {code}"


def _tail(path: Path, size: int = 4000) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace")
    return ""
