"""Turns Ctrl-C, SIGTERM, a closed terminal and the parent's death into one request to stop."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

PR_SET_PDEATHSIG = 1
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Raised in the main thread by the first signal, wherever it is."""


class Stopping:
    """The first signal interrupts; `urged` is called with every later one."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.urged: Callable[[], None] = lambda: None
        self._shielded = False

    def request(self) -> None:
        """Requests a stop like a signal, from any thread."""
        os.kill(os.getpid(), signal.SIGTERM)

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        again = self.requested.is_set()
        self.requested.set()
        if self._shielded:
            if again:
                self.urged()
        else:
            self._shielded = True
            raise StopRequested

    def check(self) -> None:
        """Raises StopRequested again: an exception in a callback that Python runs itself is printed and lost."""
        if self.requested.is_set():
            raise StopRequested

    def shield(self) -> None:
        """From here on signals no longer interrupt."""
        self._shielded = True


@contextmanager
def stopping(parent: int | None) -> Iterator[Stopping]:
    """Handles signals in the block; with `parent`, also that process's death."""
    stop = Stopping()
    before = {}
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
            before[number] = signal.signal(number, stop.handle)
    try:
        if parent is not None:
            _die_with(parent)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the first check
        raise StopRequested
