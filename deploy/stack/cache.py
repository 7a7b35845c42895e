"""The user's cache folder, for what is slow to make and the same for every clone (binaries, an empty database)."""

import os
import tempfile
from functools import cache
from pathlib import Path


@cache
def cache_folder() -> Path:
    """`~/.cache/holdfast`, or a folder in the temporary directory where the home can't be written."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for folder in (Path(home) / "holdfast", Path(tempfile.gettempdir()) / f"holdfast-cache-{os.getuid()}"):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="holdfast-cache-"))
