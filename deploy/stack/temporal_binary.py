"""Finds the Temporal command line or gets it: PATH, our cache, the SDK's download, a build with Go."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.stack.cache import cache_folder
from deploy.stack.errors import StackError
from deploy.stack.programs import run_to_end

VERSION = "1.5.1"
# Its own SQLite driver (1.39) can leave its only connection interrupted for ever when a query is cancelled at a bad
# moment: every request then fails with "interrupted (9)" until a restart. Temporal's server moved to this one for that
# reason (temporalio/temporal#9198, cznic/sqlite issue 241).
SQLITE_DRIVER = "1.44.3"
PROGRAM = "github.com/temporalio/cli/cmd/temporal"
DOWNLOAD_SECONDS = 20
BUILD_SECONDS = 1800
REMEDY = "install the Temporal CLI (https://docs.temporal.io/cli) or Go, or set HOLDFAST_TEMPORAL_ADDRESS"

Say = Callable[[str], None]


def program() -> Path:
    """Where it is, or will be after `get_program`."""
    return Path(shutil.which("temporal") or cache_folder() / "bin" / f"temporal-{VERSION}-sqlite-{SQLITE_DRIVER}")


def get_program(say: Say) -> None:
    """May take minutes once per machine, and then says so."""
    if _is_there():
        return
    folder = cache_folder() / "bin"
    folder.mkdir(exist_ok=True)
    with _alone(folder / "temporal.lock"):
        if not _is_there() and not _download(folder):
            _build(folder, say)


def _is_there() -> bool:
    return os.access(program(), os.X_OK)


def _download(folder: Path) -> bool:
    """By the SDK, from Temporal's own site, in a program of its own so that its time can be bounded."""
    code = "import sys; from deploy.stack.temporal_binary import download; download(sys.argv[1])"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-c", code, temporary]
        with contextlib.suppress(StackError):
            run_to_end("the download", command, seconds=DOWNLOAD_SECONDS)
        for path in Path(temporary).iterdir():
            if os.access(path, os.X_OK):
                path.rename(program())
                return True
    return False


def download(folder: str) -> None:
    """Start the SDK's own server once: that leaves its binary in the folder."""

    async def start_and_stop() -> None:
        from temporalio.testing import WorkflowEnvironment

        environment = await WorkflowEnvironment.start_local(download_dest_dir=folder)
        await environment.shutdown()

    asyncio.run(start_and_stop())


def _build(folder: Path, say: Say) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise StackError("the Temporal server is neither on PATH nor downloadable", REMEDY)
    say(f"Building the Temporal server {VERSION} with Go, once for this machine: three to seven minutes.")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        (Path(temporary) / "go.mod").write_text("module holdfast/temporal\n")
        home = {} if os.environ.get("HOME") else {"GOPATH": temporary, "GOCACHE": f"{temporary}/cache"}
        environment = {**home, "GOFLAGS": "-modcacherw -mod=mod", "GOWORK": "off"}
        wanted = [f"github.com/temporalio/cli@v{VERSION}", f"modernc.org/sqlite@v{SQLITE_DRIVER}"]
        build = ["build", "-ldflags", "-s -w", "-o", "temporal", PROGRAM]
        try:
            for command in (["get", *wanted], build):
                what = "the build of the Temporal server"
                run_to_end(what, [go, "-C", temporary, *command], environment, seconds=BUILD_SECONDS)
        except StackError as error:
            raise StackError(error.failed, REMEDY) from None
        (Path(temporary) / "temporal").rename(program())


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process of this user gets it; the others wait for that one."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
