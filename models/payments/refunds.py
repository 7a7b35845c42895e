"""Refunds: the amount and its tax, the parts by payment, and the records of the Refund workflow."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import accumulate, pairwise

from models.base import Record
from models.delivery.tasks import TaskOutcome
from models.errors import CurrencyMismatch, InvalidRequest, RefundExceedsBalance
from models.money import SMALLEST, Money, payable, sum_money
from models.orders.orders import LineQuantity, Order, OrderRefund, RefundShare
from models.payments.provider import ProviderRefundStatus
from models.states import RefundStatus

# A refund whose buyer has to name an account is pending.
STATUS_OF: Mapping[ProviderRefundStatus, RefundStatus] = {
    ProviderRefundStatus.SUCCEEDED: RefundStatus.SUCCEEDED,
    ProviderRefundStatus.PENDING: RefundStatus.PENDING,
    ProviderRefundStatus.REQUIRES_ACTION: RefundStatus.PENDING,
    ProviderRefundStatus.FAILED: RefundStatus.FAILED,
    ProviderRefundStatus.CANCELLED: RefundStatus.FAILED,
}


class RefundTask(StrEnum):
    """Kinds of manual task about a refund; the subject is the refund's id."""

    FAILED = "refund-failed"
    UNKNOWN = "refund-unknown"  # the provider has not answered for days
    UNEXPLAINED = "refund-unexplained"  # made at the provider by hand, and more than the ledger has left


class RefundPlan(Record):
    """`tax`: the tax in `amount`; `shares`: what it settles of the cost of `lines`."""

    amount: Money
    tax: Money
    lines: list[LineQuantity]
    shares: list[RefundShare] = []


class FoundRefund(Record):
    """The provider's ids of a refund and its payment."""

    provider: str
    reference: str
    payment: str


class RefundRef(Record):
    """`found`: of a refund made at the provider by hand.

    `history_limit`: events after which the workflow continues as new; None: the server suggests it.
    """

    refund_id: str
    found: FoundRefund | None = None
    history_limit: int | None = None


class RefundPart(Record):
    """The part of a refund that goes to one payment. `attempt`: the requests so far; `payment`: the provider's id."""

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
        """Unique name of this attempt at the provider and in the ledger; attempt 2 has the suffix `/2`."""
        return self.refund_id if self.attempt == 1 else f"{self.refund_id}/{self.attempt}"

    @property
    def key(self) -> str:
        """The base of the attempt's idempotency keys at the provider."""
        return f"{self.name}:{self.payment_id}"


class RefundSnapshot(Record):
    """A refund as stored. `task`: its open manual task; `resolution`: the outcome of its last one."""

    order_id: str
    amount: Money
    status: RefundStatus
    parts: list[RefundPart]
    task: str | None = None
    resolution: TaskOutcome | None = None

    @property
    def finished(self) -> bool:
        """Whether it has ended and no task is open or resolved to retry."""
        ended = self.status is not RefundStatus.PENDING
        return ended and self.task is None and self.resolution is not TaskOutcome.RETRY


def refund_of(name: str) -> str:
    """The refund's id in a `RefundPart.name`."""
    return name.partition("/")[0]


def plan(order: Order, amount: Money | None, lines: list[LineQuantity]) -> RefundPlan:
    """Plans a refund of an amount, of lines (with discount and tax), of both (a part of the lines' cost), or, with
    neither, of everything refundable.

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
        units = _not_refunded(order)
        chosen = RefundPlan(amount=left, tax=_tax_in(order, left), lines=units, shares=order.refund_shares(units))
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
    order.check_shares(refund)
    return RefundPlan(amount=refund.amount, tax=refund.tax, lines=refund.lines, shares=refund.shares)


def plan_succeeded(refund: OrderRefund | None, order: Order, amount: Money) -> RefundPlan:
    """The part of a failed refund that has succeeded, without its units: these may be refunded again for the rest.

    A refund that the order's events don't have is only an amount.
    """
    if refund is None or not refund.amount.amount:
        return plan(order, amount, [])
    order.check_refund(amount)
    tax = Money(amount=refund.tax.amount * amount.amount // refund.amount.amount, currency=order.currency)
    of_lines = sum(share.amount for share in refund.shares) * amount.amount // refund.amount.amount
    shares = _apportioned(refund.shares, of_lines, tax.amount)
    return RefundPlan(amount=amount, tax=tax, lines=[], shares=shares)


def _apportioned(shares: list[RefundShare], amount: int, tax: int) -> list[RefundShare]:
    """`amount` and `tax`, as far as they go into these shares, in proportion."""
    amounts = _in_proportion(amount, [share.amount for share in shares])
    taxes = _in_proportion(tax, [share.tax for share in shares])
    return [
        RefundShare(line_id=share.line_id, amount=part, tax=taxed)
        for share, part, taxed in zip(shares, amounts, taxes, strict=True)
    ]


def _in_proportion(amount: int, weights: list[int]) -> list[int]:
    """`amount`, or all the weights if they are less, by weight: differences of a rounded cumulative share."""
    total = sum(weights)
    ends = [min(amount, total) * end // total if total else 0 for end in accumulate(weights, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def _of_lines(order: Order, amount: Money | None, lines: list[LineQuantity]) -> RefundPlan:
    cost, tax = order.refund_for(lines)
    shares = order.refund_shares(lines)
    if amount is None:
        return RefundPlan(amount=cost, tax=tax, lines=lines, shares=shares)
    if amount > cost:
        left = min(cost, order.refundable)
        raise RefundExceedsBalance(f"These units cost {cost.amount} {cost.currency}", left=left.model_dump())
    tax = Money(amount=tax.amount * amount.amount // cost.amount, currency=order.currency)
    return RefundPlan(amount=amount, tax=tax, lines=lines, shares=shares)


def _not_refunded(order: Order) -> list[LineQuantity]:
    return [
        LineQuantity(line_id=line.id, quantity=line.shipped - line.refunded)
        for line in order.lines
        if line.shipped > line.refunded
    ]


def _tax_in(order: Order, amount: Money) -> Money:
    """The tax in `amount`, in proportion, by running differences: refunding the whole total refunds exactly its tax."""
    before = [refund for refund in order.refunds if refund.status is not RefundStatus.FAILED]
    given = sum_money((refund.amount for refund in before), order.currency) + amount
    taxed = sum_money((refund.tax for refund in before), order.currency).amount
    due = order.totals.tax.amount * given.amount // order.totals.total.amount - taxed
    return Money(amount=max(0, min(due, amount.amount)), currency=order.currency)
