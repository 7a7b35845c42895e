"""What people ask of an order beside shipping it, and how it stands for the process that carries it."""

from __future__ import annotations

from models.base import Record
from models.orders.fulfilment import CreateShipment
from models.orders.orders import Actor
from models.states import OrderStatus


class By(Record):
    """Who asks, and the id of what led to it. An operator who types an update in the Temporal UI may send `{}`."""

    actor: Actor = Actor(type="staff")
    cause: str = ""


class OrderRequest(Record):
    order_id: str
    initiator: By


class OrderSnapshot(Record):
    """`unneeded`: minor units that the bank has promised and nobody will ever capture.

    `since_delivery`: seconds by the database's clock, once the order is delivered. `unfinished`: a parcel that is
    being handed over, or whose handing over was cut off.
    """

    status: OrderStatus
    fulfilment: OrderStatus
    unused_authorisation: int = 0
    since_delivery: float = 0.0
    unfinished: CreateShipment | None = None


class ReleaseAuthorisation(Record):
    """What nobody will capture goes back to the buyer's bank. `cause`: the cancellation."""

    order_id: str
