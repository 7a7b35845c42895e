"""Carriers: rates, labels, and tracking events, which may come late, twice and in any order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import AwareDatetime

from models.base import Record, Storable
from models.money import Money
from models.orders.orders import TrackingEvent
from models.states import PARCEL_ENDS, SHIPMENT_TRANSITIONS, ShipmentStatus

# The statuses that a carrier may report; the ones before are set by shipping.
CARRIER_STATUSES = tuple(s for s in ShipmentStatus if s not in (ShipmentStatus.PREPARING, ShipmentStatus.SHIPPED))

SERVICE = "standard"
"""The default service of a label."""


class Stop(Record):
    """Sender or receiver of a parcel, as a carrier needs it."""

    name: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str


class Rate(Record):
    """Price and delivery time of a service."""

    service: str
    price: Money
    days: int


class Label(Record):
    """A bought label: `id` is the carrier's, `url` the printable label, `eta` the announced delivery in UTC."""

    id: Storable
    carrier: Storable
    tracking_number: Storable
    url: Storable
    eta: datetime | None


class CarrierEvent(Record):
    """A tracking event as a carrier reports it. `id`: the carrier's, unique; `at`: by the carrier's clock."""

    id: Storable
    tracking_number: Storable
    carrier: Storable | None
    status: ShipmentStatus
    at: AwareDatetime
    location: Storable | None = None
    eta: AwareDatetime | None = None


def status_of(events: Iterable[TrackingEvent]) -> ShipmentStatus:
    """The status of a parcel without a final event, independent of the order in which the events arrived.

    It is that of the newest event by the carrier's clock; but a refused parcel stays `refused` on its way back.
    """
    by_time = sorted(events, key=lambda event: (event.at, event.status))
    if any(event.status is ShipmentStatus.REFUSED for event in by_time):
        return ShipmentStatus.REFUSED
    return by_time[-1].status if by_time else ShipmentStatus.SHIPPED


def is_late(status: ShipmentStatus, known: Iterable[TrackingEvent], event: TrackingEvent) -> bool:
    """Whether an event no longer changes a parcel of that status. The first final event always does."""
    if event.status not in SHIPMENT_TRANSITIONS[status]:
        return True
    return event.status not in PARCEL_ENDS and status_of([*known, event]) is not event.status
