"""Named places where a crash test stops the process. Production refuses to start with any of them armed.

`workers/interceptors.py` gives every activity two: `<activity>:before` and `<activity>:after`. An activity that calls a
provider and then records the outcome has a third in between: `<activity>:unrecorded`.

Armed by `HOLDFAST_FAILPOINTS="NAME=ACTION[@MARKER];…"`, ACTION `kill` (SIGKILL to the process itself) or `error`
(an unexpected exception). With a MARKER (a path) a failpoint fires once: in the process that creates the file.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_armed: dict[str, tuple[str, Path | None]] = {}


def arm(spec: str) -> None:
    """Replaces the armed failpoints by those of `spec`; an empty spec disarms all. Raises ValueError."""
    _armed.clear()
    for part in filter(None, (piece.strip() for piece in spec.split(";"))):
        name, _, action = part.partition("=")
        action, _, marker = action.partition("@")
        if action not in ("kill", "error"):
            raise ValueError(f"unknown failpoint action in {part!r}")
        _armed[name] = (action, Path(marker) if marker else None)


def failpoint(name: str) -> None:
    """Fires if a failpoint of this name is armed: `confirm_order:before`, `void_payment:unrecorded`."""
    if not _armed or name not in _armed:
        return
    action, marker = _armed[name]
    if marker is not None:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(f"failpoint {name}")
