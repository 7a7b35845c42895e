"""Finds the Temporal command line or gets it: PATH, our cache, the SDK's download, a build with Go."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.stack.cache import cache_folder
from deploy.stack.errors import StackError

VERSION = "1.5.1"
MODULE = f"github.com/temporalio/cli/cmd/temporal@v{VERSION}"
DOWNLOAD_SECONDS = 20

Say = Callable[[str], None]


def find_or_get(say: Say) -> Path:
    """The program's path; may take minutes once per machine, and then says so."""
    if found := find():
        return found
    folder = cache_folder() / "bin"
    folder.mkdir(exist_ok=True)
    with _alone(folder / "temporal.lock"):
        return find() or _download(folder) or _build(folder, say)


def find() -> Path | None:
    if on_path := shutil.which("temporal"):
        return Path(on_path)
    cached = cache_folder() / "bin" / f"temporal-{VERSION}"
    return cached if os.access(cached, os.X_OK) else None


def _download(folder: Path) -> Path | None:
    """By the SDK, from Temporal's own site, in a program of its own so that its time can be bounded."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        code = "import sys; from deploy.stack.temporal_binary import download; download(sys.argv[1])"
        try:
            subprocess.run(
                [sys.executable, "-c", code, temporary],
                check=True,
                capture_output=True,
                timeout=DOWNLOAD_SECONDS,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return None
        downloaded = next((path for path in Path(temporary).iterdir() if os.access(path, os.X_OK)), None)
        return _install(downloaded, folder) if downloaded else None


def download(folder: str) -> None:
    """Start the SDK's own server once: that leaves its binary in the folder."""

    async def start_and_stop() -> None:
        from temporalio.testing import WorkflowEnvironment

        environment = await WorkflowEnvironment.start_local(download_dest_dir=folder)
        await environment.shutdown()

    asyncio.run(start_and_stop())


def _build(folder: Path, say: Say) -> Path:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    remedy = "install the Temporal CLI (https://docs.temporal.io/cli) or Go, or set HOLDFAST_TEMPORAL_ADDRESS"
    if go is None:
        raise StackError("the Temporal server is neither on PATH nor downloadable", remedy)
    say(f"Building the Temporal server {VERSION} with Go, once for this machine: about three minutes.")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        home = {} if os.environ.get("HOME") else {"GOPATH": temporary, "GOCACHE": f"{temporary}/cache"}
        built = subprocess.run(
            [go, "install", "-ldflags", "-s -w", MODULE],
            env={**os.environ, **home, "GOBIN": temporary, "GOFLAGS": "-modcacherw"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            last = (built.stderr.strip().splitlines() or ["no output"])[-1]
            raise StackError(f"the Temporal server could not be built ({last})", remedy)
        return _install(Path(temporary) / "temporal", folder)


def _install(program: Path, folder: Path) -> Path:
    target = folder / f"temporal-{VERSION}"
    program.rename(target)
    return target


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process of this user gets it; the others wait for that one."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
