"""One process of the stack: how to start it, when it is ready, how to stop it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deploy.stack import launch
from deploy.stack.ports import Port


def nothing() -> None:
    """The default `prepare`."""


@dataclass(frozen=True)
class User:
    """Another user to run as; `reach` keeps the capability to enter folders closed to it."""

    uid: int
    reach: bool


@dataclass(frozen=True)
class Process:
    name: str
    command: Sequence[str]
    ready: Callable[[], bool]  # polled, also while nothing answers yet
    prepare: Callable[[], None] = nothing  # before every start, restarts included
    environment: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[Port, ...] = ()
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # sent when the stack itself dies
    grace: float = 10.0  # seconds between the stop signal and SIGKILL


def spawn(process: Process, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts it in a session of its own. The calling thread must live as long as the child may."""
    return subprocess.Popen(
        launched(process.command, process.user, process.death_signal),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, **process.environment},
        start_new_session=True,
    )


def run_as(user: User | None, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a short program to its end as that user."""
    return subprocess.run(
        launched(command, user, signal.SIGKILL), input=text, capture_output=True, text=True, check=False
    )


def launched(command: Sequence[str], user: User | None, death_signal: signal.Signals) -> list[str]:
    who = ["-", "0"] if user is None else [str(user.uid), str(int(user.reach))]
    shim = [sys.executable, "-I", "-S", str(Path(launch.__file__).resolve())]
    return [*shim, str(os.getpid()), str(int(death_signal)), *who, *command]
