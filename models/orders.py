"""An order is its events, folded: the stored row is what `fold` gives, and nothing else changes an order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from models.base import Record
from models.errors import HoldfastError, InvalidTransition, NotEnoughToShip
from models.money import Money
from models.pricing import Totals
from models.states import (
    ORDER_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    SHIPMENT_TRANSITIONS,
    OrderStatus,
    PaymentStatus,
    ShipmentStatus,
    advance,
)

# Events, in the past tense; recorded for ever.
ORDER_CONFIRMED = "order.confirmed"
ORDER_PROCESSING = "order.processing_started"
ORDER_PARTIALLY_SHIPPED = "order.partially_shipped"
ORDER_SHIPPED = "order.shipped"
ORDER_DELIVERED = "order.delivered"
ORDER_COMPLETED = "order.completed"
ORDER_CLAIMED = "order.claimed"
PAYMENT_CAPTURED = "payment.captured"
SHIPMENT_CREATED = "shipment.created"
SHIPMENT_SCANNED = "shipment.scanned"
SHIPMENT_DELIVERED = "shipment.delivered"


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
    id: str
    sku: str
    title: str
    quantity: int
    unit_price: Money
    discount: Money
    tax: Money
    total: Money
    shipped: int = 0
    returned: int = 0
    refunded: int = 0


class ShippedLine(Record):
    line_id: str
    quantity: int


class Scan(Record):
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
    shipped_at: datetime
    events: list[Scan] = []


class OrderPayment(Record):
    """How much the buyer's bank has promised and how much has been taken."""

    id: str | None  # None for a zero total
    provider: str | None
    authorised: Money
    captured: Money
    refunded: Money


class Order(Record):
    """The fold of an order's events. Personal data (email, addresses) stands beside it in the row, not in it."""

    id: str
    number: str
    status: OrderStatus
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
    refunds: list[dict[str, Any]] = []
    returns: list[dict[str, Any]] = []
    placed_at: datetime
    version: int

    def left_to_ship(self) -> dict[str, int]:
        return {line.id: line.quantity - line.shipped for line in self.lines if line.quantity > line.shipped}

    def amount_to_capture(self, parcel: list[ShippedLine]) -> Money:
        """The parcel's share of the total: its lines by quantity, the first parcel also the shipping.

        Running differences of a rounded cumulative share, so that all parcels together are exactly the total;
        the last one takes whatever is left of the authorisation.
        """
        left = self.left_to_ship()
        for item in parcel:
            left[item.line_id] -= item.quantity
        uncaptured = self.totals.total.amount - self.payment.captured.amount
        if not any(left.values()):
            return Money(amount=uncaptured, currency=self.currency)
        wanted = {item.line_id: item.quantity for item in parcel}
        share = sum(
            _share(line, line.shipped + wanted.get(line.id, 0)) - _share(line, line.shipped) for line in self.lines
        )
        if not self.shipments:
            share += self.totals.total.amount - sum(line.total.amount for line in self.lines)
        return Money(amount=max(0, min(share, uncaptured)), currency=self.currency)

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

    def shipment(self, shipment_id: str) -> OrderShipment | None:
        return next((s for s in self.shipments if s.id == shipment_id), None)


def _share(line: OrderLine, quantity: int) -> int:
    return line.total.amount * quantity // line.quantity


def view(order: Order, email: str | None, shipping: Any, billing: Any) -> dict[str, Any]:
    """The contract's Order: the fold, with the personal data that stands beside it."""
    shown = order.model_dump(mode="json", exclude={"payment", "discounts"})
    return {
        **shown,
        "email": email,
        "addresses": {"shipping": shipping, "billing": billing},
        "discounts": order.discounts,
        "payment": order.payment.model_dump(mode="json", exclude={"id"}),
    }


def fold(events: Iterable[Event], order_id: str) -> Order:
    """The order that these events make; a gap or a wrong first event is a HoldfastError."""
    order: Order | None = None
    for event in events:
        expected = order.version + 1 if order else 1
        if event.version != expected:
            raise HoldfastError(f"{order_id}: event {event.version} where {expected} was due")
        order = apply(order, event, order_id)
    if order is None:
        raise HoldfastError(f"{order_id} has no events")
    return order


def apply(order: Order | None, event: Event, order_id: str) -> Order:
    """The order after one more event."""
    if order is None:
        if event.type != ORDER_CONFIRMED:
            raise HoldfastError(f"{order_id} begins with {event.type}")
        return Order.model_validate(
            {
                **event.data,
                "id": order_id,
                "status": OrderStatus.CONFIRMED,
                "placed_at": event.at,
                "version": event.version,
            }
        )
    changes = _CHANGES[event.type](order, event)
    return order.model_copy(update={**changes, "version": event.version})


def _status(to: OrderStatus) -> Any:
    return lambda order, event: {"status": advance(ORDER_TRANSITIONS, order.status, to)}


def _claimed(order: Order, event: Event) -> dict[str, Any]:
    """A guest's order becomes a customer's, once."""
    if order.customer_id is not None:
        raise InvalidTransition("The order has a customer", state="claimed", requested="claimed")
    return {"customer_id": event.data["customer_id"]}


def _payment_captured(order: Order, event: Event) -> dict[str, Any]:
    captured = Money(amount=order.payment.captured.amount + event.data["amount"]["amount"], currency=order.currency)
    whole = captured.amount >= order.totals.total.amount
    to = PaymentStatus.CAPTURED if whole else PaymentStatus.PARTIALLY_CAPTURED
    return {
        "payment": order.payment.model_copy(update={"captured": captured}),
        "payment_status": advance(PAYMENT_TRANSITIONS, order.payment_status, to),
    }


def _shipment_created(order: Order, event: Event) -> dict[str, Any]:
    shipment = OrderShipment.model_validate({**event.data, "status": ShipmentStatus.SHIPPED, "shipped_at": event.at})
    order.check_parcel(shipment.lines)
    shipped = {item.line_id: item.quantity for item in shipment.lines}
    lines = [line.model_copy(update={"shipped": line.shipped + shipped.get(line.id, 0)}) for line in order.lines]
    return {"shipments": [*order.shipments, shipment], "lines": lines}


def _shipment_scanned(order: Order, event: Event) -> dict[str, Any]:
    scan = Scan(
        status=ShipmentStatus(event.data["status"]),
        at=event.data["at"],
        location=event.data.get("location"),
    )
    return {
        "shipments": [
            shipment.model_copy(
                update={
                    "status": advance(SHIPMENT_TRANSITIONS, shipment.status, scan.status),
                    "events": [*shipment.events, scan],
                }
            )
            if shipment.id == event.data["shipment_id"]
            else shipment
            for shipment in order.shipments
        ]
    }


_CHANGES = {
    ORDER_PROCESSING: _status(OrderStatus.PROCESSING),
    ORDER_PARTIALLY_SHIPPED: _status(OrderStatus.PARTIALLY_SHIPPED),
    ORDER_SHIPPED: _status(OrderStatus.SHIPPED),
    ORDER_DELIVERED: _status(OrderStatus.DELIVERED),
    ORDER_COMPLETED: _status(OrderStatus.COMPLETED),
    ORDER_CLAIMED: _claimed,
    PAYMENT_CAPTURED: _payment_captured,
    SHIPMENT_CREATED: _shipment_created,
    SHIPMENT_SCANNED: _shipment_scanned,
    SHIPMENT_DELIVERED: _shipment_scanned,
}
