"""The transactions of a shipment: plan it, then ship it (money taken, stock gone), then follow it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from models import orders
from models.answers import Answer, rfc3339
from models.db.repositories import outbox
from models.db.repositories.orders import StoredOrder, append, lock_order
from models.errors import Conflict, NotFound
from models.fulfilment import ParcelPlanned, ScanParcel, ShipParcel
from models.money import Money
from models.orders import Order, ShippedLine
from models.states import ORDER_TRANSITIONS, OrderStatus, ShipmentStatus, advance

_PAYMENT = text("SELECT provider, reference, captured, currency FROM payments WHERE id = :payment_id")

_PLAN = text("""
INSERT INTO shipments (id, order_id, status, carrier, tracking_number, lines, capture_amount)
VALUES (:shipment_id, :order_id, 'preparing', :carrier, :tracking_number, CAST(:lines AS jsonb), :capture)
ON CONFLICT (id) DO NOTHING
""")

_SHIP = text("""
WITH shipment AS (UPDATE shipments SET status = 'shipped' WHERE id = :shipment_id),
    paid AS (UPDATE payments SET captured = captured + :amount, state = 'captured'
        WHERE id = :payment_id AND :amount > 0
        RETURNING id, currency)
INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)
SELECT e.kind, paid.id, :shipment_id, e.debit, e.credit, paid.currency, :amount
FROM paid, (VALUES ('capture', 'provider_balance', 'sales'),
    ('authorisation_used', 'authorisations', 'provider_authorised')) AS e (kind, debit, credit)
""")

_LOCK_HOLDS = text("""
SELECT h.sku, h.location, h.quantity - h.shipped AS left
FROM stock_levels s JOIN stock_holds h ON h.sku = s.sku AND h.location = s.location
WHERE h.checkout_id = :checkout_id AND h.state = 'allocated' ORDER BY s.sku, s.location FOR UPDATE OF s
""")

_CONSUME = text("""
WITH gone AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:quantities AS int[]))
        AS g (sku, location, quantity)),
    holds AS (UPDATE stock_holds h SET shipped = h.shipped + g.quantity,
            state = CASE WHEN h.shipped + g.quantity = h.quantity THEN 'shipped' ELSE h.state END
        FROM gone g WHERE h.checkout_id = :checkout_id AND h.sku = g.sku AND h.location = g.location)
UPDATE stock_levels s SET on_hand = s.on_hand - g.quantity, reserved = s.reserved - g.quantity
FROM gone g WHERE s.sku = g.sku AND s.location = g.location
""")


def plan_shipment(connection: Connection, command: ShipParcel) -> ParcelPlanned:
    """What this parcel may take. Raises InvalidTransition, NotEnoughToShip, Conflict (tracking number known)."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    shipped = order.shipment(command.shipment_id)
    if shipped is not None:
        return ParcelPlanned(
            capture=shipped.captured,
            before=order.payment.captured,
            final=False,
            provider=None,
            reference=None,
            settled=True,
        )
    if order.status is OrderStatus.CONFIRMED:
        order = append(
            connection,
            order,
            [(orders.ORDER_PROCESSING, {})],
            now=now,
            actor=command.actor,
            cause=command.cause,
        )
    advance(ORDER_TRANSITIONS, order.fulfilment, _status_after(order, command.lines))
    order.check_parcel(command.lines)
    capture = order.amount_to_capture(command.lines)
    try:
        connection.execute(
            _PLAN,
            {
                **command.model_dump(include={"shipment_id", "order_id", "carrier", "tracking_number"}),
                "lines": f"[{','.join(line.model_dump_json() for line in command.lines)}]",
                "capture": capture.amount,
            },
        )
    except IntegrityError as error:
        raise Conflict("Another shipment has this carrier and tracking number") from error
    payment = connection.execute(_PAYMENT, {"payment_id": order.payment.id}).first()
    paid = payment is not None and capture.amount > 0
    return ParcelPlanned(
        capture=capture,
        before=Money.of(payment.captured if payment else 0, order.currency),
        final=_status_after(order, command.lines) is OrderStatus.SHIPPED,
        provider=payment.provider if payment and paid else None,
        reference=payment.reference if payment and paid else None,
    )


