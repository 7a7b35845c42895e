"""Reconciliation of the providers' lists with the ledger: runs, and the kinds of difference."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from models.base import Record


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # the provider was unavailable for too long; the next run reads from the same time


class DifferenceState(StrEnum):
    """`open`: has an open task. `healed`: corrected automatically, or vanished. `closed`: resolved manually."""

    FOUND = "found"
    OPEN = "open"
    HEALED = "healed"
    CLOSED = "closed"


class DifferenceKind(StrEnum):
    """A difference's `ours` and `theirs` are the compared sums, in minor units."""

    ORPHANED_AUTHORISATION = "orphaned-authorisation"  # of a checkout that has ended without it
    AUTHORISATION_DIFFERS = "authorisation-differs"
    UNKNOWN_PAYMENT = "unknown-payment"
    CAPTURE_UNRECORDED = "capture-unrecorded"
    CAPTURE_MISSING = "capture-missing"
    REFUND_UNRECORDED = "refund-unrecorded"
    REFUND_MISSING = "refund-missing"
    DISPUTE_UNRECORDED = "dispute-unrecorded"


class Reconcile(Record):
    """Input of the workflow; `{}` is valid. Times in seconds. `overlap`: each run reads again so much before the end of
    the last one.

    `margin`: younger movements are not compared, because our records and the provider's list may both lag. One
    execution resolves `at_most` differences.
    """

    margin_seconds: float = 10_800
    overlap_seconds: float = 86_400
    at_most: int = 500
    # After continue-as-new:
    key: str = ""
    providers: list[str] = []  # the remaining ones; empty: all
    compared: bool = False  # whether the first of them has been compared
    ended: dict[str, RunState] = {}


class ProviderNames(Record):
    names: list[str]


class BeginRun(Record):
    provider: str
    key: str  # of the execution and provider: makes the step idempotent
    overlap_seconds: float


class ReconciliationRun(Record):
    """`since`: the provider's list is read from here."""

    run_id: str
    provider: str
    since: datetime


class CompareLedger(Record):
    run: ReconciliationRun
    margin_seconds: float


class FoundDifferences(Record):
    """Ids of the differences in state `found`."""

    ids: list[str]


class DifferenceResolved(Record):
    state: DifferenceState


class EndRun(Record):
    run_id: str
    state: RunState
