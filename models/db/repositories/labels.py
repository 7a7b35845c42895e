"""Labels of planned parcels: where the carrier fetches and brings them, and what it sold."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

from models.errors import InvalidRequest, NotFound
from models.parcels import Label, Stop

# A parcel from several locations is fetched at the one that is asked first.
_ENDS = text("""
SELECT o.shipping_address AS receiver, l.title, l.country, l.region, l.postal_code
FROM shipments s JOIN orders o ON o.id = s.order_id
LEFT JOIN LATERAL (
    SELECT l.* FROM stock_locations l
    WHERE l.country IS NOT NULL AND (l.code = s.location OR s.location IS NULL AND EXISTS (
        SELECT 1 FROM stock_holds h WHERE h.checkout_id = o.checkout_id AND h.location = l.code))
    ORDER BY l.priority, l.code LIMIT 1) l ON true
WHERE s.id = :shipment_id
""")

_KEEP = text("""
UPDATE shipments SET carrier = :carrier, tracking_number = :tracking_number, label_id = :id, label_url = :url,
    eta = :eta WHERE id = :shipment_id AND status = 'preparing'
""")


def ends_of(connection: Connection, shipment_id: str) -> tuple[Stop, Stop]:
    """Sender and receiver. Raises NotFound for a parcel that isn't planned, InvalidRequest where one is nowhere."""
    row = connection.execute(_ENDS, {"shipment_id": shipment_id}).first()
    if row is None:
        raise NotFound("There is no such shipment")
    return sender(row), receiver(row.receiver)


def sender(location: Any) -> Stop:
    """Of a row of `stock_locations`."""
    if location.country is None:
        raise InvalidRequest.at("/tracking_number", "is needed: the stock location has no country to send from")
    return Stop(name=location.title, country=location.country, region=location.region, postal_code=location.postal_code)


def receiver(address: dict[str, Any] | None) -> Stop:
    """Of an order's shipping address."""
    if address is None:
        raise InvalidRequest.at("/tracking_number", "is needed: the order has no address to send to")
    return Stop.model_validate(address)


def keep(connection: Connection, shipment_id: str, label: Label) -> None:
    """What was bought for a planned parcel; repeated, it changes nothing."""
    connection.execute(_KEEP, {"shipment_id": shipment_id, **label.model_dump()})
