"""Python's cycle collector, set for servers: what start-up made is never looked at again, the rest less often."""

from __future__ import annotations

import gc

# Objects made before a young collection, and young and middle ones before a full one. The usual (700, 10, 10)
# walks thousands of cached executions several times a second; together about 6 % of a purchase's CPU.
THRESHOLDS = (50_000, 50, 50)


def settle_in() -> None:
    """Once, when a process has imported and built what it needs."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
