"""Reconciliation: what the provider lists against what our books say, and what each difference is called."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from models.base import Record


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # the provider did not answer for too long; the next run begins where this one did


class DifferenceState(StrEnum):
    """`open`: its task waits for a person. `healed`: put right by us, or gone by itself. `closed`: by a person."""

    FOUND = "found"
    OPEN = "open"
    HEALED = "healed"
    CLOSED = "closed"


class DifferenceKind(StrEnum):
    """`ours` and `theirs` of a difference are the sums that are compared, in minor units."""

    ORPHANED_AUTHORISATION = "orphaned-authorisation"  # of a checkout that has ended without it
    AUTHORISATION_DIFFERS = "authorisation-differs"
    UNKNOWN_PAYMENT = "unknown-payment"
    CAPTURE_UNRECORDED = "capture-unrecorded"
    CAPTURE_MISSING = "capture-missing"
    REFUND_UNRECORDED = "refund-unrecorded"
    REFUND_MISSING = "refund-missing"
    DISPUTE_UNRECORDED = "dispute-unrecorded"


class Reconcile(Record):
    """Times in seconds. `overlap`: how far each run looks back behind the last one's end.

    `margin`: what is younger is not judged; both the recording of it here and the provider's own list may trail.
    `at_most` differences are settled in one execution. An operator who types the input may send `{}`.
    """

    margin_seconds: float = 10_800
    overlap_seconds: float = 86_400
    at_most: int = 500
    # Of a run that goes on in a new execution:
    key: str = ""
    providers: list[str] = []  # those that are left; all where empty
    compared: bool = False  # the first of them
    ended: dict[str, RunState] = {}


class ProviderNames(Record):
    names: list[str]


class BeginRun(Record):
    provider: str
    key: str  # of the execution and its provider, so that a repeated step begins nothing new
    overlap_seconds: float


class ReconciliationRun(Record):
    """`since`: how far back the provider's list is read."""

    run_id: str
    provider: str
    since: datetime


class CompareLedger(Record):
    run: ReconciliationRun
    margin_seconds: float


class FoundDifferences(Record):
    """Ids, of those that nobody has judged yet."""

    ids: list[str]


class DifferenceResolved(Record):
    state: DifferenceState


class EndRun(Record):
    run_id: str
    state: RunState
