"""The transactions of a return: request, receive, refuse, expire, refund. The order's lock serialises them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.catalogue import inventory
from models.db.repositories.delivery import outbox
from models.db.repositories.orders import notes, refunds
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders.orders import StoredOrder, append, lock_order, read_order
from models.errors import NotFound
from models.ids import derived_id
from models.orders import orders, returns
from models.orders.commands import Initiator
from models.orders.notices import OrderNotice
from models.orders.orders import SYSTEM, Actor, LineQuantity, Order, OrderReturn
from models.orders.returns import ReceivedLine, ReceiveReturn, Restocked, ReturnLine, ReturnSnapshot, StoredReturn
from models.states import ReturnStatus

_INSERT = text("""
INSERT INTO returns (id, order_id, state, lines, expires_at)
VALUES (:id, :order_id, 'requested', CAST(:lines AS jsonb), now() + make_interval(secs => :expires_seconds))
""")

_READ = text("""
SELECT id, order_id, lines, refund_id, restocked, created_at AS requested_at, expires_at FROM returns WHERE id = :id
""")

_SET_STATE = text("""
UPDATE returns SET state = :state, refund_id = coalesce(:refund_id, refund_id),
    restocked = restocked || CAST(:restocked AS jsonb) WHERE id = :id
""")

_SINCE_DELIVERY = text("""
SELECT extract(epoch FROM now() - at)::float FROM order_events
WHERE order_id = :order_id AND type = 'order.delivered' ORDER BY version DESC LIMIT 1
""")

_KNOWN = text("SELECT 1 FROM order_events WHERE order_id = :order_id AND type = :type AND cause = :cause LIMIT 1")

# Units that may be restocked, by SKU and location: shipped from there and not restocked yet.
_PLACES = text("""
WITH back AS (
    SELECT b.sku, b.location, sum(b.quantity) AS units
    FROM returns r, jsonb_to_recordset(r.restocked) AS b (sku text, location text, quantity int)
    WHERE r.order_id = :order_id GROUP BY b.sku, b.location)
