"""Tunes Python's cycle collector for servers: objects from start-up are frozen, the rest is collected less often."""

from __future__ import annotations

import gc

# Allocations before a young collection, young ones before a middle one, middle ones before a full one. The default
# (700, 10, 10) walks thousands of cached executions several times a second; together about 6 % of a purchase's CPU.
THRESHOLDS = (50_000, 50, 50)


def tune() -> None:
    """Call it once, at the end of a process's start-up."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
