"""Commands of the warehouse: create a shipment, which captures its share, and record tracking events."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.auth import Warehouse
from api.commands import Command
from api.fields import Id
from api.idempotency import Key, respond, store_problem
from api.schemas.base import Body, Line
from api.schemas.responses import Problem, ShipmentOut
from api.services import Services, Shop
from api.timestamps import Moment
from models.db.repositories.delivery import stored_responses
from models.db.repositories.orders import orders as order_repository
from models.db.repositories.orders import shipments as shipment_repository
from models.delivery.stored_responses import StoredResponse
from models.errors import HoldfastError, InvalidRequest, NotFound
from models.ids import derived_id, new_id
from models.orders.fulfilment import CreateShipment, RecordTrackingEvent
from models.orders.orders import Actor, ShippedLine
from models.orders.parcels import SERVICE
from models.states import ShipmentStatus
from workflows.order import Order

router = APIRouter(
    prefix="/v1/fulfilment",
    tags=["fulfilment"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422, 503)},
)


class ParcelLine(Body):
    line_id: Line
    quantity: Annotated[int, Field(strict=True, ge=1, le=999)]


class NewShipment(Body):
    """Without a tracking number, a label of that service is bought from the shop's carrier."""

    lines: Annotated[list[ParcelLine], Field(min_length=1, max_length=100)]
    carrier: Line | None = None
    tracking_number: Line | None = None
    service: Line | None = None
    location: Line | None = None


class NewScan(Body):
    status: Literal["in_transit", "out_for_delivery", "delivered", "exception", "refused", "lost", "returned_to_sender"]
    at: Moment | None = None
    location: Line | None = None


@router.post("/orders/{order_id}/shipments", status_code=201, response_model=ShipmentOut)
async def create_shipment(
    request: Request,
    command: Command,
    shop: Shop,
    caller: Warehouse,
    order_id: Id,
    body: NewShipment,
) -> Response:
    """Ships a parcel: its share of the authorisation is captured, its stock consumed."""
    if len({line.line_id for line in body.lines}) != len(body.lines):
        raise InvalidRequest.at("/lines", "names a line twice")
    key = command.key(caller, body)
    stored_response = await run_in_threadpool(_stored_response, shop, key, order_id)
    if stored_response is not None:
        return respond(request, stored_response, replayed=True)
    shipment_id = derived_id("shp", key.digest) if key else new_id("shp")
    parcel = CreateShipment(
        order_id=order_id,
        shipment_id=shipment_id,
        lines=[ShippedLine(line_id=line.line_id, quantity=line.quantity) for line in body.lines],
        carrier=_carrier(shop, body),
        tracking_number=body.tracking_number,
        service=body.service or SERVICE,
        location=body.location,
        actor=Actor(type=caller.kind, id=caller.user_id),
        cause=shipment_id,
        key_digest=key.digest if key else None,
        fingerprint=key.fingerprint if key else None,
    )
    ship = shop.processes.update_order(order_id, Order.ship, parcel, f"ship/{shipment_id}")
    return respond(request, await _run_command(request, shop, key, order_id, shipment_id, ship))


@router.post("/shipments/{shipment_id}/events", status_code=201, response_model=ShipmentOut)
async def create_scan(
    request: Request,
    command: Command,
    shop: Shop,
    caller: Warehouse,
    shipment_id: Id,
    body: NewScan,
) -> Response:
    """Records a tracking event; the last delivery delivers the order."""
    key = command.key(caller, body)
    order_id = await run_in_threadpool(_order_of, shop, shipment_id)
    stored_response = await run_in_threadpool(_stored_response, shop, key, order_id)
    if stored_response is not None:
        return respond(request, stored_response, replayed=True)
    cause = derived_id("evt", key.digest) if key else new_id("evt")
    event = RecordTrackingEvent(
        order_id=order_id,
        shipment_id=shipment_id,
        status=ShipmentStatus(body.status),
        at=body.at or datetime.now(UTC),
        location=body.location,
        actor=Actor(type=caller.kind, id=caller.user_id),
        cause=cause,
        key_digest=key.digest if key else None,
        fingerprint=key.fingerprint if key else None,
    )
    scan = shop.processes.update_order(order_id, Order.record_tracking_event, event, f"scan/{cause}")
    return respond(request, await _run_command(request, shop, key, order_id, shipment_id, scan))


def _carrier(shop: Services, body: NewShipment) -> str:
    """The carrier of the given number, or the one that sells the label. Raises InvalidRequest."""
    if body.tracking_number is not None:
        if body.carrier is None:
            raise InvalidRequest.at("/carrier", "is needed with a tracking number")
        if body.service is not None:
            raise InvalidRequest.at("/service", "is for labels that the shop buys")
        return body.carrier
    if shop.carrier is None or body.carrier not in (None, shop.carrier.name):
        raise InvalidRequest.at("/tracking_number", "is needed: the shop buys no labels of that carrier")
    return shop.carrier.name


async def _run_command(
    request: Request, shop: Services, key: Key | None, order_id: str, shipment_id: str, call: Awaitable[object]
) -> StoredResponse:
    """The response stored under the key, else the shipment's present state."""
    try:
        await call
    except HoldfastError as error:
        return await run_in_threadpool(store_problem, request, shop.database, key, error)
    return await run_in_threadpool(_shipment, shop, key, order_id, shipment_id)


def _shipment(shop: Services, key: Key | None, order_id: str, shipment_id: str) -> StoredResponse:
    with shop.database.autocommit() as connection:
        stored_response = stored_responses.find(connection, key.digest, key.fingerprint) if key else None
        stored = order_repository.read_order(connection, order_id)
        assert stored is not None
        return stored_response or shipment_repository.shipment_response(connection, stored, shipment_id)


def _stored_response(shop: Services, key: Key | None, order_id: str) -> StoredResponse | None:
    with shop.database.autocommit() as connection:
        order_repository.require_order(connection, order_id)
        return stored_responses.load(connection, key.digest, key.fingerprint).answer if key else None


def _order_of(shop: Services, shipment_id: str) -> str:
    with shop.database.autocommit() as connection:
        order_id = shipment_repository.order_of_shipment(connection, shipment_id)
    if order_id is None:
        raise NotFound("There is no such shipment")
    return order_id
