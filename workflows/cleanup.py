"""An orphaned checkout (its workflow was terminated): voids its payment, then releases its stock.

Tests: tests/workers/test_orphans.py, tests/workflows/test_checkout.py, tests/api/delivery/test_tasks.py;
histories: tests/histories/CheckoutCleanup/.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.checkout.checkouts import Checkouts
    from activities.payments.payments import Payments
    from models.checkout.checkouts import CheckoutRef, CloseCheckout, OrphanedCheckout, VoidPayment
    from models.errors import CheckoutExpired, Refusal
    from models.states import CheckoutStatus
    from workflows.checkout import AUTHORISE_ATTEMPTS
    from workflows.compensation import CompensatingWorkflow, Compensations, Undo
    from workflows.options import COMPENSATION, DATABASE


def _void(found: OrphanedCheckout, attempt: int) -> Undo:
    void = VoidPayment(
        checkout_id=found.begin.checkout_id,
        attempt=attempt,
        provider=found.begin.provider,
        not_before=found.created_at,
    )
    return lambda: workflow.execute_activity_method(
        Payments.void_payment, void, summary=f"void attempt {attempt}", **COMPENSATION
    )


@workflow.defn(name="CheckoutCleanup")
class CheckoutCleanup(CompensatingWorkflow):
    @workflow.init
    def __init__(self, ref: CheckoutRef) -> None:
        self._undo = Compensations(ref.checkout_id)

    @workflow.run
    async def run(self, ref: CheckoutRef) -> CheckoutStatus:
        """Voids every attempt's payment at the provider, then closes the checkout as expired."""
        found: OrphanedCheckout | None = await workflow.execute_local_activity_method(
            Checkouts.orphaned_checkout, ref, summary="load the orphaned checkout", **DATABASE
        )
        if found is None:
            return CheckoutStatus.CONFIRMED  # it has ended by itself
        for attempt in range(1, AUTHORISE_ATTEMPTS + 1) if found.paying else ():
            self._undo.push("void-payment", _void(found, attempt))
        await self._undo.unwind()
        await workflow.execute_local_activity_method(
            Checkouts.close_checkout,
            CloseCheckout(
                begin=found.begin,
                status=CheckoutStatus.EXPIRED,
                refusal=Refusal.of(CheckoutExpired()),
            ),
            summary="close: orphaned",
            **DATABASE,
        )
        return CheckoutStatus.EXPIRED
