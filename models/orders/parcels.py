"""What a carrier sells and says: rates, labels, words about a parcel that come late, twice and in any order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import AwareDatetime

from models.base import Record, Storable
from models.money import Money
from models.orders.orders import TrackingEvent
from models.states import PARCEL_ENDS, SHIPMENT_TRANSITIONS, ShipmentStatus

# Where a parcel may be by a carrier's word; the statuses before it are the warehouse's.
CARRIER_STATUSES = tuple(s for s in ShipmentStatus if s not in (ShipmentStatus.PREPARING, ShipmentStatus.SHIPPED))

SERVICE = "standard"
"""The label that is bought where none is named."""


class Stop(Record):
    """One end of a parcel's way, as far as a carrier needs it."""

    name: str | None = None
    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postal_code: str | None = None
    country: str


class Rate(Record):
    """What a service costs and how many days it takes."""

    service: str
    price: Money
    days: int


class Label(Record):
    """Bought: `id` is the carrier's own, `url` what the warehouse prints, `eta` the promised moment in UTC."""

    id: Storable
    carrier: Storable
    tracking_number: Storable
    url: Storable
    eta: datetime | None


class CarrierEvent(Record):
    """One scan of one parcel. `id` is the carrier's and makes it once; `at` its clock's; `carrier` if it says so."""

    id: Storable
    tracking_number: Storable
    carrier: Storable | None
    status: ShipmentStatus
    at: AwareDatetime
    location: Storable | None = None
    eta: AwareDatetime | None = None


def status_of(scans: Iterable[TrackingEvent]) -> ShipmentStatus:
    """Where a parcel that has not come to its end is, by these scans in whatever order they were heard.

    The newest by the carrier's clock says; but what was once refused at the door is on its way back, wherever it is.
    """
    heard = sorted(scans, key=lambda scan: (scan.at, scan.status))
    if any(scan.status is ShipmentStatus.REFUSED for scan in heard):
        return ShipmentStatus.REFUSED
    return heard[-1].status if heard else ShipmentStatus.SHIPPED


def is_late(status: ShipmentStatus, scans: Iterable[TrackingEvent], scan: TrackingEvent) -> bool:
    """Whether a scan no longer moves a parcel of that status. An end always does, if there has been none before."""
    if scan.status not in SHIPMENT_TRANSITIONS[status]:
        return True
    return scan.status not in PARCEL_ENDS and status_of([*scans, scan]) is not scan.status
