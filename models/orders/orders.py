"""An order as it stands, and the rules about it. Only its events change it (models/orders/events.py)."""

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

# Events, in the past tense; recorded for ever. What a person wrote (a reason, a note) stands in `order_notes`.
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
ORDER_REMAINDER_CANCELLED = "order.remainder_cancelled"  # {lines}: what had not left never will
ORDER_ADDRESS_CHANGED = "order.shipping_address_changed"
ORDER_NOTED = "order.note_added"  # {note_id}
ORDER_RETURNED = "order.returned"
PAYMENT_AUTHORISED = "payment.authorised"  # {payment_id, provider, amount}: another one, after the first had failed
PAYMENT_CAPTURED = "payment.captured"  # {payment_id, shipment_id, amount}
PAYMENT_VOIDED = "payment.voided"  # {payment_id, amount}: the rest of the promise is given back
PAYMENT_FAILED = "payment.failed"  # {payment_id, decline_code}: it will not pay what is due; it is being retried
PAYMENT_REFUNDED = "payment.refunded"  # {refund_id, amount}: the provider has done it
PAYMENT_DISPUTED = "payment.disputed"  # {payment_id, dispute_id, amount}: the bank has taken it back for now
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
    """Who did it: never a name or an address, only an id."""

    type: Literal["customer", "guest", "staff", "machine", "system"]
    id: str | None = None


SYSTEM = Actor(type="system")


class Event(Record):
    """One fact about one order. `cause` is the id of what led to it: a checkout, a command, a webhook."""

    version: int
    type: str
    at: datetime
    actor: Actor
    cause: str
    data: dict[str, Any]


class OrderLine(Record):
    """Units of it: `cancelled` ones never leave; `refunded` ones are paid back or about to be."""

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
        """What so many of its units cost, discount and tax included; all parts together are exactly the line."""
        return self.total.amount * quantity // self.quantity

    def tax_share(self, quantity: int) -> int:
        return self.tax.amount * quantity // self.quantity


class LineQuantity(Record):
    """Units of one line: of a parcel, of a return, of a refund."""

    line_id: str
    quantity: int


ShippedLine = LineQuantity


class TrackingEvent(Record):
    """What a carrier said of a parcel."""

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
    location: str | None = None  # the stock location that it left from; None: several, or not known
    shipped_at: datetime
    events: list[TrackingEvent] = []


class OrderRefund(Record):
    id: str
    status: RefundStatus
    amount: Money
    tax: Money  # the part of the amount that is tax
    lines: list[LineQuantity] = []
    requested_at: datetime


class OrderReturn(Record):
    """Goods on their way back; `received` are the units that arrived."""

    id: str
    status: ReturnStatus
    lines: list[LineQuantity]
    received: list[LineQuantity] = []
    refund_id: str | None = None
    requested_at: datetime


