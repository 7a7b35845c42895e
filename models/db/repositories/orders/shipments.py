"""The transactions of a shipment: plan it, then confirm it after the capture.

Labels are in labels.py, tracking in parcels.py.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from models import topics
from models.catalogue.inventory import Movement
from models.db.repositories import ledger
from models.db.repositories.catalogue import inventory
from models.db.repositories.delivery import outbox
from models.db.repositories.orders import notices as order_notices
from models.db.repositories.orders.orders import StoredOrder, append, lock_order
from models.delivery.stored_responses import StoredResponse, rfc3339
from models.errors import Conflict, NotEnoughToShip
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.fulfilment import CreateShipment, ShipmentPlanned
from models.orders.notices import OrderNotice
from models.orders.orders import SYSTEM, Order, ShippedLine
from models.orders.parcels import SERVICE
from models.states import OrderStatus

_PAYMENT = text("SELECT provider, reference, captured, currency FROM payments WHERE id = :payment_id")

_PLANNED = text("SELECT * FROM shipments WHERE order_id = :order_id AND status = 'preparing' ORDER BY created_at, id")

_PLAN = text("""
INSERT INTO shipments (id, order_id, status, carrier, tracking_number, service, lines, capture_amount, location)
VALUES (:shipment_id, :order_id, 'preparing', :carrier, :tracking_number, :service, CAST(:lines AS jsonb), :capture,
    :location)
""")

_SHIP = text(f"""
WITH shipment AS (UPDATE shipments SET status = 'shipped', heard_at = now() WHERE id = :shipment_id),
    paid AS (UPDATE payments SET captured = captured + :amount, state = 'captured'
        WHERE id = :payment_id AND :amount > 0
        RETURNING id, currency)
{
    ledger.insert(
        ledger.entry(EntryKind.CAPTURE, "paid", ":shipment_id", ":amount"),
        ledger.entry(EntryKind.AUTHORISATION_USED, "paid", ":shipment_id", ":amount"),
    )
}
""")  # noqa: S608  constants

_LOCK_HOLDS = text("""
SELECT h.sku, h.location, h.quantity - h.shipped AS left
FROM stock_levels s JOIN stock_holds h ON h.sku = s.sku AND h.location = s.location
WHERE h.checkout_id = :checkout_id AND h.state = 'allocated' ORDER BY s.sku, s.location FOR UPDATE OF s
""")

_ALLOCATED = text("""
SELECT sku, location, quantity - shipped AS left FROM stock_holds
WHERE checkout_id = :checkout_id AND state = 'allocated' ORDER BY location, sku
""")

_READ = text("SELECT carrier, tracking_number, location FROM shipments WHERE id = :id")

_CONSUME = inventory.statement(
    """
WITH gone AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:quantities AS int[]))
        AS g (sku, location, quantity)),
    holds AS (UPDATE stock_holds h SET shipped = h.shipped + g.quantity,
            state = CASE WHEN h.shipped + g.quantity = h.quantity THEN 'shipped' ELSE h.state END
        FROM gone g WHERE h.checkout_id = :checkout_id AND h.sku = g.sku AND h.location = g.location),
    {moved}
