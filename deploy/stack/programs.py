"""Runs a program to its end; stopping the stack also ends the program and its children."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import StackError
from deploy.stack.process import launched


def run_to_end(
    what: str,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    log: Path | None = None,
    seconds: float = 300,
) -> None:
    """Raises StackError with `what` and the last line printed; the whole output is in the log, if one is named."""
    program = subprocess.Popen(
        launched(command, None, signal.SIGKILL),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        output, _ = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise StackError(f"{what} took more than {seconds:.0f} s", "try again on a less busy machine") from None
    finally:  # also when a signal's exception passes through
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    if log:
        log.write_text(output)
    if program.returncode:
        last = (output.strip().splitlines() or ["no output"])[-1].strip()
        raise StackError(f"{what} failed ({last[:300]})", f"see {log}" if log else f"try `{' '.join(command)}`")
