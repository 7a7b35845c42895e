"""Tracking: each carrier event is stored once and applied to the order after its shipment.

The result does not depend on the order of events (models/orders/parcels.py). The order's lock serialises changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.delivery import outbox, tasks
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders import returns
from models.db.repositories.orders.orders import StoredOrder, append, lock_order
from models.delivery.stored_responses import rfc3339
from models.delivery.tasks import OpenTask
from models.errors import NotFound
from models.ids import derived_id
from models.orders import orders
from models.orders.commands import Initiator
from models.orders.events import shipments_have_ended
from models.orders.fulfilment import DeclareShipmentLost, RecordTrackingEvent, ShipmentRef, ShipmentSnapshot
from models.orders.notices import OrderNotice
from models.orders.orders import SYSTEM, Actor, Order, OrderShipment, TrackingEvent
from models.orders.parcels import CarrierEvent, is_late
from models.orders.returns import ReturnLine
from models.states import ORDER_TRANSITIONS, PARCEL_ENDS, SHIPMENT_TRANSITIONS, OrderStatus, ShipmentStatus, advance

EXPECTED_SECONDS = 90 * 86_400
"""The warehouse's time to receive a parcel that the carrier reports as returned."""

_STORE_EVENTS = outbox.statement(
    """
WITH stored AS (
    INSERT INTO carrier_words (gateway, event_id, tracking_number, carrier, status, at, location, eta)
    SELECT :gateway, w.id, w.tracking_number, w.carrier, w.status, w.at, w.location, w.eta
    FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS w (id text, tracking_number text, carrier text, status text,
        at timestamptz, location text, eta timestamptz)
    ON CONFLICT DO NOTHING RETURNING tracking_number),
published AS ({tracking_received})
SELECT count(*) FROM stored
""",
    tracking_received=outbox.insert(
        topics.TRACKING_RECEIVED,
        "SELECT DISTINCT 'parcel/' || tracking_number, jsonb_build_object('tracking_number', tracking_number)"
        " FROM stored",
    ),
)

# The shipped parcels with that number: one, unless two carriers use the same.
_SHIPMENTS = text("""
SELECT id, order_id, carrier, count(*) OVER () AS number FROM shipments
WHERE tracking_number = :tracking_number AND status <> 'preparing' ORDER BY order_id, id
""")

_WAITING = text("""
SELECT gateway, event_id, status, at, location, eta FROM carrier_words
WHERE tracking_number = :tracking_number AND applied_at IS NULL
    AND (:alone OR lower(carrier) = lower(:carrier)) ORDER BY at, event_id FOR UPDATE
""")

_APPLIED = text("""
UPDATE carrier_words SET applied_at = now() WHERE gateway = :gateway AND event_id = ANY(CAST(:event_ids AS text[]))
""")

_SET_STATUS = text("""
UPDATE shipments SET status = :status, heard_at = now(), eta = coalesce(:eta, eta) WHERE id = :id
""")

_SNAPSHOT = text("SELECT status, heard_at, tracking_number FROM shipments WHERE id = :id")

_EVENTS = {
    ShipmentStatus.DELIVERED: orders.SHIPMENT_DELIVERED,
    ShipmentStatus.LOST: orders.SHIPMENT_LOST,
    ShipmentStatus.RETURNED_TO_SENDER: orders.SHIPMENT_RETURNED,
}


def store_carrier_events(connection: Connection, gateway: str, events: Sequence[CarrierEvent]) -> int:
    """Stores new events and publishes their tracking numbers, in one statement; returns the number of new events."""
    values = {
        "gateway": gateway,
        "events": json.dumps([carrier_event.model_dump(mode="json") for carrier_event in events]),
    }
    return int(_STORE_EVENTS.execute(connection, values).scalar_one()) if events else 0


def apply_carrier_events(connection: Connection, tracking_number: str) -> None:
    """Applies the stored events of that number to its shipments. Events of a parcel that has not shipped yet stay: its
    workflow calls this again after the shipment."""
    for parcel in connection.execute(_SHIPMENTS, {"tracking_number": tracking_number}).all():
        if _apply(connection, parcel.order_id, parcel.id, tracking_number, parcel.carrier, alone=parcel.number == 1):
            _publish(connection, parcel.order_id, parcel.id)