SELECT h.sku, h.location, h.shipped - coalesce(b.units, 0) AS room
FROM stock_holds h LEFT JOIN back b ON b.sku = h.sku AND b.location = h.location
WHERE h.checkout_id = :checkout_id AND h.shipped > coalesce(b.units, 0)
ORDER BY h.sku, room DESC, h.location
""")


class ReturnOfOrder(NamedTuple):
    """A return and its order."""

    stored: StoredOrder
    row: StoredReturn

    @property
    def request(self) -> OrderReturn:
        request = self.stored.order.return_(self.row.id)
        assert request is not None
        return request

    def view(self) -> dict[str, Any]:
        return returns.view(self.stored.order, self.row)


def request(
    connection: Connection,
    order_id: str,
    lines: list[ReturnLine],
    *,
    return_id: str,
    initiator: Initiator,
    window_seconds: float,
    expires_seconds: float,
) -> ReturnOfOrder:
    """Requests a return. Raises NotFound, InvalidTransition, NotEnoughToReturn."""
    returns.check_lines(lines)
    stored, now = lock_order(connection, order_id)
    returns.check_request(stored.order, _window_open(connection, order_id, window_seconds))
    order = expect(
        connection,
        stored.order,
        lines,
        return_id=return_id,
        initiator=initiator,
        now=now,
        expires_seconds=expires_seconds,
    )
    order_notices.queue(connection, order_id, OrderNotice.RETURN_REQUESTED, return_id)
    return ReturnOfOrder(stored._replace(order=order), _row(connection, return_id))


def expect(
    connection: Connection,
    order: Order,
    lines: list[ReturnLine],
    *,
    return_id: str,
    initiator: Initiator,
    now: datetime,
    expires_seconds: float,
) -> Order:
    """Adds an open return to the locked order. Raises InvalidTransition, NotEnoughToReturn."""
    units = [{"line_id": line.line_id, "quantity": line.quantity} for line in lines]
    facts = [(orders.RETURN_REQUESTED, {"return_id": return_id, "lines": units})]
    order = append(connection, order, facts, now=now, actor=initiator.actor, cause=initiator.cause)
    connection.execute(
        _INSERT,
        {
            "id": return_id,
            "order_id": order.id,
            "lines": json.dumps([line.model_dump() for line in lines]),
            "expires_seconds": expires_seconds,
        },
    )
    event = topics.ReturnChanged(return_id=return_id, order_id=order.id)
    outbox.publish(connection, topics.RETURN_REQUESTED, return_id, event)
    return order


def receive(connection: Connection, command: ReceiveReturn) -> ReturnOfOrder:
    """Records the arrival: counts the units, restocks them and requests their refund, in one transaction.

    Idempotent by the command's cause. Raises NotFound, InvalidTransition, NotEnoughToReturn.
    """
    current, now = _lock(connection, command.return_id)
    order, initiator = current.stored.order, command.initiator
    if _known(connection, order.id, orders.RETURN_RECEIVED, initiator.cause):
        return current
    received = command.lines
    if received is None:
        received = [ReceivedLine(line_id=item.line_id, quantity=item.quantity) for item in current.request.lines]
    returns.check_receipt(order, current.request, received)
    units = [LineQuantity(line_id=item.line_id, quantity=item.quantity) for item in received]
    facts = [(orders.RETURN_RECEIVED, {"return_id": command.return_id, "lines": [unit.model_dump() for unit in units]})]
    order = append(connection, order, facts, now=now, actor=initiator.actor, cause=initiator.cause)
    restocked = _restock(connection, order, command, received)
    refund_id = _request_refund(connection, order, units, command)
    _set_state(connection, order.id, command.return_id, ReturnStatus.RECEIVED, restocked, refund_id)
    order_notices.queue(connection, order.id, OrderNotice.RETURN_RECEIVED, command.return_id)
    return _load(connection, order.id, command.return_id)


def refuse(connection: Connection, return_id: str, initiator: Initiator, reason: str | None = None) -> ReturnOfOrder:
    """Refuses the return. Idempotent. Raises NotFound, InvalidTransition."""
    current, now = _lock(connection, return_id)
    if current.request.status is ReturnStatus.REFUSED:
        return current
    notes.store_note(connection, current.row.order_id, "return", reason, initiator.actor)
    order_notices.queue(connection, current.row.order_id, OrderNotice.RETURN_REFUSED, return_id)
    return _end(connection, current, orders.RETURN_REFUSED, ReturnStatus.REFUSED, now, initiator)


def expire(connection: Connection, return_id: str) -> ReturnOfOrder:
    """Expires the return, unless it was received or refused meanwhile."""
    current, now = _lock(connection, return_id)
    if current.request.status is not ReturnStatus.REQUESTED:
        return current
    initiator = Initiator(actor=SYSTEM, cause=return_id)
    order_notices.queue(connection, current.row.order_id, OrderNotice.RETURN_EXPIRED, return_id)
    return _end(connection, current, orders.RETURN_EXPIRED, ReturnStatus.EXPIRED, now, initiator)


def record_refunded(
    connection: Connection, order: Order, refund_id: str, *, now: datetime, actor: Actor, cause: str
) -> Order:
    """Marks the refund's return, if any, as refunded, in the transaction that records the refund's success."""
    row = connection.execute(text("SELECT id FROM returns WHERE refund_id = :id"), {"id": refund_id}).first()
    found = order.return_(row.id) if row else None
    if found is None or found.status is not ReturnStatus.RECEIVED:
        return order
    facts = [(orders.RETURN_REFUNDED, {"return_id": found.id, "refund_id": refund_id})]
    order = append(connection, order, facts, now=now, actor=actor, cause=cause)
    connection.execute(
        _SET_STATE, {"id": found.id, "state": ReturnStatus.REFUNDED, "refund_id": refund_id, "restocked": "[]"}
    )
    event = topics.ReturnChanged(return_id=found.id, order_id=order.id)
    outbox.publish(connection, topics.RETURN_CHANGED, found.id, event)
    return order


def load_snapshot(connection: Connection, return_id: str) -> ReturnSnapshot:
    """Reads without a lock: every later change signals the workflow. Raises NotFound."""
    row = connection.execute(
        text("""
        SELECT r.order_id, r.state AS status, extract(epoch FROM r.expires_at - now())::float AS seconds_left,
            r.refund_id IS NOT NULL AS refund_due
        FROM returns r WHERE r.id = :id
        """),
        {"id": return_id},
    ).first()
    if row is None:
        raise NotFound("There is no such return")
    return ReturnSnapshot.model_validate(row._mapping)


def _window_open(connection: Connection, order_id: str, window_seconds: float) -> bool:
    """Whether the return window is open. It starts when the whole order is delivered."""
    since = connection.execute(_SINCE_DELIVERY, {"order_id": order_id}).scalar()
    return since is None or since < window_seconds


def _request_refund(
    connection: Connection, order: Order, units: list[LineQuantity], command: ReceiveReturn
) -> str | None:
    """Requests the refund of the received units that are not refunded or disputed; None if nothing is due."""
    due = returns.amount_to_refund(order, units)
    if due is None:
        return None
    refund_id = derived_id("rfd", command.return_id)
    refunds.request(
        connection,
        order.id,
        amount=due[0],
        lines=due[1],
        cause=command.return_id,
        actor=command.initiator.actor,
        refund_id=refund_id,
    )
    return refund_id


def _restock(
    connection: Connection, order: Order, command: ReceiveReturn, received: list[ReceivedLine]
) -> list[Restocked]:
    """Restocks the units that can be sold again at the locations they were shipped from, as adjustments."""
    sku_of = {line.id: line.sku for line in order.lines}
    wanted: dict[str, int] = {}
    for item in received:
        if command.restock if item.restock is None else item.restock:
            wanted[sku_of[item.line_id]] = wanted.get(sku_of[item.line_id], 0) + item.quantity
    back = []
    for sku, location, room in connection.execute(_PLACES, {"order_id": order.id, "checkout_id": order.checkout_id}):
        quantity = min(room, wanted.get(sku, 0))
        if quantity:
            back.append(Restocked(sku=sku, location=location, quantity=quantity))
            wanted[sku] -= quantity
    assert not any(wanted.values()), "received units were shipped before"
    inventory.restock(
        connection,
        [(part.sku, part.location, part.quantity) for part in back],
        reason=f"return {command.return_id}",
        actor=f"{command.initiator.actor.type}:{command.initiator.actor.id or ''}",
    )
    return back


def _end(
    connection: Connection, current: ReturnOfOrder, event: str, state: ReturnStatus, now: datetime, initiator: Initiator
) -> ReturnOfOrder:
    return_id = current.row.id
    facts = [(event, {"return_id": return_id})]
    append(connection, current.stored.order, facts, now=now, actor=initiator.actor, cause=initiator.cause)
    _set_state(connection, current.row.order_id, return_id, state, [], None)
    return _load(connection, current.row.order_id, return_id)


def _set_state(
    connection: Connection,
    order_id: str,
    return_id: str,
    state: ReturnStatus,
    restocked: list[Restocked],
    refund_id: str | None,
) -> None:
    """Sets the row's state and signals the return's and the order's workflows."""
    connection.execute(
        _SET_STATE,
        {
            "id": return_id,
            "state": state,
            "refund_id": refund_id,
            "restocked": json.dumps([part.model_dump() for part in restocked]),
        },
    )
    event = topics.ReturnChanged(return_id=return_id, order_id=order_id)
    outbox.publish(connection, topics.RETURN_CHANGED, return_id, event)
    outbox.publish(connection, topics.ORDER_CHANGED, order_id, topics.OrderRef(order_id=order_id))


def _known(connection: Connection, order_id: str, type_: str, cause: str) -> bool:
    return connection.execute(_KNOWN, {"order_id": order_id, "type": type_, "cause": cause}).first() is not None


def _lock(connection: Connection, return_id: str) -> tuple[ReturnOfOrder, datetime]:
    order_id = connection.execute(text("SELECT order_id FROM returns WHERE id = :id"), {"id": return_id}).scalar()
    if order_id is None:
        raise NotFound("There is no such return")
    stored, now = lock_order(connection, order_id)
    return ReturnOfOrder(stored, _row(connection, return_id)), now


def _load(connection: Connection, order_id: str, return_id: str) -> ReturnOfOrder:
    stored = read_order(connection, order_id)
    assert stored is not None
    return ReturnOfOrder(stored, _row(connection, return_id))


def _row(connection: Connection, return_id: str) -> StoredReturn:
    return StoredReturn.model_validate(connection.execute(_READ, {"id": return_id}).one()._mapping)
