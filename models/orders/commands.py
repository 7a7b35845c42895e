"""Commands to an order other than shipping it, and the Order workflow's snapshot."""

from __future__ import annotations

from models.base import Record
from models.orders.fulfilment import CreateShipment
from models.orders.orders import Actor
from models.states import OrderStatus


class Initiator(Record):
    """The initiator of a command; `cause`: the id of its request. In the Temporal UI an update may send `{}`."""

    actor: Actor = Actor(type="staff")
    cause: str = ""


class OrderRequest(Record):
    order_id: str
    initiator: Initiator


class OrderSnapshot(Record):
    """`unused_authorisation`: minor units of open authorisations that will never be captured.

    `since_delivery`: seconds by the database's clock, once the order is delivered. `unfinished`: a shipment that is
    in progress, or was interrupted.
    """

    status: OrderStatus
    fulfilment: OrderStatus
    unused_authorisation: int = 0
    since_delivery: float = 0.0
    unfinished: CreateShipment | None = None


class ReleaseAuthorisation(Record):
    """Voids or releases the authorisations that will not be captured."""

    order_id: str