SELECT sku FROM moved
""",
    Movement.SHIP,
    "gone",
)


def plan_shipment(connection: Connection, command: CreateShipment) -> ShipmentPlanned:
    """Plans a shipment: its amount to capture and its location. An unfinished other shipment has to be finished first.

    Raises InvalidTransition, NotEnoughToShip (also for the units allocated at `location`), Conflict (known tracking
    number).
    """
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    started = unfinished(connection, order.id)
    planned = any(parcel.shipment_id == command.shipment_id for parcel in started)
    if order.shipment(command.shipment_id) is not None or (command.resume_only and not planned):
        return _no_plan(order, finished=True)
    if started and not planned:
        return _no_plan(order, unfinished=started[0])
    if order.status is OrderStatus.CONFIRMED:
        order = append(
            connection,
            order,
            [(orders.ORDER_PROCESSING, {})],
            now=now,
            actor=command.actor,
            cause=command.cause,
        )
    order.step(_status_after(order, command.lines))
    order.check_parcel(command.lines)
    capture = order.amount_to_capture(command.lines)
    if not planned:
        _plan(connection, order, command, capture)
    payment = connection.execute(_PAYMENT, {"payment_id": order.payment.id}).first()
    paid = payment is not None and capture.amount > 0
    return ShipmentPlanned(
        capture=capture,
        captured_before=Money.of(payment.captured if payment else 0, order.currency),
        final=_status_after(order, command.lines) is OrderStatus.SHIPPED,
        provider=payment.provider if payment and paid else None,
        reference=payment.reference if payment and paid else None,
        repeated=planned,
    )


def _no_plan(order: Order, *, finished: bool = False, unfinished: CreateShipment | None = None) -> ShipmentPlanned:
    zero = Money.zero(order.currency)
    return ShipmentPlanned(
        capture=zero,
        captured_before=zero,
        final=False,
        provider=None,
        reference=None,
        finished=finished,
        unfinished=unfinished,
    )


def _plan(connection: Connection, order: Order, command: CreateShipment, capture: Money) -> None:
    values = {
        **command.model_dump(include={"shipment_id", "order_id", "carrier", "tracking_number"}),
        "service": command.service if command.tracking_number is None else None,
        "lines": f"[{','.join(line.model_dump_json() for line in command.lines)}]",
        "capture": capture.amount,
        "location": _location(connection, order, command),
    }
    try:
        connection.execute(_PLAN, values)
    except IntegrityError as error:
        raise Conflict("Another shipment has this carrier and tracking number") from error
    outbox.schedule(connection, command.shipment_id, topics.ORDER_CHANGED, topics.OrderRef(order_id=command.order_id))


def unfinished(connection: Connection, order_id: str) -> list[CreateShipment]:
    """Commands that resume the planned, unconfirmed shipments, oldest first."""
    return [
        CreateShipment(
            order_id=order_id,
            shipment_id=row.id,
            lines=[ShippedLine.model_validate(line) for line in row.lines],
            carrier=row.carrier,
            tracking_number=None if row.service else row.tracking_number,
            actor=SYSTEM,
            cause=row.id,
            service=row.service or SERVICE,
            location=row.location,
            resume_only=True,
        )
        for row in connection.execute(_PLANNED, {"order_id": order_id})
    ]


def confirm_shipment(connection: Connection, command: CreateShipment, captured: Money) -> StoredOrder:
    """Records the capture, the shipment and its stock movement. Idempotent."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    if order.shipment(command.shipment_id) is not None:
        return stored
    planned = connection.execute(_READ, {"id": command.shipment_id}).one()
    facts: list[tuple[str, dict[str, Any]]] = []
    if captured.amount:
        facts.append(
            (
                orders.PAYMENT_CAPTURED,
                {
                    "payment_id": order.payment.id,
                    "shipment_id": command.shipment_id,
                    "amount": captured.model_dump(),
                },
            )
        )
    facts.append(
        (
            orders.SHIPMENT_CREATED,
            {
                "id": command.shipment_id,
                "carrier": planned.carrier,
                "tracking_number": planned.tracking_number,
                "location": planned.location,
                "lines": [line.model_dump() for line in command.lines],
                "captured": captured.model_dump(),
            },
        )
    )
    whole = _status_after(order, command.lines) is OrderStatus.SHIPPED
    facts.append((orders.ORDER_SHIPPED if whole else orders.ORDER_PARTIALLY_SHIPPED, {}))
    _take_stock(connection, order, command.lines, planned.location)
    connection.execute(
        _SHIP,
        {"shipment_id": command.shipment_id, "payment_id": order.payment.id, "amount": captured.amount},
    )
    outbox.withdraw(connection, command.shipment_id)
    order = append(connection, order, facts, now=now, actor=command.actor, cause=command.cause)
    event = topics.ShipmentChanged(shipment_id=command.shipment_id, order_id=order.id)
    outbox.publish(connection, topics.SHIPMENT_CREATED, command.shipment_id, event)
    order_notices.queue(connection, order.id, OrderNotice.SHIPPED, command.shipment_id)
    return stored._replace(order=order)


