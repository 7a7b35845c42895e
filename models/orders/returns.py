"""Returns: commands, snapshot, and the rules for requesting, receiving and refunding."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from models.base import Record, Storable
from models.errors import InvalidRequest, InvalidTransition, NotEnoughToReturn
from models.money import Money
from models.orders.commands import Initiator
from models.orders.orders import LineQuantity, Order, OrderReturn
from models.states import RETURN_TRANSITIONS, OrderStatus, ReturnStatus, advance


class ReturnLine(Record):
    """A requested line. `reason` is the buyer's free text: it is stored in the row, never in an event."""

    line_id: str
    quantity: int
    reason: Storable | None = None


class ReceivedLine(Record):
    """Received units of a line. `restock`: they can be sold again; None: as in the command."""

    line_id: str
    quantity: int
    restock: bool | None = None


class Restocked(Record):
    """Units restocked at the location they were shipped from."""

    sku: str
    location: str
    quantity: int


class ReturnRef(Record):
    """The input of the Return workflow; everything else about the return is in the database."""

    return_id: str


class ReceiveReturn(Record):
    """Records the arrival. `lines` None: all requested units. In the Temporal UI an update may send `{}` or
    `{"lines": [{"line_id": "line_…", "quantity": 1}], "restock": false}`."""

    return_id: str = ""
    lines: list[ReceivedLine] | None = None
    restock: bool = True
    initiator: Initiator = Initiator()


class RefuseReturn(Record):
    """Refuses the return. In the Temporal UI an update may send `{}`; a reason is stored by the API as a note."""

    return_id: str = ""
    initiator: Initiator = Initiator()


class ReturnSnapshot(Record):
    """`seconds_left`: until it expires, by the database's clock; `refund_due`: its refund has not ended."""

    order_id: str
    status: ReturnStatus
    seconds_left: float
    refund_due: bool

    @property
    def finished(self) -> bool:
        """Whether the return is final and its refund, if any, has ended."""
        if self.status is ReturnStatus.RECEIVED:
            return not self.refund_due
        return self.status is not ReturnStatus.REQUESTED


class StoredReturn(Record):
    """The row of `returns`; the rest is in the order's fold."""

    id: str
    order_id: str
    lines: list[ReturnLine]
    refund_id: str | None
    restocked: list[Restocked]
    requested_at: datetime
    expires_at: datetime


def check_lines(lines: Sequence[ReturnLine | ReceivedLine]) -> None:
    """Raises InvalidRequest without lines, for a repeated line and for a quantity below 1."""
    if not lines or any(line.quantity < 1 for line in lines):
        raise InvalidRequest.at("/lines", "must name at least one unit")
    if len({line.line_id for line in lines}) != len(lines):
        raise InvalidRequest.at("/lines", "names a line twice")


def check_request(order: Order, window_open: bool) -> None:
    """Raises InvalidTransition unless a parcel has shipped and the return window is open."""
    may = order.status in (
        OrderStatus.PARTIALLY_SHIPPED,
        OrderStatus.SHIPPED,
        OrderStatus.DELIVERED,
        OrderStatus.RETURN_REQUESTED,
    )
    if may and window_open:
        return
    raise InvalidTransition(
        "The return window has closed"
        if order.status is OrderStatus.COMPLETED or not window_open
        else f"The order is {order.status}: nothing of it can be returned",
        state=str(order.status),
        requested=str(OrderStatus.RETURN_REQUESTED),
    )


def check_receipt(order: Order, request: OrderReturn, received: list[ReceivedLine]) -> None:
    """Raises InvalidTransition for the return's state, NotEnoughToReturn for more than was requested.

    An expired return is received too, unless its units came back with another one.
    """
    advance(RETURN_TRANSITIONS, request.status, ReturnStatus.RECEIVED)
    check_lines(received)
    requested = {item.line_id: item.quantity for item in request.lines}
    for item in received:
        left = requested.get(item.line_id, 0)
        if item.quantity > left:
            raise NotEnoughToReturn(
                f"{left} of {item.line_id} were announced, {item.quantity} have arrived",
                line_id=item.line_id,
                left=left,
            )
    if request.status is not ReturnStatus.REQUESTED:
        order.check_return([LineQuantity(line_id=item.line_id, quantity=item.quantity) for item in received])


def amount_to_refund(order: Order, received: list[LineQuantity]) -> tuple[Money, list[LineQuantity]] | None:
    """The cost of the received units that are not refunded yet, at most the order's `refundable`, and these units.

    None if nothing is due: refunded before, in dispute, or never paid.
    """
    lines = [line for item in received if (line := order.line(item.line_id))]
    open_ = {line.id: line.shipped - line.refunded for line in lines}
    units = [
        LineQuantity(line_id=item.line_id, quantity=quantity)
        for item in received
        if (quantity := min(item.quantity, open_.get(item.line_id, 0))) > 0
    ]
    amount = min(order.refund_for(units)[0], order.refundable)
    return (amount, units) if amount.amount > 0 else None


def view(order: Order, stored: StoredReturn) -> dict[str, Any]:
    """The API's Return: the fold and the buyer's reasons."""
    request = order.return_(stored.id)
    assert request is not None
    received = {item.line_id: item.quantity for item in request.received}
    refund = order.refund(stored.refund_id) if stored.refund_id else None
    lines = []
    for item in stored.lines:
        line = order.line(item.line_id)
        assert line is not None
        lines.append(
            {
                **item.model_dump(),
                "sku": line.sku,
                "title": line.title,
                "received": received.get(item.line_id, 0),
            }
        )
    dates = stored.model_dump(mode="json", include={"requested_at", "expires_at"})
    return {
        "id": stored.id,
        "order_id": order.id,
        "order_number": order.number,
        "status": request.status,
        "lines": lines,
        "refund": refund.model_dump(mode="json", exclude={"shares"}) if refund else None,
        **dates,
    }