def load(connection: Connection, ref: ShipmentRef) -> ShipmentSnapshot:
    """Applies the events that arrived before the shipment, and loads the snapshot. Raises NotFound."""
    row = connection.execute(_SNAPSHOT, {"id": ref.shipment_id}).first()
    if row is None:
        raise NotFound("There is no such shipment")
    apply_carrier_events(connection, row.tracking_number)
    row = connection.execute(_SNAPSHOT, {"id": ref.shipment_id}).one()
    return ShipmentSnapshot(status=row.status, last_event_at=row.heard_at, tracking_number=row.tracking_number)


def record_tracking_event(connection: Connection, command: RecordTrackingEvent) -> StoredOrder:
    """Records a tracking event entered by staff. Idempotent; a late one is recorded without a change of status. Raises
    NotFound, InvalidTransition for a parcel with a final status."""
    stored, now = lock_order(connection, command.order_id)
    shipment = stored.order.shipment(command.shipment_id)
    if shipment is None:
        raise NotFound("There is no such shipment")
    tracking_event = TrackingEvent(status=command.status, at=command.at, location=command.location)
    if _known(shipment, tracking_event):
        return stored
    advance(SHIPMENT_TRANSITIONS, shipment.status, tracking_event.status)
    order = _append_event(
        connection, stored.order, command.shipment_id, tracking_event, now=now, actor=command.actor, cause=command.cause
    )
    _set_status(connection, order, command.shipment_id)
    _publish(connection, command.order_id, command.shipment_id)
    return stored._replace(order=order)


def declare_shipment_lost(connection: Connection, command: DeclareShipmentLost) -> None:
    """Marks a parcel without tracking events as lost. Does nothing if an event arrived meanwhile."""
    stored, now = lock_order(connection, command.order_id)
    shipment = stored.order.shipment(command.shipment_id)
    row = connection.execute(_SNAPSHOT, {"id": command.shipment_id}).one()
    if shipment is None or shipment.status in PARCEL_ENDS or row.heard_at != command.last_event_at:
        return
    tracking_event = TrackingEvent(status=ShipmentStatus.LOST, at=now)
    order = _append_event(
        connection, stored.order, command.shipment_id, tracking_event, now=now, actor=SYSTEM, cause=command.shipment_id
    )
    _set_status(connection, order, command.shipment_id)


def _apply(
    connection: Connection, order_id: str, shipment_id: str, tracking_number: str, carrier: str, *, alone: bool
) -> bool:
    stored, now = lock_order(connection, order_id)
    order = stored.order
    events = connection.execute(
        _WAITING, {"tracking_number": tracking_number, "carrier": carrier, "alone": alone}
    ).all()
    if not events:
        return False
    for carrier_event in events:
        order = _append_event(
            connection,
            order,
            shipment_id,
            TrackingEvent(
                status=ShipmentStatus(carrier_event.status), at=carrier_event.at, location=carrier_event.location
            ),
            now=now,
            actor=Actor(type="machine", id=carrier_event.gateway),
            cause=carrier_event.event_id,
        )
    _set_status(connection, order, shipment_id, eta=events[-1].eta)
    for gateway in {carrier_event.gateway for carrier_event in events}:
        event_ids = [carrier_event.event_id for carrier_event in events if carrier_event.gateway == gateway]
        connection.execute(_APPLIED, {"gateway": gateway, "event_ids": event_ids})
    return True


def _known(shipment: OrderShipment, tracking_event: TrackingEvent) -> bool:
    return any(known.status is tracking_event.status and known.at == tracking_event.at for known in shipment.events)


