"""Commands and results of an order's fulfilment and of its shipments."""

from __future__ import annotations

from datetime import datetime

from models.base import Record
from models.money import Money
from models.orders.orders import Actor, ShippedLine
from models.orders.parcels import SERVICE
from models.states import ShipmentStatus


class FulfilOrder(Record):
    """The input of the Order workflow; everything else about the order is in the database. Times in seconds.

    `resumed`: an earlier execution was terminated or continued as new, so this one first loads the order's progress.
    `notified`: the earlier one has sent the confirmation. `history_limit`: events (well above 30) after which it
    continues as new, where the server's own suggestion would come too late.
    """

    order_id: str
    return_window_seconds: float
    resumed: bool = False
    notified: bool = False
    history_limit: int | None = None


class CreateShipment(Record):
    """Ships a parcel. `cause`: the command's own id; `key_digest`: of its Idempotency-Key, if any.

    Without a tracking number a label of `service` is bought from the carrier. `location`: the stock location to ship
    from; None: one that has all units, if there is one. `resume_only`: continues a planned shipment, plans no new one.
    """

    order_id: str
    shipment_id: str
    lines: list[ShippedLine]
    carrier: str
    tracking_number: str | None
    actor: Actor
    cause: str
    key_digest: str | None = None
    fingerprint: str | None = None
    service: str = SERVICE
    location: str | None = None
    resume_only: bool = False


class ShipmentPlanned(Record):
    """`capture`: the amount to capture, nothing if `reference` is None. `captured_before`: of earlier shipments.

    `unfinished`: nothing was planned, because that shipment was interrupted and its money may be captured.
    """

    capture: Money
    captured_before: Money
    final: bool
    provider: str | None
    reference: str | None
    finished: bool = False  # shipped before, or no longer to be shipped
    repeated: bool = False  # planned before
    unfinished: CreateShipment | None = None


class CapturePayment(Record):
    """`retrieve_first`: the capture may be old, made under an idempotency key that the provider no longer has."""

    shipment_id: str
    provider: str
    reference: str
    amount: Money
    captured_before: Money
    final: bool
    retrieve_first: bool = False


class RecordTrackingEvent(Record):
    """A tracking event that staff enters; `at` in UTC."""

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


class ShipmentRef(Record):
    order_id: str
    shipment_id: str


class BuyLabel(Record):
    """The addresses are read from the database: payloads hold no personal data. `retrieve_first`: a label may have been
    bought already."""

    order_id: str
    shipment_id: str
    service: str
    retrieve_first: bool = False


class TrackShipment(Record):
    """The input of the Shipment workflow, which starts when a parcel has left. Times in seconds.

    `poll_seconds`: between two polls of the carrier; `silence_seconds`: without a tracking event until it counts as
    lost. After `max_polls` the workflow continues as new, with `last_event_at` and `noticed_at`.
    """

    order_id: str
    shipment_id: str
    poll_seconds: float
    silence_seconds: float
    max_polls: int = 100
    last_event_at: datetime | None = None  # by the database's clock
    noticed_at: datetime | None = None  # when the workflow loaded that, by its clock


class ShipmentSnapshot(Record):
    """`last_event_at` is only compared for equality; `polled`: the carrier has just answered."""

    status: ShipmentStatus
    last_event_at: datetime
    tracking_number: str
    polled: bool = False


class DeclareShipmentLost(Record):
    """Does nothing if a tracking event arrived after `last_event_at`."""

    order_id: str
    shipment_id: str
    last_event_at: datetime
