"""Products for everybody, with an ETag; stock levels for staff."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from api.auth import requires
from api.commands import Command
from api.fields import Id
from api.idempotency import problem_of, respond
from api.paging import Cursor, Limit, decode, encode
from api.schemas.responses import Problem
from api.services import Shop
from models.accounts.access import Principal, Scope
from models.catalogue.inventory import AdjustStock, Inventory, StockAdjustment
from models.catalogue.products import Category, Product, ProductQuery, ProductSort
from models.db.repositories.catalogue import inventory, products
from models.db.repositories.delivery import stored_responses
from models.delivery.stored_responses import StoredResponse
from models.errors import (
    BadCursor,
    HoldfastError,
    InvalidRequest,
    NotFound,
    StockBelowReserved,
    UnknownLocation,
)
from models.money import MAX_AMOUNT, Currency

router = APIRouter(prefix="/v1", tags=["catalogue"])

ATTRIBUTE = "attr."
MAX_ATTRIBUTE_VALUES = 20
PRODUCTS_CACHE = "public, max-age=5, stale-while-revalidate=30"
CATEGORIES_CACHE = "public, max-age=60, stale-while-revalidate=600"


class ProductPage(BaseModel):
    items: list[Product]
    next_cursor: str | None


class CategoryTree(BaseModel):
    """The whole tree, always on one page."""

    items: list[Category]
    next_cursor: None = None


def _problems(*errors: type[HoldfastError]) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may return, for the OpenAPI document."""
    return {error.status: {"model": Problem, "description": error.title} for error in errors}


Amount = Annotated[int | None, Query(ge=0, le=MAX_AMOUNT, description="minor units of `currency`")]
AskedCurrency = Annotated[Currency, Query(description="of `price`, and of the filters and the order by price")]
Sku = Id
ANY_ATTRIBUTE = {
    "name": "attr.color",
    "in": "query",
    "description": "Any attribute or option as `attr.<name>`; repeated, any of the values. Without case.",
    "schema": {"type": "array", "items": {"type": "string"}},
    "style": "form",
    "explode": True,
}


@router.get("/categories", response_model=CategoryTree, summary="The category tree")
def read_categories(request: Request, shop: Shop) -> Response:
    with shop.database.autocommit() as connection:
        tree = CategoryTree(items=products.category_tree(connection))
    return _cached(request, tree, CATEGORIES_CACHE)


@router.get(
    "/products",
    response_model=ProductPage,
    responses=_problems(BadCursor, InvalidRequest),
    openapi_extra={"parameters": [ANY_ATTRIBUTE]},
    summary="A page of what is sold in a currency",
)
def list_products(
    request: Request,
    shop: Shop,
    currency: AskedCurrency = "USD",
    category: Annotated[str | None, Query(max_length=120, description="a slug; its subcategories count too")] = None,
    price_min: Amount = None,
    price_max: Amount = None,
    in_stock: Annotated[bool | None, Query(description="true: something is available; false: nothing is")] = None,
    sort: ProductSort = ProductSort.NEWEST,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    query = ProductQuery(
        currency=currency,
        category=category,
        attributes=_attributes(request),
        price_min=price_min,
        price_max=price_max,
        in_stock=in_stock,
        sort=sort,
        limit=limit,
    )
    after = _position(cursor, query) if cursor is not None else None
    with shop.database.autocommit() as connection:
        items, more = products.list_products(connection, query, after)
    next_cursor = encode(query.sort, query.currency, *more) if more else None
    return _cached(request, ProductPage.model_construct(items=items, next_cursor=next_cursor), PRODUCTS_CACHE)


@router.get("/products/{key}", response_model=Product, responses=_problems(NotFound), summary="By id or slug")
def read_product(
    request: Request, shop: Shop, key: Annotated[str, Path(max_length=120)], currency: AskedCurrency = "USD"
) -> Response:
    with shop.database.autocommit() as connection:
        product = products.find_product(connection, key, currency)
    if product is None:
        raise NotFound("There is no such product")
    return _cached(request, product, PRODUCTS_CACHE)


@router.get("/inventory/{sku}", responses=_problems(NotFound), summary="What is where", tags=["inventory"])
def read_inventory(
    shop: Shop, sku: Sku, caller: Annotated[Principal, Depends(requires(Scope.INVENTORY_READ))]
) -> Inventory:
    with shop.database.autocommit() as connection:
        found = inventory.read_inventory(connection, sku)
    if found is None:
        raise NotFound(f"There is no sku {sku}")
    return found


@router.post(
    "/inventory/{sku}/adjustments",
    status_code=201,
    response_model=StockAdjustment,
    responses=_problems(NotFound, StockBelowReserved, UnknownLocation),
    summary="Book a difference",
    tags=["inventory"],
)
def adjust_stock(
    request: Request,
    command: Command,
    shop: Shop,
    sku: Sku,
    change: AdjustStock,
    caller: Annotated[Principal, Depends(requires(Scope.INVENTORY_WRITE))],
) -> Response:
    key = command.key(caller, change)
    with shop.database.transaction() as connection:
        stored_response = stored_responses.claim(connection, key.digest, key.fingerprint) if key else None
        if stored_response is not None:
            return respond(request, stored_response, replayed=True)
        try:
            booked = inventory.adjust_stock(connection, sku, change, f"{caller.kind}:{caller.user_id}")
            answer = StoredResponse.of(201, booked.model_dump(mode="json"))
        except StockBelowReserved as refusal:
            answer = problem_of(request, refusal)
        if key:
            stored_responses.store(connection, key.digest, key.fingerprint, answer)
    return respond(request, answer)


def _attributes(request: Request) -> dict[str, tuple[str, ...]]:
    """The `attr.…` parameters, whose names the merchant chooses."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE):
            attribute = name.removeprefix(ATTRIBUTE)
            found[attribute] = (*found.get(attribute, ()), value)
    if sum(map(len, found.values())) > MAX_ATTRIBUTE_VALUES:
        raise InvalidRequest.at("/query/attr", f"at most {MAX_ATTRIBUTE_VALUES} values")
    return found


def _position(cursor: str, query: ProductQuery) -> list[Any]:
    """The last position of the previous page. Raises BadCursor for a cursor of another order or currency."""
    sort, currency, *keys = decode(cursor, str, str, *products.POSITION_KINDS[query.sort])
    if (sort, currency) != (query.sort, query.currency):
        raise BadCursor("The cursor belongs to another order or currency")
    if any(isinstance(key, str) and key.encode("utf-8", "ignore").decode() != key for key in keys):
        raise BadCursor()  # a lone surrogate, which no text in the database can hold
    return keys


def _cached(request: Request, body: BaseModel, cache_control: str) -> Response:
    """The body with its digest as ETag, or 304 when the client has it (RFC 9110, 13.1.2)."""
    content = body.model_dump_json()
    etag = f'"{hashlib.blake2b(content.encode(), digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": cache_control}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")
