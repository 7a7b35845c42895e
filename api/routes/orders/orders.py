"""Reads of orders, from the database."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from api import paging
from api.auth import Caller, CartToken, owns_cart
from api.fields import Id
from api.paging import Cursor, Limit
from api.schemas.responses import EventPage, OrderOut, OrderPage, Problem
from api.services import Services, Shop
from api.timestamps import Since, Until
from models.accounts.access import Principal, Scope
from models.db.repositories.delivery import audit
from models.db.repositories.orders import orders as repository
from models.db.repositories.orders import search as order_search
from models.db.repositories.orders import shipments
from models.db.repositories.orders.orders import StoredOrder
from models.db.repositories.orders.search import Search
from models.errors import BadCursor, Forbidden, NotFound, Unauthenticated
from models.orders.search_terms import query_terms
from models.states import OrderStatus

router = APIRouter(prefix="/v1/orders", tags=["orders"], responses={404: {"model": Problem}})


@router.get("", response_model=OrderPage)
def list_orders(
    shop: Shop,
    caller: Caller,
    q: Annotated[str | None, Query(max_length=200, description="words that must all match")] = None,
    status: OrderStatus | None = None,
    placed_from: Annotated[
        Since | None, Query(alias="from", description="placed then or later; a day is UTC's")
    ] = None,
    placed_to: Annotated[Until | None, Query(alias="to", description="placed before then, or on that day")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Newest first: the customer's own orders, or with `orders:read` all.

    `q`: whole words, in any case, which must all match (Unicode NFKC, case-folded; punctuation around a word is
    ignored): an order number (`HF-100001` or `100001`), a SKU or its beginning up to a hyphen (`HF-TRAIL-JKT`), words
    of a line's title, words of the recipient's name, the buyer's whole e-mail address. Without any letter or digit it
    finds nothing; blank, it is ignored. A changed or erased address is no longer found.
    """
    if caller is None:
        raise Unauthenticated()
    everybodys = caller.has(Scope.ORDERS_READ)
    if caller.kind == "machine" and not everybodys:
        raise Forbidden(f"This needs the scope {Scope.ORDERS_READ}")
    before = None
    if cursor is not None:
        at, order_id = paging.decode(cursor, str, str)
        try:
            before = (datetime.fromisoformat(at), order_id)
        except ValueError as error:
            raise BadCursor() from error
    search = Search(
        terms=query_terms(q) if q and q.strip() else None,
        customer_id=None if everybodys else caller.user_id,
        status=status,
        placed_from=placed_from,
        placed_to=placed_to,
        before=before,
        limit=limit + 1,
    )
    with shop.database.transaction() as connection:
        found = order_search.find(connection, search)
        if everybodys:
            initiator_of = None if search.terms is None else "email" if "@" in (q or "") else "words"
            audit.append(connection, caller, "orders.listed", "orders", query=initiator_of, items=len(found[:limit]))
    more = len(found) > limit
    last = found[limit - 1].order if more else None
    next_cursor = paging.encode(last.placed_at.isoformat(), last.id) if last else None
    return JSONResponse(paging.page([order.view() for order in found[:limit]], next_cursor))


@router.get("/{order_id}", response_model=OrderOut)
def read_order(shop: Shop, caller: Caller, order_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """For its customer, for a guest with the cart's X-Cart-Token, and for `orders:read`."""
    return JSONResponse(visible_order(shop, caller, cart_token, order_id, "order.read").view())


@router.get("/{order_id}/events", response_model=EventPage)
def read_events(
    shop: Shop,
    caller: Caller,
    order_id: Id,
    cart_token: CartToken = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """The order's event stream, oldest first."""
    visible_order(shop, caller, cart_token, order_id, "order.events_read")
    after = paging.decode(cursor, int)[0] if cursor is not None else 0
    if not 0 <= after < 2**31:
        raise BadCursor()
    with shop.database.autocommit() as connection:
        events = repository.read_events(connection, order_id, after=after, limit=limit + 1)
    next_cursor = paging.encode(events[limit - 1].version) if len(events) > limit else None
    return JSONResponse(paging.page([event.model_dump(mode="json") for event in events[:limit]], next_cursor))


@router.get("/{order_id}/tracking")
def read_tracking(shop: Shop, caller: Caller, order_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """The order's shipments with their tracking events."""
    order = visible_order(shop, caller, cart_token, order_id, "order.tracking_read").order
    with shop.database.autocommit() as connection:
        beside = shipments.label_details(connection, order_id)
    return JSONResponse(
        {
            "items": [
                {**shipment.model_dump(mode="json", exclude={"captured"}), "eta": beside[shipment.id]["eta"]}
                for shipment in order.shipments
            ]
        }
    )


def visible_order(
    shop: Services, caller: Principal | None, cart_token: str | None, order_id: str, action: str
) -> StoredOrder:
    """The order, if this caller may read it; else NotFound. A read by staff is written to the audit log as `action`."""
    with shop.database.autocommit() as connection:
        found = repository.read_order_with_owner(connection, order_id)
        if found is not None:
            stored, digest = found
            mine = caller is not None and caller.user_id == stored.order.customer_id
            if mine or owns_cart(caller, cart_token, None, digest):  # the guest's token outlives the claim
                return stored
            if caller is not None and caller.has(Scope.ORDERS_READ):
                audit.append(connection, caller, action, order_id)
                return stored
    raise NotFound("There is no such order")


def own_order(shop: Services, caller: Principal | None, cart_token: str | None, order_id: str, *, needs: Scope) -> str:
    """The order's id, if this caller may change it; staff need the scope. Raises NotFound for another's."""
    with shop.database.autocommit() as connection:
        found = repository.read_order_with_owner(connection, order_id)
    if found is not None:
        stored, digest = found
        mine = caller is not None and caller.user_id == stored.order.customer_id
        if mine or owns_cart(caller, cart_token, None, digest) or (caller is not None and caller.has(needs)):
            return order_id
        if caller is not None and caller.has(Scope.ORDERS_READ):
            raise Forbidden(f"This needs the scope {needs}")
    raise NotFound("There is no such order")
