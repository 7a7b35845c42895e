"""What the warehouse asks of an order and what it is told: one command in, one result out."""

from __future__ import annotations

from datetime import datetime

from models.base import Record
from models.money import Money
from models.orders import Actor, ShippedLine
from models.states import ShipmentStatus


class FulfilOrder(Record):
    """The Order process begins; everything else about it is in the database. Times in seconds.

    `resumed`: an earlier execution was ended by hand, so this one looks first at how far it had come.
    """

    order_id: str
    return_window_seconds: float
    resumed: bool = False


class ShipParcel(Record):
    """The warehouse hands a parcel over. `cause` is the command's own id; `key_digest` where it carried a key."""

    order_id: str
    shipment_id: str
    lines: list[ShippedLine]
    carrier: str
    tracking_number: str
    actor: Actor
    cause: str
    key_digest: str | None = None
    fingerprint: str | None = None


class ParcelPlanned(Record):
    """What shipping it takes from the buyer: nothing where `reference` is None. `before`: what was taken before it."""

    capture: Money
    before: Money
    final: bool
    provider: str | None
    reference: str | None
    settled: bool = False  # it had gone out before


class CapturePayment(Record):
    shipment_id: str
    provider: str
    reference: str
    amount: Money
    before: Money
    final: bool


class ScanParcel(Record):
    """What a carrier says of a parcel; `at` in UTC."""

    order_id: str
    shipment_id: str
    status: ShipmentStatus
    at: datetime
    location: str | None
    actor: Actor
    cause: str
    key_digest: str | None = None
    fingerprint: str | None = None


class OrderRef(Record):
    order_id: str