def drop_plan(connection: Connection, shipment_id: str) -> None:
    """Deletes the plan of a shipment whose capture failed; its tracking number can be used again."""
    connection.execute(
        text("DELETE FROM shipments WHERE id = :id AND status = 'preparing'"),
        {"id": shipment_id},
    )
    outbox.withdraw(connection, shipment_id)


def _units(order: Order, parcel: list[ShippedLine]) -> dict[str, int]:
    """Units by SKU."""
    sku_of = {line.id: line.sku for line in order.lines}
    units: dict[str, int] = {}
    for item in parcel:
        units[sku_of[item.line_id]] = units.get(sku_of[item.line_id], 0) + item.quantity
    return units


def _location(connection: Connection, order: Order, command: CreateShipment) -> str | None:
    """The location where all units are allocated: the requested one, else the first such; None: there is none."""
    wanted = _units(order, command.lines)
    left: dict[str, dict[str, int]] = {}
    for sku, location, units in connection.execute(_ALLOCATED, {"checkout_id": order.checkout_id}):
        left.setdefault(location, {})[sku] = units
    able = [place for place, units in left.items() if all(units.get(sku, 0) >= n for sku, n in wanted.items())]
    if command.location is None:
        return able[0] if able else None
    if command.location not in able:
        raise NotEnoughToShip(f"Not all of it is allocated at {command.location}", location=command.location, left=left)
    return command.location


def _take_stock(connection: Connection, order: Order, parcel: list[ShippedLine], leaves: str | None) -> None:
    """Ships the allocated units, from the location `leaves` or, with None, from several."""
    wanted = _units(order, parcel)
    gone = []
    for sku, location, left in connection.execute(_LOCK_HOLDS, {"checkout_id": order.checkout_id}):
        quantity = min(left, wanted.get(sku, 0)) if leaves in (None, location) else 0
        if quantity:
            gone.append((sku, location, quantity))
            wanted[sku] -= quantity
    assert not any(wanted.values()), "allocated stock covers every unit of an order"
    _CONSUME.execute(
        connection,
        {
            "checkout_id": order.checkout_id,
            "skus": [part[0] for part in gone],
            "locations": [part[1] for part in gone],
            "quantities": [part[2] for part in gone],
        },
    )


def _status_after(order: Order, parcel: list[ShippedLine]) -> OrderStatus:
    left = order.left_to_ship()
    for item in parcel:
        left[item.line_id] = left.get(item.line_id, 0) - item.quantity
    return OrderStatus.PARTIALLY_SHIPPED if any(q > 0 for q in left.values()) else OrderStatus.SHIPPED


def shipment_response(connection: Connection, stored: StoredOrder, shipment_id: str) -> StoredResponse:
    """The API's Shipment with its label and order."""
    shipment = stored.order.shipment(shipment_id)
    assert shipment is not None
    return StoredResponse.of(
        201,
        {
            **shipment.model_dump(mode="json"),
            **label_details(connection, stored.order.id)[shipment_id],
            "order_id": stored.order.id,
            "order": stored.view(),
        },
    )


def label_details(connection: Connection, order_id: str) -> dict[str, dict[str, Any]]:
    """`label_url` and the carrier's present `eta` of an order's shipments, which are not in events."""
    rows = connection.execute(
        text("SELECT id, label_url, eta FROM shipments WHERE order_id = :order_id"), {"order_id": order_id}
    )
    return {row.id: {"label_url": row.label_url, "eta": rfc3339(row.eta) if row.eta else None} for row in rows}


def order_of_shipment(connection: Connection, shipment_id: str) -> str | None:
    return connection.execute(
        text("SELECT order_id FROM shipments WHERE id = :id"), {"id": shipment_id}
    ).scalar_one_or_none()
