"""A child process that works on command, so that its CPU time is measured apart.

Both sides speak JSON, a line a message: the helper gets a task, prepares, says so, and waits for "go".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from signal import SIGKILL
from typing import Any, Self

from deploy.errors import StackError
from deploy.stack.process import launched

Task = Callable[[Mapping[str, Any]], AsyncIterator[Mapping[str, Any]]]


class Helper:
    """The parent's side."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                launched((sys.executable, "-m", module), None, SIGKILL),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env={**os.environ, **environment},
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def prepare(self, **task: Any) -> dict[str, Any]:
        """Returns when the helper is ready to begin."""
        self._say(task)
        return self.hear()

    def go(self) -> dict[str, Any]:
        """Starts the work and returns the helper's next message."""
        self._say({})
        return self.hear()

    def close(self) -> None:
        self._popen.kill()
        self._popen.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(message) + "\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise self._gone()
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _gone(self) -> StackError:
        last = self._log.read_text(errors="replace").strip()[-1000:]
        return StackError(f"the bench's {self.name} process ended", f"its last words were\n{last}")


async def serve(tasks: Mapping[str, Task]) -> None:
    """The helper's side: sends what a task yields and waits for the next "go", until the input ends."""
    while command := _hear():
        async for answer in tasks[command["task"]](command):
            print(json.dumps(answer), flush=True)
            if not answer.get("done"):
                _hear()


def _hear() -> dict[str, Any]:
    """Blocks on purpose: nothing else may run meanwhile."""
    line = sys.stdin.readline()
    return dict(json.loads(line)) if line else {}
