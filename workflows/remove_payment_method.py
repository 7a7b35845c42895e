"""Detaches a removed payment method at the provider: retried for days, then a manual task.

Tests: tests/api/payments/test_methods.py, tests/workflows/test_tasks.py;
histories: tests/histories/RemovePaymentMethod/.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from activities.payments.methods import PaymentMethods
    from models.payments.methods import PaymentMethodRef, PaymentMethodState
    from workflows.compensation import CompensatingWorkflow, Compensations
    from workflows.options import COMPENSATION, DATABASE
    from workflows.search_attributes import PAYMENT_METHOD_STATE

STATE = SearchAttributeKey.for_keyword(PAYMENT_METHOD_STATE)


@workflow.defn(name="RemovePaymentMethod")
class RemovePaymentMethod(CompensatingWorkflow):
    @workflow.init
    def __init__(self, ref: PaymentMethodRef) -> None:
        self._undo = Compensations(ref.payment_method_id)

    @workflow.run
    async def run(self, ref: PaymentMethodRef) -> PaymentMethodState:
        """Returns REMOVED, or the state that the detaching found; an operator may resolve it manually."""
        workflow.set_current_details("Detaching at the provider")
        state = await self._undo.retry_until_resolved(
            "detach-payment-method",
            lambda: workflow.execute_activity_method(
                PaymentMethods.detach_payment_method, ref, summary="detach at the provider", **COMPENSATION
            ),
        )
        if state is None:
            state = await workflow.execute_local_activity_method(
                PaymentMethods.record_removed_payment_method, ref, summary="detached manually", **DATABASE
            )
        workflow.set_current_details(f"Done: {state}")
        workflow.upsert_search_attributes([STATE.value_set(state)])
        return state
