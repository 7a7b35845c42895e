"""What a refund comes to and what its process is told: how much, how much tax of it, and from which payments."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from models.base import Record
from models.delivery.tasks import TaskOutcome
from models.errors import CurrencyMismatch, InvalidRequest, RefundExceedsBalance
from models.money import SMALLEST, Money, payable, sum_money
from models.orders.orders import LineQuantity, Order, OrderRefund
from models.payments.provider import ProviderRefundStatus
from models.states import RefundStatus

# What the provider's words are in ours. Whoever has to say where the money shall go has not got it yet.
STATUS_OF: Mapping[ProviderRefundStatus, RefundStatus] = {
    ProviderRefundStatus.SUCCEEDED: RefundStatus.SUCCEEDED,
    ProviderRefundStatus.PENDING: RefundStatus.PENDING,
    ProviderRefundStatus.REQUIRES_ACTION: RefundStatus.PENDING,
    ProviderRefundStatus.FAILED: RefundStatus.FAILED,
    ProviderRefundStatus.CANCELLED: RefundStatus.FAILED,
}


class RefundTask(StrEnum):
    """What only a person can finish. The subject is the refund's id."""

    FAILED = "refund-failed"
    UNKNOWN = "refund-unknown"  # the provider has not said for days
    UNEXPLAINED = "refund-unexplained"  # made at the provider, and more than the books have left


class RefundPlan(Record):
    """`tax` is the part of the amount that is tax."""

    amount: Money
    tax: Money
    lines: list[LineQuantity]


class FoundRefund(Record):
    """The provider's own ids, of the refund and of its payment."""

    provider: str
    reference: str
    payment: str


class RefundRef(Record):
    """`found`: of one that somebody made at the provider by hand.

    `history_limit`: events after which its process goes on in a new execution; None leaves that to the server.
    """

    refund_id: str
    found: FoundRefund | None = None
    history_limit: int | None = None


class RefundPart(Record):
    """What goes back to one payment. `attempt` counts what the provider was asked for; `payment` is its own id."""

    refund_id: str
    order_id: str
    payment_id: str
    provider: str
    payment: str
    amount: Money
    attempt: int
    status: RefundStatus
    reference: str | None

    @property
    def name(self) -> str:
        """What the provider knows this try by, and its ledger entries: one that failed is another one's business."""
        return self.refund_id if self.attempt == 1 else f"{self.refund_id}/{self.attempt}"

    @property
    def key(self) -> str:
        """The first of a fixed row of idempotency keys."""
        return f"{self.name}:{self.payment_id}"


class RefundSnapshot(Record):
    """Where a refund is, as the books have it. `task`: a person has to decide; `decided`: what one has said since."""

    order_id: str
    amount: Money
    status: RefundStatus
    parts: list[RefundPart]
    task: str | None = None
    resolution: TaskOutcome | None = None

    @property
    def finished(self) -> bool:
        """Nothing more comes of it, unless the provider says so."""
        ended = self.status is not RefundStatus.PENDING
        return ended and self.task is None and self.resolution is not TaskOutcome.RETRY


def refund_of(name: str) -> str:
    """The refund's id in what a provider calls it (`RefundPart.name`)."""
    return name.partition("/")[0]


def plan(order: Order, amount: Money | None, lines: list[LineQuantity]) -> RefundPlan:
    """An amount, lines (with their discount and tax), both (part of what the lines cost), or neither: all that is left.

    Raises RefundExceedsBalance (`left`), CurrencyMismatch, InvalidRequest.
    """
    left = order.refundable
    if not order.payment.captured.amount:
        raise RefundExceedsBalance("Nothing of it has been captured: cancel the order instead", left=left.model_dump())
    if amount is not None and amount.currency != order.currency:
        raise CurrencyMismatch.at("/amount", f"must be in {order.currency}, as the order is")
    if amount is not None and amount.amount <= 0:
        raise InvalidRequest.at("/amount", "must be more than nothing")
    if amount is not None and payable(amount) != amount:
        raise InvalidRequest.at("/amount", f"{order.currency} is paid in steps of {SMALLEST[order.currency]}")
    if lines:
        chosen = _of_lines(order, amount, lines)
    elif amount is not None:
        chosen = RefundPlan(amount=amount, tax=_tax_in(order, amount), lines=[])
    else:
        chosen = RefundPlan(amount=left, tax=_tax_in(order, left), lines=_not_refunded(order))
    if chosen.amount.amount <= 0:
        raise RefundExceedsBalance("There is nothing to refund", left=left.model_dump())
    order.check_refund(chosen.amount)
    return chosen


def plan_retry(order: Order, refund: OrderRefund) -> RefundPlan:
    """A refund that has failed, once more: the same amount and lines, also where it has more in it than its lines cost
    (shipping). Raises RefundExceedsBalance once its money or its units have been refunded in another way."""
    if not refund.lines:
        return plan(order, refund.amount, [])
    order.refund_for(refund.lines)
    order.check_refund(refund.amount)
    return RefundPlan(amount=refund.amount, tax=refund.tax, lines=refund.lines)


def _of_lines(order: Order, amount: Money | None, lines: list[LineQuantity]) -> RefundPlan:
    cost, tax = order.refund_for(lines)
    if amount is None:
        return RefundPlan(amount=cost, tax=tax, lines=lines)
    if amount > cost:
        left = min(cost, order.refundable)
        raise RefundExceedsBalance(f"These units cost {cost.amount} {cost.currency}", left=left.model_dump())
    return RefundPlan(
        amount=amount,
        tax=Money(amount=tax.amount * amount.amount // cost.amount, currency=order.currency),
        lines=lines,
    )


def _not_refunded(order: Order) -> list[LineQuantity]:
    return [
        LineQuantity(line_id=line.id, quantity=line.shipped - line.refunded)
        for line in order.lines
        if line.shipped > line.refunded
    ]


def _tax_in(order: Order, amount: Money) -> Money:
    """In proportion, by running differences: once all of the total is back, so is exactly its tax."""
    before = [refund for refund in order.refunds if refund.status is not RefundStatus.FAILED]
    given = sum_money((refund.amount for refund in before), order.currency) + amount
    taxed = sum_money((refund.tax for refund in before), order.currency).amount
    due = order.totals.tax.amount * given.amount // order.totals.total.amount - taxed
    return Money(amount=max(0, min(due, amount.amount)), currency=order.currency)
