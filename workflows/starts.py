"""The starts of all workflows: id, queue, reuse policy, search attributes, summary and input of each.

`workflows/client.py` sends them. Each workflow has one entry here, so its executions look the same in Temporal
whichever process starts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Never, TypeVar

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.types import MethodAsyncSingleParam

from models import ids
from models.accounts.accounts import Link, LinkPurpose, LinkState
from models.checkout.checkouts import BeginCheckout, CheckoutRef
from models.orders.fulfilment import FulfilOrder, TrackShipment
from models.orders.returns import ReturnRef
from models.payments.methods import BeginPaymentMethod, PaymentMethodRef, PaymentMethodState
from models.payments.reconciliation import Reconcile, RunState
from models.payments.refunds import FoundRefund, RefundRef
from models.payments.retry import RetryPayment, RetryState, Waiting
from models.states import CheckoutStatus, OrderStatus, RefundStatus, ReturnStatus, ShipmentStatus
from workflows import queues
from workflows.checkout import Checkout
from workflows.cleanup import CheckoutCleanup
from workflows.email_verification import EmailVerification
from workflows.invitation import Invitation
from workflows.order import Order
from workflows.password_reset import PasswordReset
from workflows.payment_retry import PaymentRetry
from workflows.reconciliation import Reconciliation
from workflows.refund import Refund
from workflows.remove_payment_method import RemovePaymentMethod
from workflows.return_ import Return
from workflows.save_payment_method import SavePaymentMethod
from workflows.search_attributes import (
    CART_ID,
    CHECKOUT_STATUS,
    LINK_STATE,
    ORDER_ID,
    ORDER_STATUS,
    PAYMENT_METHOD_STATE,
    PAYMENT_RETRY_STATE,
    USER_ID,
)
from workflows.shipment import Shipment

if TYPE_CHECKING:
    from runtime.settings import Settings

W = TypeVar("W")
Input = TypeVar("Input")
Result = TypeVar("Result")

# The server gives the workflow task of a killed worker to another one after this, by default after ten seconds.
TASK_TIMEOUT = timedelta(seconds=5)

ALWAYS = WorkflowIDReusePolicy.ALLOW_DUPLICATE
UNLESS_COMPLETED = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY  # also after an operator's terminate or cancel
ONCE = WorkflowIDReusePolicy.REJECT_DUPLICATE


@dataclass(frozen=True)
class Start(Generic[W, Input, Result]):
    """`reuse`: after which final states of an earlier execution the id may be started again.

    `eager`: a worker in the starting process gets the first task with the server's response, without a dispatch.
    """

    run: MethodAsyncSingleParam[W, Input, Result]
    input: Input
    id: str
    queue: str
    summary: str
    attributes: Mapping[str, str]
    reuse: WorkflowIDReusePolicy
    eager: bool = False

    @property
    def search_attributes(self) -> TypedSearchAttributes:
        return TypedSearchAttributes(
            [SearchAttributePair(SearchAttributeKey.for_keyword(key), value) for key, value in self.attributes.items()]
        )


def _may_be_eager(settings: Settings) -> bool:
    """False with versioned workers: the server (1.29) doesn't check that the eager worker has the current build."""
    return not settings.worker_build_id


def checkout(begin: BeginCheckout) -> Start[Checkout, BeginCheckout, CheckoutStatus]:
    return Start(
        Checkout.run,
        begin,
        id=ids.checkout_workflow(begin.checkout_id),
        queue=queues.CHECKOUT,
        summary=f"Checkout of {begin.cart_id}",
        attributes={
            CART_ID: begin.cart_id,
            ORDER_ID: begin.order_id,
            CHECKOUT_STATUS: CheckoutStatus.PROCESSING,
        },
        reuse=ALWAYS,
    )


def checkout_cleanup(checkout_id: str) -> Start[CheckoutCleanup, CheckoutRef, CheckoutStatus]:
    return Start(
        CheckoutCleanup.run,
        CheckoutRef(checkout_id=checkout_id),
        id=ids.checkout_cleanup_workflow(checkout_id),
        queue=queues.CHECKOUT,
        summary="Clean-up of an orphaned checkout",
        attributes={ORDER_ID: ids.order_of(checkout_id)},
        reuse=ALWAYS,
    )


def save_payment_method(begin: BeginPaymentMethod) -> Start[SavePaymentMethod, BeginPaymentMethod, PaymentMethodState]:
    return Start(
        SavePaymentMethod.run,
        begin,
        id=ids.save_payment_method_workflow(begin.payment_method_id),
        queue=queues.CHECKOUT,
        summary="Set-up of a saved card",
        attributes={USER_ID: begin.user_id, PAYMENT_METHOD_STATE: PaymentMethodState.SAVING},
        reuse=ALWAYS,
    )


