"""Reconciliation of each provider's list with the ledger: differences are resolved or become manual tasks.

Tests: tests/workflows/test_reconciliation.py, test_reconciliation_paypal.py;
histories: tests/histories/Reconciliation/.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.payments.reconciliation import Reconciliations
    from models.payments.reconciliation import BeginRun, CompareLedger, EndRun, Reconcile, ReconciliationRun, RunState
    from workflows.options import DATABASE, PROVIDER_LIST, RESOLVE_DIFFERENCE


@workflow.defn(name="Reconciliation")
class Reconciliation:
    @workflow.run
    async def run(self, command: Reconcile) -> dict[str, RunState]:
        """Returns the final state by provider. Continues as new when there are more than `at_most` differences."""
        names = command.providers or await self._names()
        ended = dict(command.ended)
        for number, name in enumerate(names):
            workflow.set_current_details(f"Reading the list of {name}")
            run = await self._begin(command, name)
            try:
                if not command.compared:
                    await self._read_and_compare(command, run)
                if not await self._resolve_differences(command, run):
                    workflow.continue_as_new(
                        command.model_copy(
                            update={
                                "key": self._key(command),
                                "providers": names[number:],
                                "compared": True,
                                "ended": ended,
                            }
                        )
                    )
                ended[name] = await self._end(run, RunState.DONE)
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                ended[name] = await self._end(run, RunState.FAILED)
            command = command.model_copy(update={"compared": False})
        workflow.set_current_details(", ".join(f"{name}: {state}" for name, state in ended.items()))
        return ended

    async def _names(self) -> list[str]:
        found = await workflow.execute_local_activity_method(
            Reconciliations.list_providers, summary="providers", **DATABASE
        )
        return found.names

    def _key(self, command: Reconcile) -> str:
        """Idempotency key of the run, the same in all executions that it continues in."""
        return command.key or workflow.info().run_id

    async def _begin(self, command: Reconcile, name: str) -> ReconciliationRun:
        begin = BeginRun(provider=name, key=f"{self._key(command)}/{name}", overlap_seconds=command.overlap_seconds)
        return await workflow.execute_local_activity_method(
            Reconciliations.begin_reconciliation, begin, summary=f"begin with {name}", **DATABASE
        )

    async def _read_and_compare(self, command: Reconcile, run: ReconciliationRun) -> None:
        await workflow.execute_activity_method(
            Reconciliations.read_movements, run, summary=f"read the list of {run.provider}", **PROVIDER_LIST
        )
        workflow.set_current_details(f"Comparing the list of {run.provider} with the ledger")
        await workflow.execute_activity_method(
            Reconciliations.compare_ledger,
            CompareLedger(run=run, margin_seconds=command.margin_seconds),
            summary="compare with the ledger",
            **PROVIDER_LIST,
        )

    async def _resolve_differences(self, command: Reconcile, run: ReconciliationRun) -> bool:
        """Resolves up to `at_most` differences, or escalates them. False if there are more."""
        unresolved = await workflow.execute_local_activity_method(
            Reconciliations.list_unresolved_differences, run, summary="differences", **DATABASE
        )
        for difference_id in unresolved.ids[: command.at_most]:
            workflow.set_current_details(f"Resolving {difference_id} with {run.provider}")
            try:
                await workflow.execute_activity_method(
                    Reconciliations.resolve_difference, difference_id, summary="resolve", **RESOLVE_DIFFERENCE
                )
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                await workflow.execute_local_activity_method(
                    Reconciliations.escalate_difference, difference_id, summary="open manual task", **DATABASE
                )
        return len(unresolved.ids) <= command.at_most

    async def _end(self, run: ReconciliationRun, state: RunState) -> RunState:
        await workflow.execute_local_activity_method(
            Reconciliations.end_reconciliation,
            EndRun(run_id=run.run_id, state=state),
            summary=f"{run.provider} {state}",
            **DATABASE,
        )
        return state