class OrderPayment(Record):
    """How much the buyer's bank has promised in all, and what became of it.

    authorised = captured + released + what may still be captured; `refunded` and `disputed` are of what was captured.
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
    def _nothing_yet(cls, data: Any) -> Any:
        """The first event knows only what had happened when the first orders were written."""
        if not isinstance(data, dict):
            return data
        authorised = data["authorised"]
        currency = authorised.currency if isinstance(authorised, Money) else authorised["currency"]
        return {"released": Money.zero(currency), "disputed": Money.zero(currency), **data}

    @property
    def open_authorisation(self) -> Money:
        """What may still be captured."""
        return self.authorised - self.captured - self.released


class Order(Record):
    """The fold of an order's events. Personal data (email, addresses) stands beside it in the row, not in it."""

    id: str
    number: str
    status: OrderStatus
    resumes: OrderStatus | None = None  # where it goes on after on_hold, payment_retrying, return_requested
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
        """How far it has been shipped: a return of one parcel does not stop the next."""
        return self.resumes if self.status is OrderStatus.RETURN_REQUESTED and self.resumes else self.status

    def step(self, to: OrderStatus) -> OrderStatus:
        """`to`, if fulfilment may go there from here; what is put aside goes nowhere. Raises InvalidTransition."""
        if self.status in PUT_ASIDE:
            raise InvalidTransition(f"The order is {self.status}", state=str(self.status), requested=str(to))
        return advance(ORDER_TRANSITIONS, self.fulfilment, to)

    @property
    def due(self) -> Money:
        """The total less what will never leave."""
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

    # Parcels

    def left_to_ship(self) -> dict[str, int]:
        left = {line.id: line.quantity - line.cancelled - line.shipped for line in self.lines}
        return {line_id: quantity for line_id, quantity in left.items() if quantity > 0}

    def amount_to_capture(self, parcel: list[ShippedLine]) -> Money:
        """The parcel's share of the total: its lines by quantity, the first parcel also the shipping.

        Running differences of a rounded cumulative share, so that all parcels together are exactly what is due;
        the last one takes whatever is left of it.
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
        """NotEnoughToShip unless every line is this order's and has that much left."""
        left = self.left_to_ship()
        for item in parcel:
            if left.get(item.line_id, 0) < item.quantity:
                raise NotEnoughToShip(
                    f"{item.line_id} has {left.get(item.line_id, 0)} left to ship, {item.quantity} asked",
                    line_id=item.line_id,
                    left=left.get(item.line_id, 0),
                )

    def check_address_may_change(self) -> None:
        """InvalidTransition once anything of it has been packed."""
        open_ = self.resumes if self.status in PUT_ASIDE else self.status
        if open_ not in (OrderStatus.CONFIRMED, OrderStatus.PROCESSING):
            raise InvalidTransition(
                f"The order is {self.status}: its address can't change any more",
                state=str(self.status),
                requested="shipping-address",
            )

    # Money back

    @property
    def refundable(self) -> Money:
        """What was captured, less what was refunded, is about to be, or is in dispute."""
        committed = [refund.amount for refund in self.refunds if refund.status is not RefundStatus.FAILED]
        return self.payment.captured - sum_money(committed, self.currency) - self.payment.disputed

    def refund_for(self, lines: list[LineQuantity]) -> tuple[Money, Money]:
        """What these units cost with their discount and tax, and the part of it that is tax.

        Raises RefundExceedsBalance for units that were never captured or are refunded already.
        """
        amount = tax = 0
        for item in lines:
            line = self.line(item.line_id)
            left = line.shipped - line.refunded if line else 0
            if line is None or item.quantity > left:
                raise RefundExceedsBalance(
                    f"{item.line_id} has {left} units left to refund, {item.quantity} asked",
                    line_id=item.line_id,
                    left=self.refundable.model_dump(),
                )
            amount += line.share(line.refunded + item.quantity) - line.share(line.refunded)
            tax += line.tax_share(line.refunded + item.quantity) - line.tax_share(line.refunded)
        return payable(Money(amount=amount, currency=self.currency)), Money(amount=tax, currency=self.currency)

    def check_refund(self, amount: Money) -> None:
        """RefundExceedsBalance unless there is that much left."""
        left = self.refundable
        if amount > left:
            raise RefundExceedsBalance(f"{left.amount} {left.currency} are left to refund", left=left.model_dump())

    # Goods back

    def left_to_return(self) -> dict[str, int]:
        """Shipped and not lost, not on the way back, and not back."""
        left = {line.id: line.shipped - line.returned for line in self.lines}
        gone = [parcel.lines for parcel in self.shipments if parcel.status is ShipmentStatus.LOST]
        coming = [open_.lines for open_ in self.returns if open_.status is ReturnStatus.REQUESTED]
        for item in (item for lines in (*gone, *coming) for item in lines):
            left[item.line_id] -= item.quantity
        return {line_id: quantity for line_id, quantity in left.items() if quantity > 0}

    def check_return(self, lines: list[LineQuantity]) -> None:
        """NotEnoughToReturn unless every line is this order's and was shipped that often."""
        left = self.left_to_return()
        for item in lines:
            if left.get(item.line_id, 0) < item.quantity:
                raise NotEnoughToReturn(
                    f"{item.line_id} has {left.get(item.line_id, 0)} units to return, {item.quantity} asked",
                    line_id=item.line_id,
                    left=left.get(item.line_id, 0),
                )


def view(order: Order, email: str | None, shipping: Any, billing: Any) -> dict[str, Any]:
    """The contract's Order: the fold, with the personal data that stands beside it."""
    shown = order.model_dump(mode="json", exclude={"payment", "discounts", "resumes"})
    return {
        **shown,
        "email": email,
        "addresses": {"shipping": shipping, "billing": billing},
        "discounts": order.discounts,
        "payment": order.payment.model_dump(mode="json", exclude={"id"}),
    }
