"""The steps of a reconciliation: read the provider's list, store it, compare it, resolve each difference."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from temporalio import activity

from models.payments.provider import Movement, ProviderPaymentStatus
from models.payments.reconciliation import (
    BeginRun,
    CompareLedger,
    DifferenceKind,
    DifferenceResolved,
    DifferenceState,
    EndRun,
    FoundDifferences,
    ProviderNames,
    ReconciliationRun,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from activities.gateways.payments import PaymentGateway
    from models.db.session import Database

BATCH = 500


class Reconciliations:
    """`gateways` by provider name."""

    def __init__(self, database: Database, gateways: Mapping[str, PaymentGateway]) -> None:
        from models.db.repositories.payments import differences, reconciliation

        self._database = database
        self._gateways = gateways
        self._runs = reconciliation
        self._differences = differences

    @activity.defn
    def list_providers(self) -> ProviderNames:
        return ProviderNames(names=sorted(self._gateways))

    @activity.defn
    def begin_reconciliation(self, command: BeginRun) -> ReconciliationRun:
        """Begins a run from the end of the provider's last run, less the overlap. Idempotent by the key."""
        with self._database.transaction() as connection:
            return self._runs.begin(connection, command)

    @activity.defn
    def read_movements(self, run: ReconciliationRun) -> int:
        """Stores each movement of the provider's list once; returns how many it has read. Heartbeats after each batch.

        Rows in no currency of the shop are only counted: another product of the merchant may use the same account. A
        retry reads from the beginning and stores nothing twice. Raises ProviderUnavailable, OutcomeUnknown.
        """
        read = skipped = 0
        listed = self._gateways[run.provider].list_movements(run.since)
        while rows := list(islice(listed, BATCH)):
            movements = [row for row in rows if isinstance(row, Movement)]
            skipped += len(rows) - len(movements)
            with self._database.transaction() as connection:
                self._runs.store(connection, run, movements, skipped=skipped)
            read += len(movements)
            activity.heartbeat(read)
        return read

    @activity.defn
    def compare_ledger(self, command: CompareLedger) -> FoundDifferences:
        """Compares the movements with the ledger and records the differences."""
        with self._database.transaction() as connection:
            found = self._runs.compare(connection, command)
        return FoundDifferences(ids=found)

    @activity.defn
    def list_unresolved_differences(self, run: ReconciliationRun) -> FoundDifferences:
        """The differences that are still to be resolved."""
        with self._database.autocommit() as connection:
            return FoundDifferences(ids=self._runs.list_unresolved(connection, run.run_id))

    @activity.defn
    def resolve_difference(self, difference_id: str) -> DifferenceResolved:
        """Resolves the difference, or opens a manual task. Raises ProviderUnavailable, OutcomeUnknown."""
        with self._database.autocommit() as connection:
            difference = self._differences.read(connection, difference_id)
            voidable = difference.kind == DifferenceKind.ORPHANED_AUTHORISATION and self._differences.has_no_owner(
                connection, difference
            )
        if difference.state != DifferenceState.FOUND:
            return DifferenceResolved(state=DifferenceState(difference.state))
        voided = False
        if voidable:
            gateway = self._gateways[difference.provider]
            voided = gateway.cancel(difference.subject).state is ProviderPaymentStatus.CANCELLED
        with self._database.transaction() as connection:
            if voided:
                state = self._differences.record_state(connection, difference, healed=True)
            else:
                state = self._differences.heal(connection, difference_id)
        return DifferenceResolved(state=state)

    @activity.defn
    def escalate_difference(self, difference_id: str) -> None:
        """Opens a manual task for a difference whose retries have run out."""
        with self._database.transaction() as connection:
            difference = self._differences.read(connection, difference_id)
            if difference.state == DifferenceState.FOUND:
                self._differences.record_state(connection, difference, healed=False)

    @activity.defn
    def end_reconciliation(self, command: EndRun) -> None:
        with self._database.transaction() as connection:
            self._runs.end(connection, command)
