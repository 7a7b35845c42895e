"""A card that its owner has removed goes at the provider too: tried for days, and then it is a person's."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import SearchAttributeKey, VersioningBehavior
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.payment_methods import PaymentMethods
    from activities.tasks import Tasks
    from models.checkout import OpenTask
    from models.payment_methods import PaymentMethodRef, PaymentMethodState
    from models.search_attributes import PAYMENT_METHOD_STATE
    from workflows.options import COMPENSATION, DATABASE

STATE = SearchAttributeKey.for_keyword(PAYMENT_METHOD_STATE)


@workflow.defn(name="RemovePaymentMethod", versioning_behavior=VersioningBehavior.PINNED)
class RemovePaymentMethod:
    @workflow.run
    async def run(self, ref: PaymentMethodRef) -> PaymentMethodState:
        """REMOVED, or REMOVING when that is left to a person."""
        workflow.set_current_details("Detaching at the provider")
        state = PaymentMethodState.REMOVING
        try:
            state = await workflow.execute_activity_method(
                PaymentMethods.detach_payment_method, ref, summary="detach at the provider", **COMPENSATION
            )
        except FailureError as error:
            task = OpenTask(
                kind="detach-payment-method", subject=ref.payment_method_id, detail=str(error.cause or error)
            )
            await workflow.execute_local_activity_method(Tasks.open_task, task, summary="for a person", **DATABASE)
        workflow.set_current_details(f"Done: {state}")
        workflow.upsert_search_attributes([STATE.value_set(state)])
        return state
