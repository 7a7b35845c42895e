"""Follows the log files of all processes as one coloured stream, and rotates them."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

COLOURS = (36, 33, 35, 32, 34, 31)
POLL_SECONDS = 0.25
KEEP_BYTES = 20_000_000


def rotate(folder: Path) -> None:
    """Called before a start: a large log becomes `.old`, replacing the one before."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > KEEP_BYTES:
            path.rename(path.with_suffix(".log.old"))


class LogFollower:
    """Prints what is added to the logs from now on. `on_closed` is called when the reader of our output is gone."""

    def __init__(self, folder: Path, names: list[str], on_closed: Callable[[], None], out: TextIO = sys.stdout) -> None:
        self._paths = {name: folder / f"{name}.log" for name in names}
        self._read = {name: _size(path) for name, path in self._paths.items()}
        self._rest = dict.fromkeys(names, b"")
        self._on_closed = on_closed
        self._out = out
        self._coloured = out.isatty() and "NO_COLOR" not in os.environ
        self._width = max(map(len, names), default=0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="logs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Shows the last lines, then stops."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._ended.wait(POLL_SECONDS):
                self._show_new()
            self._show_new()
        except OSError:  # the reader of our output is gone
            self._on_closed()

    def _show_new(self) -> None:
        for number, (name, path) in enumerate(self._paths.items()):
            if _size(path) <= self._read[name]:
                continue
            with path.open("rb") as file:
                file.seek(self._read[name])
                added = file.read(1_000_000)
            self._read[name] += len(added)
            *lines, self._rest[name] = (self._rest[name] + added).split(b"\n")
            for line in lines:
                self._out.write(self._prefix(name, number) + line.decode(errors="replace") + "\n")
        self._out.flush()

    def _prefix(self, name: str, number: int) -> str:
        label = f"{name:<{self._width}} │ "
        return f"\033[{COLOURS[number % len(COLOURS)]}m{label}\033[0m" if self._coloured else label


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
