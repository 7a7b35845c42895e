"""Packing lists and the carrier's rates."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api.auth import Warehouse
from api.fields import Id
from api.schemas.responses import PackingOut, Problem, RatesOut
from api.services import Shop
from models.db.repositories.delivery import audit
from models.db.repositories.orders import labels
from models.db.repositories.orders import orders as order_repository
from models.errors import NotFound

router = APIRouter(responses={404: {"model": Problem}})


@router.get("/v1/fulfilment/orders/{order_id}", tags=["fulfilment"], response_model=PackingOut)
def read_packing(shop: Shop, caller: Warehouse, order_id: Id) -> JSONResponse:
    """What each stock location sends of an order, and to whom."""
    with shop.database.autocommit() as connection:
        stored = order_repository.require_order(connection, order_id)
        audit.append(connection, caller, "fulfilment.order_read", order_id)
        return JSONResponse(labels.packing(connection, stored))


@router.get(
    "/v1/fulfilment/orders/{order_id}/rates",
    tags=["fulfilment"],
    response_model=RatesOut,
    responses={status: {"model": Problem} for status in (422, 503)},
)
def read_rates(
    shop: Shop, caller: Warehouse, order_id: Id, location: Annotated[str | None, Query(max_length=64)] = None
) -> JSONResponse:
    """The carrier's rates for a parcel to the buyer, from that stock location or the first one with an allocation."""
    if shop.carrier is None:
        raise NotFound("The shop has no carrier")
    with shop.database.autocommit() as connection:
        ends = labels.addresses_of_order(connection, order_id, location)
    found: list[dict[str, Any]] = [rate.model_dump() for rate in shop.carrier.rates(*ends)]
    return JSONResponse({"carrier": shop.carrier.name, "items": found})
