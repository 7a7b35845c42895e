"""What the warehouse asks of an order and what it is told: one command in, one result out."""

from __future__ import annotations

from datetime import datetime

from models.base import Record
from models.money import Money
from models.orders.orders import Actor, ShippedLine
from models.orders.parcels import SERVICE
from models.states import ShipmentStatus


class FulfilOrder(Record):
    """The Order process begins; everything else about it is in the database. Times in seconds.

    `resumed`: an earlier execution was ended by hand, or left a long history behind, so this one looks first at how
    far it had come. `told`: that one has written to the buyer. `history_limit`: in events, well above 30, where the
    server's own advice would come too late.
    """

    order_id: str
    return_window_seconds: float
    resumed: bool = False
    notified: bool = False
    history_limit: int | None = None


class CreateShipment(Record):
    """The warehouse hands a parcel over. `cause` is the command's own id; `key_digest` where it carried a key.

    Without a tracking number a label of that `service` is bought from the carrier. `location`: the stock location that
    it leaves from; None: one that has all of it, if there is one. `begun`: only what is planned already goes on.
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
    """What shipping it takes from the buyer: nothing where `reference` is None. `before`: what was taken before it.

    `unfinished`: nothing was planned, for that parcel's handing over never came to its end, and its money may be taken.
    """

    capture: Money
    captured_before: Money
    final: bool
    provider: str | None
    reference: str | None
    finished: bool = False  # it had gone out before, or is not to go any more
    repeated: bool = False  # it was planned before
    unfinished: CreateShipment | None = None


class CapturePayment(Record):
    """`retrieve_first`: it may have been taken long ago, under a key that the provider has forgotten."""

    shipment_id: str
    provider: str
    reference: str
    amount: Money
    captured_before: Money
    final: bool
    retrieve_first: bool = False


class RecordTrackingEvent(Record):
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


class ShipmentRef(Record):
    order_id: str
    shipment_id: str


class BuyLabel(Record):
    """What it is for stands in the database: addresses are no payload. `retrieve_first`: one may have been bought."""

    order_id: str
    shipment_id: str
    service: str
    retrieve_first: bool = False


class TrackShipment(Record):
    """A parcel has left. Times in seconds: between two questions to the carrier, and of silence until it is lost.

    `looks`: after so many the execution begins anew, with an empty history; `mark` and `since` go on with it.
    """

    order_id: str
    shipment_id: str
    poll_seconds: float
    silence_seconds: float
    max_polls: int = 100
    last_event_at: datetime | None = None  # when it was last heard of, by the database's clock
    noticed_at: datetime | None = None  # when that was noticed, by the workflow's


class ShipmentSnapshot(Record):
    """`heard_at` only tells one word from the next; `asked`: the carrier has answered just now."""

    status: ShipmentStatus
    last_event_at: datetime
    tracking_number: str
    polled: bool = False


class DeclareShipmentLost(Record):
    """Unless it was heard of since `heard_at`."""

    order_id: str
    shipment_id: str
    last_event_at: datetime
