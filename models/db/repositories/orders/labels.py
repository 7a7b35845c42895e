"""Senders and receivers of shipments, for packing and for the carrier's labels."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from models.db.repositories.orders import shipments
from models.db.repositories.orders.orders import StoredOrder
from models.errors import InvalidRequest, NotFound
from models.orders.parcels import Label, Stop

# A parcel from several locations is picked up at the one with the lowest priority.
_ADDRESSES = text("""
SELECT o.shipping_address AS receiver, l.title, l.country, l.region, l.postal_code
FROM shipments s JOIN orders o ON o.id = s.order_id
LEFT JOIN LATERAL (
    SELECT l.* FROM stock_locations l
    WHERE l.country IS NOT NULL AND (l.code = s.location OR s.location IS NULL AND EXISTS (
        SELECT 1 FROM stock_holds h WHERE h.checkout_id = o.checkout_id AND h.location = l.code))
    ORDER BY l.priority, l.code LIMIT 1) l ON true
WHERE s.id = :shipment_id
""")

_ADDRESSES_OF_ORDER = text("""
SELECT o.shipping_address AS receiver, l.title, l.country, l.region, l.postal_code
FROM orders o LEFT JOIN LATERAL (
    SELECT l.* FROM stock_locations l JOIN stock_holds h ON h.location = l.code
    WHERE h.checkout_id = o.checkout_id AND (CAST(:location AS text) IS NULL OR l.code = :location)
    ORDER BY l.country IS NULL, l.priority, l.code LIMIT 1) l ON true
WHERE o.id = :order_id
""")

_ALLOCATIONS = text("""
SELECT h.location, l.title, h.sku, h.quantity, h.shipped
FROM stock_holds h JOIN stock_locations l ON l.code = h.location
WHERE h.checkout_id = :checkout_id AND h.state IN ('allocated', 'shipped') ORDER BY l.priority, h.location, h.sku
""")

_STORE = text("""
UPDATE shipments SET carrier = :carrier, tracking_number = :tracking_number, label_id = :id, label_url = :url,
    eta = :eta WHERE id = :shipment_id AND status = 'preparing'
""")


def addresses_of(connection: Connection, shipment_id: str) -> tuple[Stop, Stop]:
    """Sender and receiver. Raises NotFound for an unknown shipment, InvalidRequest without a country or an address."""
    row = connection.execute(_ADDRESSES, {"shipment_id": shipment_id}).first()
    if row is None:
        raise NotFound("There is no such shipment")
    return sender(row), receiver(row.receiver)


def addresses_of_order(connection: Connection, order_id: str, location: str | None) -> tuple[Stop, Stop]:
    """Sender and receiver of an order's units at `location`. Raises NotFound, InvalidRequest."""
    row = connection.execute(_ADDRESSES_OF_ORDER, {"order_id": order_id, "location": location}).first()
    if row is None:
        raise NotFound("There is no such order")
    if row.title is None:
        raise InvalidRequest.at("/location", "has nothing of this order")
    return sender(row), receiver(row.receiver)


def packing(connection: Connection, stored: StoredOrder) -> dict[str, Any]:
    """The API's packing view of an order: allocations by location, the address, and the shipped units."""
    order = stored.order
    line_of = {line.sku: line for line in order.lines}
    left = order.left_to_ship()
    allocations: dict[str, dict[str, Any]] = {}
    for row in connection.execute(_ALLOCATIONS, {"checkout_id": order.checkout_id}):
        place = allocations.setdefault(row.location, {"location": row.location, "title": row.title, "lines": []})
        units = {"quantity": row.quantity, "shipped": row.shipped, "left": row.quantity - row.shipped}
        place["lines"].append({"line_id": line_of[row.sku].id, "sku": row.sku, **units})
    beside = shipments.label_details(connection, order.id)
    return {
        "order_id": order.id,
        "number": order.number,
        "status": order.status,
        "shipping_option": order.shipping_option,
        "shipping_address": stored.shipping,
        "lines": [
            {**line.model_dump(include={"id", "sku", "title", "quantity", "shipped"}), "left": left.get(line.id, 0)}
            for line in order.lines
        ],
        "allocations": list(allocations.values()),
        "shipments": [{**parcel.model_dump(mode="json"), **beside[parcel.id]} for parcel in order.shipments],
    }


def sender(location: Any) -> Stop:
    """The sender for a row of `stock_locations`. Raises InvalidRequest without a country."""
    if location.country is None:
        raise InvalidRequest.at("/tracking_number", "is needed: the stock location has no country to send from")
    return Stop(name=location.title, country=location.country, region=location.region, postal_code=location.postal_code)


def receiver(address: dict[str, Any] | None) -> Stop:
    """The receiver for an order's shipping address. Raises InvalidRequest without one."""
    if address is None:
        raise InvalidRequest.at("/tracking_number", "is needed: the order has no address to send to")
    return Stop.model_validate(address)


def store(connection: Connection, shipment_id: str, label: Label) -> None:
    """Stores the label of a planned shipment. Idempotent."""
    connection.execute(_STORE, {"shipment_id": shipment_id, **label.model_dump()})