def remove_payment_method(
    payment_method_id: str,
) -> Start[RemovePaymentMethod, PaymentMethodRef, PaymentMethodState]:
    return Start(
        RemovePaymentMethod.run,
        PaymentMethodRef(payment_method_id=payment_method_id),
        id=ids.remove_payment_method_workflow(payment_method_id),
        queue=queues.CHECKOUT,
        summary="Removal of a saved card",
        attributes={PAYMENT_METHOD_STATE: PaymentMethodState.REMOVING},
        reuse=UNLESS_COMPLETED,
    )


def order(settings: Settings, order_id: str, *, resumed: bool) -> Start[Order, FulfilOrder, OrderStatus]:
    """`resumed`: the order may be past its confirmation, so the workflow loads it first."""
    return Start(
        Order.run,
        FulfilOrder(
            order_id=order_id,
            return_window_seconds=settings.return_window_seconds,
            resumed=resumed,
        ),
        id=ids.order_workflow(order_id),
        queue=queues.ORDERS,
        summary=f"Fulfilment of {order_id}",
        attributes={ORDER_ID: order_id, ORDER_STATUS: OrderStatus.CONFIRMED},
        reuse=UNLESS_COMPLETED,
        eager=_may_be_eager(settings),
    )


def shipment(settings: Settings, order_id: str, shipment_id: str) -> Start[Shipment, TrackShipment, ShipmentStatus]:
    return Start(
        Shipment.run,
        TrackShipment(
            order_id=order_id,
            shipment_id=shipment_id,
            poll_seconds=settings.parcel_poll_seconds,
            silence_seconds=settings.parcel_silent_seconds,
        ),
        id=ids.shipment_workflow(shipment_id),
        queue=queues.ORDERS,
        summary=f"Parcel of {order_id}",
        attributes={ORDER_ID: order_id},
        reuse=UNLESS_COMPLETED,
    )


def refund(
    order_id: str, refund_id: str, found: FoundRefund | None = None
) -> Start[Refund, RefundRef, RefundStatus | None]:
    """May be started again after its end: banks send money back. `found`: a refund made at the provider by hand."""
    return Start(
        Refund.run,
        RefundRef(refund_id=refund_id, found=found),
        id=ids.refund_workflow(refund_id),
        queue=queues.ORDERS,
        summary=f"Refund of {order_id}",
        attributes={ORDER_ID: order_id},
        reuse=ALWAYS,
    )


def return_(order_id: str, return_id: str) -> Start[Return, ReturnRef, ReturnStatus]:
    return Start(
        Return.run,
        ReturnRef(return_id=return_id),
        id=ids.return_workflow(return_id),
        queue=queues.ORDERS,
        summary=f"Return of {order_id}",
        attributes={ORDER_ID: order_id},
        reuse=UNLESS_COMPLETED,
    )


def payment_retry(settings: Settings, order_id: str) -> Start[PaymentRetry, RetryPayment, RetryState]:
    """May be started again after its end: an order's payment can fail twice."""
    return Start(
        PaymentRetry.run,
        RetryPayment.of(settings, order_id),
        id=ids.payment_retry_workflow(order_id),
        queue=queues.ORDERS,
        summary=f"Payment retry of {order_id}",
        attributes={ORDER_ID: order_id, PAYMENT_RETRY_STATE: Waiting.PROVIDER},
        reuse=ALWAYS,
    )


# `Never`: no signal, update or query can be sent through such a start, for the workflow is any of the three.
LINKS: Mapping[LinkPurpose, tuple[MethodAsyncSingleParam[Never, Link, LinkState], str]] = {
    LinkPurpose.EMAIL_VERIFICATION: (EmailVerification.run, "Verification of an e-mail address"),
    LinkPurpose.PASSWORD_RESET: (PasswordReset.run, "Reset of a password"),
    LinkPurpose.INVITATION: (Invitation.run, "Invitation to the staff"),
}


def mailed_link(settings: Settings, link: Link) -> Start[Never, Link, LinkState]:
    run, summary = LINKS[link.purpose]
    return Start(
        run,
        link,
        id=ids.link_workflow(link.purpose, link.user_id, link.number),
        queue=queues.NOTIFICATIONS,
        summary=summary,
        attributes={USER_ID: link.user_id, LINK_STATE: LinkState.LIVE},
        reuse=ONCE,
        eager=_may_be_eager(settings),
    )


def reconciliation(settings: Settings) -> Start[Reconciliation, Reconcile, dict[str, RunState]]:
    """For the schedule, which appends the time to the id."""
    return Start(
        Reconciliation.run,
        Reconcile(margin_seconds=settings.reconciliation_margin_seconds),
        id=ids.RECONCILIATION,
        queue=queues.ORDERS,
        summary="Reconciliation of the providers' lists with the ledger",
        attributes={},
        reuse=ALWAYS,
    )