def _append_event(
    connection: Connection,
    order: Order,
    shipment_id: str,
    tracking_event: TrackingEvent,
    *,
    now: datetime,
    actor: Actor,
    cause: str,
) -> Order:
    """Appends one tracking event to the order, with its consequences for mails, tasks, returns and the status."""
    shipment = order.shipment(shipment_id)
    assert shipment is not None
    if _known(shipment, tracking_event):
        return order
    late = is_late(shipment.status, shipment.events, tracking_event)
    fact = {
        "shipment_id": shipment_id,
        "status": tracking_event.status,
        "at": rfc3339(tracking_event.at),
        "location": tracking_event.location,
        **({"late": True} if late else {}),
    }
    event = orders.SHIPMENT_SCANNED if late else _EVENTS.get(tracking_event.status, orders.SHIPMENT_SCANNED)
    order = append(connection, order, [(event, fact)], now=now, actor=actor, cause=cause)
    if late or tracking_event.status not in PARCEL_ENDS:
        return order
    _finish(connection, order, shipment_id, tracking_event.status)
    if tracking_event.status is ShipmentStatus.RETURNED_TO_SENDER:
        order = _expect_return(connection, order, shipment_id, now, Initiator(actor=actor, cause=cause))
    ended = shipments_have_ended(order)
    if ended is None:
        return order
    delivered = ended is OrderStatus.DELIVERED
    last = orders.ORDER_DELIVERED if delivered else orders.ORDER_RETURNED
    # Published through the outbox: the update that led here may be lost with its server.
    topic = topics.ORDER_DELIVERED if delivered else topics.ORDER_CHANGED
    outbox.publish(connection, topic, order.id, topics.OrderRef(order_id=order.id))
    return append(connection, order, [(last, {})], now=now, actor=actor, cause=cause)


def _finish(connection: Connection, order: Order, shipment_id: str, status: ShipmentStatus) -> None:
    """Queues the buyer's mail; opens a manual task for a parcel that did not arrive."""
    if status is ShipmentStatus.DELIVERED:
        order_notices.queue(connection, order.id, OrderNotice.DELIVERED, shipment_id)
    elif status is ShipmentStatus.LOST:
        order_notices.queue(connection, order.id, OrderNotice.PARCEL_LOST, shipment_id)
        _task(connection, "parcel-lost", order, shipment_id)
    else:
        _task(connection, "parcel-returned", order, shipment_id)


def _expect_return(
    connection: Connection, order: Order, shipment_id: str, now: datetime, initiator: Initiator
) -> Order:
    """Opens a return for a parcel returned to sender, so that it is received, restocked and refunded like any return.
    An order whose status allows no return (completed) only has the manual task."""
    shipment = order.shipment(shipment_id)
    assert shipment is not None
    left = order.left_to_return()
    back = [
        ReturnLine(line_id=item.line_id, quantity=quantity, reason="returned to sender")
        for item in shipment.lines
        if (quantity := min(item.quantity, left.get(item.line_id, 0))) > 0
    ]
    possible = {order.status, *ORDER_TRANSITIONS[order.status]}
    if not back or OrderStatus.RETURN_REQUESTED not in possible:
        return order
    return_id = derived_id("ret", shipment_id)
    order = returns.expect(
        connection, order, back, return_id=return_id, initiator=initiator, now=now, expires_seconds=EXPECTED_SECONDS
    )
    outbox.publish(connection, topics.ORDER_CHANGED, order.id, topics.OrderRef(order_id=order.id))
    return order


def _task(connection: Connection, kind: str, order: Order, shipment_id: str) -> None:
    detail = f"a parcel of order {order.number} ({order.id})"
    tasks.open_task(connection, OpenTask(kind=kind, subject=shipment_id, detail=detail))


def _set_status(connection: Connection, order: Order, shipment_id: str, eta: datetime | None = None) -> None:
    shipment = order.shipment(shipment_id)
    assert shipment is not None
    connection.execute(_SET_STATUS, {"id": shipment_id, "status": shipment.status, "eta": eta})


def _publish(connection: Connection, order_id: str, shipment_id: str) -> None:
    event = topics.ShipmentChanged(shipment_id=shipment_id, order_id=order_id)
    outbox.publish(connection, topics.SHIPMENT_CHANGED, shipment_id, event)
