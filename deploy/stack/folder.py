"""The data folder: one stack at a time, a record of the running processes, and a reset that deletes only our files."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from deploy.errors import StackError

LOCK = "stack.lock"
BOOT = Path("/proc/sys/kernel/random/boot_id")
RECORD = "stack.json"
# What the stack and its processes write here, and all that `reset` deletes.
OURS = ("postgres", "postgres.new-*", "temporal.db*", "sandbox.db*", "keys", "logs", RECORD)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Locks the folder for this process; the lock ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    except OSError as error:
        raise StackError(
            f"the data folder {folder} can't be used ({error.strerror})", "set HOLDFAST_DATA_DIR"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StackError(
                f"another stack (pid {lock.read().strip() or 'unknown'}) uses {folder}",
                "stop it, or set HOLDFAST_DATA_DIR and the ports for a second one",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_record(folder: Path, addresses: Mapping[str, str], pids: Mapping[str, int]) -> None:
    """Writes the processes and addresses for people and programs, atomically."""
    record = {
        "pid": os.getpid(),
        "addresses": dict(addresses),
        "processes": {name: {"pid": pid, "started": _started(pid)} for name, pid in pids.items()},
    }
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.rename(folder / RECORD)


def read_record(folder: Path) -> dict[str, Any]:
    """Empty when no stack has run here."""
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((folder / RECORD).read_text())
        if isinstance(record, dict):
            return record
    return {}


def end_leftovers(folder: Path, patience: float = 10.0) -> list[str]:
    """Ends processes that a killed stack recorded and left; a pid that another program has now is left alone."""
    left = {}
    for name, entry in read_record(folder).get("processes", {}).items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(entry["pid"])
            if _started(process.pid) == entry.get("started") and process.status() != psutil.STATUS_ZOMBIE:
                left[name] = process
    for process in left.values():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(list(left.values()), timeout=patience)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience)
    return list(left)


def delete(folder: Path) -> str:
    """Deletes what the stack made, and the folder if nothing else is in it."""
    if not folder.exists():
        return f"{folder} does not exist; nothing to delete"
    with held(folder):
        end_leftovers(folder)
        for pattern in OURS:
            for path in folder.glob(pattern):
                _remove(path)
        (folder / LOCK).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
    return f"{folder} is empty: the next `make run` starts over"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _started(pid: int) -> str:
    """Tells a process from every other one that has had its pid: the boot, and the clock ticks from it to its start.

    As a time of day (`psutil.Process.create_time`) it moves when the machine's clock is set, so that a leftover looks
    like a stranger, or a stranger like a leftover. Source: proc(5), field 22 of `stat`.
    """
    with contextlib.suppress(OSError, IndexError):
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{BOOT.read_text().strip()}:{ticks}"
    return "gone"
