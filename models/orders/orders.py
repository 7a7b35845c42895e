"""An order and its rules. Only events change an order (models/orders/events.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import model_validator

from models.base import Record
from models.checkout.pricing import Totals
from models.errors import InvalidTransition, NotEnoughToReturn, NotEnoughToShip, RefundExceedsBalance
from models.money import Money, payable, sum_money
from models.states import (
    ORDER_TRANSITIONS,
    PUT_ASIDE,
    OrderStatus,
    PaymentStatus,
    RefundStatus,
    ReturnStatus,
    ShipmentStatus,
    advance,
)

# Event types, in the past tense; events are kept for ever. Free text (a reason, a note) is in `order_notes` instead.
ORDER_CONFIRMED = "order.confirmed"
ORDER_PROCESSING = "order.processing_started"
ORDER_PARTIALLY_SHIPPED = "order.partially_shipped"
ORDER_SHIPPED = "order.shipped"
ORDER_DELIVERED = "order.delivered"
ORDER_COMPLETED = "order.completed"
ORDER_CLAIMED = "order.claimed"
ORDER_HELD = "order.held"
ORDER_RELEASED = "order.released"
ORDER_CANCELLED = "order.cancelled"
ORDER_REMAINDER_CANCELLED = "order.remainder_cancelled"  # {lines}: the units that had not shipped
ORDER_ADDRESS_CHANGED = "order.shipping_address_changed"
ORDER_NOTED = "order.note_added"  # {note_id}
ORDER_RETURNED = "order.returned"
PAYMENT_AUTHORISED = "payment.authorised"  # {payment_id, provider, amount}: a replacement for a failed payment
PAYMENT_CAPTURED = "payment.captured"  # {payment_id, shipment_id, amount}
PAYMENT_VOIDED = "payment.voided"  # {payment_id, amount}: the open authorisation is voided or released
PAYMENT_COVERED = "payment.covered"  # {payment_id}: what is captured pays for the order: it need not be retried
PAYMENT_FAILED = "payment.failed"  # {payment_id, decline_code}: its capture failed; the payment is retried
PAYMENT_REFUNDED = "payment.refunded"  # {refund_id, amount}: succeeded at the provider
PAYMENT_DISPUTED = "payment.disputed"  # {payment_id, dispute_id, amount}: withdrawn by the bank for now
PAYMENT_DISPUTE_WON = "payment.dispute_won"
PAYMENT_DISPUTE_LOST = "payment.dispute_lost"
REFUND_REQUESTED = "refund.requested"  # {refund_id, amount, lines}
REFUND_FAILED = "refund.failed"  # {refund_id, why}
SHIPMENT_CREATED = "shipment.created"
SHIPMENT_SCANNED = "shipment.scanned"
SHIPMENT_DELIVERED = "shipment.delivered"
SHIPMENT_LOST = "shipment.lost"
SHIPMENT_RETURNED = "shipment.returned_to_sender"
RETURN_REQUESTED = "return.requested"  # {return_id, lines}
RETURN_RECEIVED = "return.received"  # {return_id, lines}
RETURN_REFUNDED = "return.refunded"  # {return_id, refund_id}
RETURN_REFUSED = "return.refused"
RETURN_EXPIRED = "return.expired"


class Actor(Record):
    """Identified by an id, never by a name or an address."""

    type: Literal["customer", "guest", "staff", "machine", "system"]
    id: str | None = None


SYSTEM = Actor(type="system")


class Event(Record):
    """One event of an order. `cause`: the id of the checkout, command or webhook that led to it."""

    version: int
    type: str
    at: datetime
    actor: Actor
    cause: str
    data: dict[str, Any]


class OrderLine(Record):
    """`cancelled` units never ship; `refunded` units include those of pending refunds."""

    id: str
    sku: str
    title: str
    quantity: int
    unit_price: Money
    discount: Money
    tax: Money
    total: Money
    shipped: int = 0
    cancelled: int = 0
    returned: int = 0
    refunded: int = 0

    def share(self, quantity: int) -> int:
        """The cost of `quantity` units with discount and tax, in minor units; of all units exactly `total`."""
        return self.total.amount * quantity // self.quantity

    def tax_share(self, quantity: int) -> int:
        return self.tax.amount * quantity // self.quantity


class LineQuantity(Record):
    """Units of one line in a shipment, a return or a refund."""

    line_id: str
    quantity: int


ShippedLine = LineQuantity


class TrackingEvent(Record):
    """A status of a parcel, as the carrier or the warehouse reported it."""

    status: ShipmentStatus
    at: datetime
    location: str | None = None


class OrderShipment(Record):
    id: str
    status: ShipmentStatus
    carrier: str
    tracking_number: str
    lines: list[ShippedLine]
    captured: Money
    location: str | None = None  # the stock location it shipped from; None: several, or unknown
    shipped_at: datetime
    events: list[TrackingEvent] = []


class RefundShare(Record):
    """What a refund settles of the cost of one line: minor units, and the tax in them."""

    line_id: str
    amount: int
    tax: int


class OrderRefund(Record):
    """`shares`: internal, what it has of its lines. The part that succeeded of a failed refund has shares without
    lines: the units may be refunded again, for what is left of them."""

    id: str
    status: RefundStatus
    amount: Money
    tax: Money  # the part of the amount that is tax
    lines: list[LineQuantity] = []
    shares: list[RefundShare] = []
    requested_at: datetime


class OrderReturn(Record):
    """`received`: the units that arrived."""

    id: str
    status: ReturnStatus
    lines: list[LineQuantity]
    received: list[LineQuantity] = []
    refund_id: str | None = None
    requested_at: datetime


class OrderPayment(Record):
    """The sums of all payments of the order.

    authorised = captured + released + open authorisation; `refunded` and `disputed` are parts of `captured`.
    """

    id: str | None  # None for a zero total
    provider: str | None
    authorised: Money
    captured: Money
    refunded: Money
    released: Money
    disputed: Money

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, data: Any) -> Any:
        """The first event of an order has no `released` and `disputed`."""
        if not isinstance(data, dict):
            return data
        authorised = data["authorised"]
        currency = authorised.currency if isinstance(authorised, Money) else authorised["currency"]
        return {"released": Money.zero(currency), "disputed": Money.zero(currency), **data}

    @property
    def open_authorisation(self) -> Money:
        """The amount that may still be captured."""
        return self.authorised - self.captured - self.released


class Order(Record):
    """The fold of an order's events, without personal data: e-mail and addresses are columns of the row."""

    id: str
    number: str
    status: OrderStatus
    resumes: OrderStatus | None = None  # the status after on_hold, payment_retrying or return_requested
    payment_status: PaymentStatus
    customer_id: str | None
    cart_id: str
    checkout_id: str
    currency: str
    lines: list[OrderLine]
    totals: Totals
    tax_lines: list[dict[str, Any]]
    discounts: list[dict[str, Any]]
    shipping_option: dict[str, Any] | None
    payment: OrderPayment
    shipments: list[OrderShipment] = []
    refunds: list[OrderRefund] = []
    returns: list[OrderReturn] = []
    placed_at: datetime
    version: int

    @property
    def fulfilment(self) -> OrderStatus:
        """The status of its shipping, which goes on during a return."""
        return self.resumes if self.status is OrderStatus.RETURN_REQUESTED and self.resumes else self.status

    def step(self, to: OrderStatus) -> OrderStatus:
        """Returns `to` if it may follow `fulfilment`. Raises InvalidTransition, also on hold or in a payment retry."""
        if self.status in PUT_ASIDE:
            raise InvalidTransition(f"The order is {self.status}", state=str(self.status), requested=str(to))
        return advance(ORDER_TRANSITIONS, self.fulfilment, to)

    @property
    def is_covered(self) -> bool:
        """Whether it waits for a payment although what is captured pays for it."""
        return self.status is OrderStatus.PAYMENT_RETRYING and self.due <= self.payment.captured

    @property
    def due(self) -> Money:
        """The total less the cancelled units."""
        cancelled = sum(line.total.amount - line.share(line.quantity - line.cancelled) for line in self.lines)
        return Money(amount=self.totals.total.amount - cancelled, currency=self.currency)

    def line(self, line_id: str) -> OrderLine | None:
        return next((line for line in self.lines if line.id == line_id), None)

    def shipment(self, shipment_id: str) -> OrderShipment | None:
        return next((s for s in self.shipments if s.id == shipment_id), None)

    def refund(self, refund_id: str) -> OrderRefund | None:
        return next((r for r in self.refunds if r.id == refund_id), None)

    def return_(self, return_id: str) -> OrderReturn | None:
        return next((r for r in self.returns if r.id == return_id), None)

    # Shipments

    def left_to_ship(self) -> dict[str, int]:
        left = {line.id: line.quantity - line.cancelled - line.shipped for line in self.lines}
        return {line_id: quantity for line_id, quantity in left.items() if quantity > 0}

    def amount_to_capture(self, parcel: list[ShippedLine]) -> Money:
        """The parcel's share of the total: its lines by quantity; the first parcel also has the shipping.

        The shares are differences of a rounded cumulative share, so that all parcels together give exactly `due`;
        the last parcel gets the remainder.
        """
        left = self.left_to_ship()
        for item in parcel:
            left[item.line_id] -= item.quantity
        uncaptured = self.due.amount - self.payment.captured.amount
        if not any(left.values()):
            return Money(amount=max(0, uncaptured), currency=self.currency)
        wanted = {item.line_id: item.quantity for item in parcel}
        share = sum(line.share(line.shipped + wanted.get(line.id, 0)) - line.share(line.shipped) for line in self.lines)
        if not self.shipments:
            share += self.totals.total.amount - sum(line.total.amount for line in self.lines)
        return payable(Money(amount=max(0, min(share, uncaptured)), currency=self.currency))

    def check_parcel(self, parcel: list[ShippedLine]) -> None:
        """Raises NotEnoughToShip unless every line is of this order and has so many units left."""
        left = self.left_to_ship()
        for item in parcel:
            if left.get(item.line_id, 0) < item.quantity:
                raise NotEnoughToShip(
                    f"{item.line_id} has {left.get(item.line_id, 0)} left to ship, {item.quantity} requested",
                    line_id=item.line_id,
                    left=left.get(item.line_id, 0),
                )

    def check_address_may_change(self) -> None:
        """Raises InvalidTransition after the first shipment."""
        open_ = self.resumes if self.status in PUT_ASIDE else self.status
        if open_ not in (OrderStatus.CONFIRMED, OrderStatus.PROCESSING):
            raise InvalidTransition(
                f"The order is {self.status}: its address can't change any more",
                state=str(self.status),
                requested="shipping-address",
            )

    # Refunds

    @property
    def refundable(self) -> Money:
        """Captured, less refunds (also pending ones) and disputes."""
        committed = [refund.amount for refund in self.refunds if refund.status is not RefundStatus.FAILED]
        return self.payment.captured - sum_money(committed, self.currency) - self.payment.disputed

    def refund_for(self, lines: list[LineQuantity]) -> tuple[Money, Money]:
        """The cost of these units with discount and tax, less what was refunded of them, and the tax in it.

        Raises RefundExceedsBalance for units that were never captured or are refunded already.
        """
        shares = self.refund_shares(lines)
        amount = Money(amount=sum(share.amount for share in shares), currency=self.currency)
        return payable(amount), Money(amount=sum(share.tax for share in shares), currency=self.currency)

    def refund_shares(self, lines: list[LineQuantity]) -> list[RefundShare]:
        """What these units cost, by line: at most what is left of them, however earlier refunds were rounded or split.

        Raises RefundExceedsBalance, as `refund_for`.
        """
        shares = []
        for item in lines:
            line = self.line(item.line_id)
            left = line.shipped - line.refunded if line else 0
            if line is None or item.quantity > left:
                raise RefundExceedsBalance(
                    f"{item.line_id} has {left} units left to refund, {item.quantity} requested",
                    line_id=item.line_id,
                    left=self.refundable.model_dump(),
                )
            before, taxed = self._refunded_of(line)
            cost = max(0, line.share(line.refunded + item.quantity) - before)
            tax = max(0, min(cost, line.tax_share(line.refunded + item.quantity) - taxed))
            shares.append(RefundShare(line_id=line.id, amount=cost, tax=tax))
        return shares

    def _refunded_of(self, line: OrderLine) -> tuple[int, int]:
        """Minor units of a line in its refunds that have not failed, and the tax in them."""
        amount = tax = 0
        for refund in self.refunds:
            if refund.status is RefundStatus.FAILED:
                continue
            units = sum(item.quantity for item in refund.lines if item.line_id == line.id)
            of_units = RefundShare(line_id=line.id, amount=line.share(units), tax=line.tax_share(units))
            for share in refund.shares or [of_units]:  # the first refunds had no shares
                amount += share.amount if share.line_id == line.id else 0
                tax += share.tax if share.line_id == line.id else 0
        return amount, tax

    def check_shares(self, refund: OrderRefund) -> None:
        """Raises RefundExceedsBalance if less than the refund's share is left of one of its lines."""
        for share in refund.shares:
            line = self.line(share.line_id)
            if line is None or self._refunded_of(line)[0] + share.amount > line.total.amount:
                raise RefundExceedsBalance(f"Less is left of {share.line_id}", left=self.refundable.model_dump())

    @property
    def overpaid(self) -> Money:
        """What was captured beyond `due`, less refunds of amounts; of a cancelled order all that is refundable.

        Refunds of lines are of units that have shipped, so they are not of this.
        """
        if self.status is OrderStatus.CANCELLED:
            return payable(self.refundable)
        amounts = (one.amount for one in self.refunds if not one.lines and one.status is not RefundStatus.FAILED)
        extra = self.payment.captured - self.due - sum_money(amounts, self.currency)
        return payable(max(Money.zero(self.currency), min(extra, self.refundable)))

    def check_refund(self, amount: Money) -> None:
        """Raises RefundExceedsBalance for more than `refundable`."""
        left = self.refundable
        if amount > left:
            raise RefundExceedsBalance(f"{left.amount} {left.currency} are left to refund", left=left.model_dump())

    # Returns

    def left_to_return(self) -> dict[str, int]:
        """Units by line: shipped, less lost, returned and in an open return."""
        left = {line.id: line.shipped - line.returned for line in self.lines}
        lost = [parcel.lines for parcel in self.shipments if parcel.status is ShipmentStatus.LOST]
        expected = [open_.lines for open_ in self.returns if open_.status is ReturnStatus.REQUESTED]
        for item in (item for lines in (*lost, *expected) for item in lines):
            left[item.line_id] -= item.quantity
        return {line_id: quantity for line_id, quantity in left.items() if quantity > 0}

    def check_return(self, lines: list[LineQuantity]) -> None:
        """Raises NotEnoughToReturn unless every line is of this order and has so many units to return."""
        left = self.left_to_return()
        for item in lines:
            if left.get(item.line_id, 0) < item.quantity:
                raise NotEnoughToReturn(
                    f"{item.line_id} has {left.get(item.line_id, 0)} units to return, {item.quantity} requested",
                    line_id=item.line_id,
                    left=left.get(item.line_id, 0),
                )


def view(order: Order, email: str | None, shipping: Any, billing: Any) -> dict[str, Any]:
    """The API's Order: the fold and the personal data."""
    shown = order.model_dump(
        mode="json", exclude={"payment": True, "discounts": True, "resumes": True, "refunds": {"__all__": {"shares"}}}
    )
    return {
        **shown,
        "email": email,
        "addresses": {"shipping": shipping, "billing": billing},
        "discounts": order.discounts,
        "payment": order.payment.model_dump(mode="json", exclude={"id"}),
    }