def confirm_shipment(connection: Connection, command: ShipParcel, captured: Money) -> StoredOrder:
    """The money is taken: the parcel is out, its stock gone, its events written. Repeated, it adds nothing."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    if order.shipment(command.shipment_id) is not None:
        return stored
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
                "carrier": command.carrier,
                "tracking_number": command.tracking_number,
                "lines": [line.model_dump() for line in command.lines],
                "captured": captured.model_dump(),
            },
        )
    )
    whole = _status_after(order, command.lines) is OrderStatus.SHIPPED
    facts.append((orders.ORDER_SHIPPED if whole else orders.ORDER_PARTIALLY_SHIPPED, {}))
    _take_stock(connection, order, command.lines)
    connection.execute(
        _SHIP,
        {"shipment_id": command.shipment_id, "payment_id": order.payment.id, "amount": captured.amount},
    )
    order = append(connection, order, facts, now=now, actor=command.actor, cause=command.cause)
    return stored._replace(order=order)


def drop_plan(connection: Connection, shipment_id: str) -> None:
    """Its money could not be taken, so nothing leaves; the tracking number is free again."""
    connection.execute(text("DELETE FROM shipments WHERE id = :id AND status = 'preparing'"), {"id": shipment_id})


def _take_stock(connection: Connection, order: Order, parcel: list[ShippedLine]) -> None:
    sku_of = {line.id: line.sku for line in order.lines}
    wanted: dict[str, int] = {}
    for item in parcel:
        wanted[sku_of[item.line_id]] = wanted.get(sku_of[item.line_id], 0) + item.quantity
    gone = []
    for sku, location, left in connection.execute(_LOCK_HOLDS, {"checkout_id": order.checkout_id}):
        quantity = min(left, wanted.get(sku, 0))
        if quantity:
            gone.append((sku, location, quantity))
            wanted[sku] -= quantity
    assert not any(wanted.values()), "allocated stock covers every unit of an order"
    connection.execute(
        _CONSUME,
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


def record_scan(connection: Connection, command: ScanParcel) -> StoredOrder:
    """One more word of the carrier; the last parcel's delivery delivers the order. Repeated, it adds nothing."""
    stored, now = lock_order(connection, command.order_id)
    order = stored.order
    shipment = order.shipment(command.shipment_id)
    if shipment is None:
        raise NotFound("There is no such shipment")
    seen = any(scan.status is command.status and scan.at == command.at for scan in shipment.events)
    if not seen:
        delivered = command.status is ShipmentStatus.DELIVERED
        fact = {
            "shipment_id": shipment.id,
            "status": command.status,
            "at": rfc3339(command.at),
            "location": command.location,
        }
        facts: list[tuple[str, dict[str, Any]]] = [
            (orders.SHIPMENT_DELIVERED if delivered else orders.SHIPMENT_SCANNED, fact)
        ]
        others = [s for s in order.shipments if s.id != shipment.id]
        last = all(s.status is ShipmentStatus.DELIVERED for s in others)
        if delivered and last and order.status is OrderStatus.SHIPPED:
            facts.append((orders.ORDER_DELIVERED, {}))
            # Told by the outbox: the update that brought us here may be lost with the server that holds it.
            outbox.publish(connection, orders.ORDER_DELIVERED, order.id, {"order_id": order.id})
        order = append(connection, order, facts, now=now, actor=command.actor, cause=command.cause)
        connection.execute(
            text("UPDATE shipments SET status = :status WHERE id = :id"),
            {"status": command.status, "id": shipment.id},
        )
    return stored._replace(order=order)


def shipment_answer(stored: StoredOrder, shipment_id: str) -> Answer:
    """The contract's shipment, with the order as it now stands."""
    shipment = stored.order.shipment(shipment_id)
    assert shipment is not None
    return Answer.of(
        201,
        {
            **shipment.model_dump(mode="json"),
            "order_id": stored.order.id,
            "order": stored.view(),
        },
    )


def order_of_shipment(connection: Connection, shipment_id: str) -> str | None:
    return connection.execute(
        text("SELECT order_id FROM shipments WHERE id = :id"), {"id": shipment_id}
    ).scalar_one_or_none()
