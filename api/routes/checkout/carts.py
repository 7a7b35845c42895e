"""Carts: every write returns the whole cart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from api import versions
from api.addresses import AddressIn, Country, checked_address, checked_email
from api.auth import Caller, CartToken, new_cart_token, own_cart
from api.fields import Id
from api.schemas.base import Body, Line
from api.schemas.responses import CartOut, Problem, ShippingOptions
from api.services import Services, Shop
from api.versions import IfMatch
from models.accounts.access import Principal
from models.checkout import carts as rules
from models.checkout.carts import MAX_CODES, MAX_LINES, MAX_QUANTITY, Cart, CartItem
from models.checkout.promotions import check, normalise_code
from models.db.repositories.checkout import carts as repository
from models.errors import (
    CartCompleted,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutOfStock,
    PriceUnavailable,
    ShippingOptionUnavailable,
)
from models.ids import new_id
from models.money import Currency

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(prefix="/v1/carts", tags=["carts"], responses={404: {"model": Problem}, 409: {"model": Problem}})

Sku = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class NewCart(Body):
    currency: Currency = "USD"
    country: Country = "US"


class NewItem(Body):
    sku: Sku
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)] = 1


class ItemQuantity(Body):
    quantity: Annotated[int, Field(strict=True, ge=0, le=MAX_QUANTITY)]


class EmailIn(Body):
    email: Line


class OptionIn(Body):
    id: Line


class DiscountCodeIn(Body):
    code: Line


Change = Callable[["Connection", Cart], Cart]


@router.post("", status_code=201, response_model=CartOut)
def create_cart(shop: Shop, caller: Caller, body: NewCart | None = None) -> JSONResponse:
    """An empty cart; a guest gets its `token` once, to be sent as X-Cart-Token."""
    if caller is not None and caller.kind == "machine":
        raise Forbidden("Carts are for people, not for API keys")
    body = body or NewCart()
    token, digest = (None, None) if caller else new_cart_token()
    cart = Cart(
        id=new_id("cart"),
        version=1,
        customer_id=caller.user_id if caller else None,
        currency=body.currency,
        country=body.country,
        email=None,
        shipping_address=None,
        billing_address=None,
        shipping_option_id=None,
        discount_codes=(),
        completed_order_id=None,
    )
    with shop.database.autocommit() as connection:
        repository.create_cart(
            connection,
            cart.id,
            currency=cart.currency,
            country=cart.country,
            customer_id=cart.customer_id,
            token_digest=digest,
        )
    return _respond(cart, rules.quote(cart, rules.NO_RULES), status=201, token=token)


@router.get("/{cart_id}", response_model=CartOut)
def read_cart(shop: Shop, caller: Caller, cart_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """Prices, stock and requirements as of now."""
    with shop.database.autocommit() as connection:
        cart = own_cart(repository.read_cart(connection, cart_id), caller, cart_token)
        quoted = rules.quote(cart, shop.rules.read(connection, cart))
    return _respond(cart, quoted)


@router.post("/{cart_id}/items", response_model=CartOut)
def add_item(
    shop: Shop, caller: Caller, cart_id: Id, body: NewItem, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    """The same SKU adds up, to at most what is available."""

    def change(connection: Connection, cart: Cart) -> Cart:
        there = next((item for item in cart.items if item.sku == body.sku), None)
        quantity = body.quantity + (there.quantity if there else 0)
        if quantity > MAX_QUANTITY:
            raise InvalidRequest.at("/quantity", f"a cart takes at most {MAX_QUANTITY} of one SKU")
        if there is None and len(cart.items) >= MAX_LINES:
            raise InvalidRequest.at("/sku", f"a cart takes at most {MAX_LINES} different SKUs")
        found = repository.find_item(connection, body.sku, cart.currency)
        if found is None:
            raise NotFound(f"There is no SKU {body.sku}")
        return _with_quantity(connection, cart, replace(found, id=there.id if there else found.id), quantity)

    return _change(shop, caller, cart_token, cart_id, if_match, change)


@router.patch("/{cart_id}/items/{item_id}", response_model=CartOut)
def change_item(
    shop: Shop,
    caller: Caller,
    cart_id: Id,
    item_id: Id,
    body: ItemQuantity,
    cart_token: CartToken = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Quantity 0 removes the line."""

    def change(connection: Connection, cart: Cart) -> Cart:
        item = _item(cart, item_id)
        if body.quantity == 0:
            return _without(connection, cart, item)
        return _with_quantity(connection, cart, item, body.quantity)

    return _change(shop, caller, cart_token, cart_id, if_match, change)


@router.delete("/{cart_id}/items/{item_id}", response_model=CartOut)
def remove_item(
    shop: Shop, caller: Caller, cart_id: Id, item_id: Id, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    def change(connection: Connection, cart: Cart) -> Cart:
        return _without(connection, cart, _item(cart, item_id))

    return _change(shop, caller, cart_token, cart_id, if_match, change)


@router.put("/{cart_id}/email", response_model=CartOut)
def set_email(
    shop: Shop, caller: Caller, cart_id: Id, body: EmailIn, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    return _set(shop, caller, cart_token, cart_id, if_match, {"email": checked_email(body.email)})


@router.put("/{cart_id}/shipping-address", response_model=CartOut)
def set_shipping_address(
    shop: Shop, caller: Caller, cart_id: Id, body: AddressIn, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    """Tax and shipping are recalculated; a shipping option that the new address has not is deselected."""
    address = checked_address(body).model_dump()
    return _set(shop, caller, cart_token, cart_id, if_match, {"shipping_address": address})


@router.put("/{cart_id}/billing-address", response_model=CartOut)
def set_billing_address(
    shop: Shop, caller: Caller, cart_id: Id, body: AddressIn, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    address = checked_address(body).model_dump()
    return _set(shop, caller, cart_token, cart_id, if_match, {"billing_address": address})


@router.get("/{cart_id}/shipping-options", response_model=ShippingOptions)
def list_shipping_options(shop: Shop, caller: Caller, cart_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """The options for the cart's address, cheapest first."""
    with shop.database.autocommit() as connection:
        cart = own_cart(repository.read_cart(connection, cart_id), caller, cart_token)
        options = rules.shipping_options(cart, shop.rules.read(connection, cart))
    return JSONResponse({"items": [option.model_dump() for option in options]})


@router.put("/{cart_id}/shipping-option", response_model=CartOut)
def set_shipping_option(
    shop: Shop, caller: Caller, cart_id: Id, body: OptionIn, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    def offered(cart: Cart, quoted: rules.Quote) -> None:
        if quoted.option is None:
            raise ShippingOptionUnavailable(errors=[{"pointer": "/id", "detail": "is not offered for this cart"}])

    return _set(shop, caller, cart_token, cart_id, if_match, {"shipping_option_id": body.id}, offered)


@router.post("/{cart_id}/discounts", response_model=CartOut)
def add_discount(
    shop: Shop,
    caller: Caller,
    cart_id: Id,
    body: DiscountCodeIn,
    cart_token: CartToken = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """A code that is unknown, expired, used up or not for this cart has its own problem type."""
    code = normalise_code(body.code)

    def change(connection: Connection, cart: Cart) -> Cart:
        codes = [*dict.fromkeys([*cart.discount_codes, code])]
        if len(codes) > MAX_CODES:
            raise InvalidRequest.at("/code", f"a cart takes at most {MAX_CODES} codes")
        known = repository.read_rules(connection, cart, codes)
        promotion = next((p for p in known.promotions if p.code == code), None)
        check(
            promotion,
            now=known.now,
            subtotal=rules.subtotal(cart),
            used_by_customer=known.used_by_customer.get(promotion.id, 0) if promotion else 0,
            others=[p for p in known.promotions if p.code != code],
        )
        repository.set_codes(connection, cart.id, codes)
        return replace(cart, discount_codes=tuple(codes))

    return _change(shop, caller, cart_token, cart_id, if_match, change)


@router.delete("/{cart_id}/discounts/{code}", response_model=CartOut)
def remove_discount(
    shop: Shop, caller: Caller, cart_id: Id, code: Id, cart_token: CartToken = None, if_match: IfMatch = None
) -> JSONResponse:
    def change(connection: Connection, cart: Cart) -> Cart:
        if normalise_code(code) not in cart.discount_codes:
            raise NotFound("That code is not on the cart")
        codes = [kept for kept in cart.discount_codes if kept != normalise_code(code)]
        repository.set_codes(connection, cart.id, codes)
        return replace(cart, discount_codes=tuple(codes))

    return _change(shop, caller, cart_token, cart_id, if_match, change)


def _change(
    shop: Services,
    caller: Principal | None,
    cart_token: str | None,
    cart_id: str,
    if_match: str | None,
    change: Change,
) -> JSONResponse:
    """One transaction: it writes the cart's new version first, as its lock; any error rolls it back."""
    with shop.database.transaction() as connection:
        repository.change_cart(connection, cart_id, {})
        cart = own_cart(repository.read_cart(connection, cart_id), caller, cart_token)
        _check(cart, cart.version - 1, if_match)
        cart = change(connection, cart)
        quoted = rules.quote(cart, shop.rules.read(connection, cart))
    return _respond(cart, quoted)


def _set(
    shop: Services,
    caller: Principal | None,
    cart_token: str | None,
    cart_id: str,
    if_match: str | None,
    values: dict[str, Any],
    check: Callable[[Cart, rules.Quote], None] | None = None,
) -> JSONResponse:
    """Sets columns if the version is unchanged: two statements, without a transaction."""
    with shop.database.autocommit() as connection:
        while True:
            seen = own_cart(repository.read_cart(connection, cart_id), caller, cart_token)
            _check(seen, seen.version, if_match)
            cart = repository.with_values(seen, values)
            quoted = rules.quote(cart, shop.rules.read(connection, cart))
            if check is not None:
                check(cart, quoted)
            if repository.change_cart(connection, cart_id, values, seen=seen.version):
                return _respond(cart, quoted)


def _check(cart: Cart, version: int, if_match: str | None) -> None:
    if cart.completed_order_id:
        raise CartCompleted(order_id=cart.completed_order_id)
    versions.check(if_match, version)


def _with_quantity(connection: Connection, cart: Cart, item: CartItem, quantity: int) -> Cart:
    if item.unit_price is None:
        raise PriceUnavailable(f"{item.sku} has no price in {cart.currency}")
    if quantity > item.available:
        available = max(0, item.available)
        raise OutOfStock(f"{item.sku}: {available} available", sku=item.sku, available=available)
    repository.put_item(connection, cart.id, item.id, item.sku, quantity, item.unit_price)
    changed = replace(item, quantity=quantity, seen_price=item.unit_price)
    items = {line.id: line for line in cart.items} | {item.id: changed}
    return replace(cart, items=tuple(items.values()))


def _without(connection: Connection, cart: Cart, item: CartItem) -> Cart:
    repository.remove_item(connection, cart.id, item.id)
    return replace(cart, items=tuple(line for line in cart.items if line.id != item.id))


def _item(cart: Cart, item_id: str) -> CartItem:
    item = next((item for item in cart.items if item.id == item_id), None)
    if item is None:
        raise NotFound("There is no such line in the cart")
    return item


def _respond(cart: Cart, quoted: rules.Quote, *, status: int = 200, token: str | None = None) -> JSONResponse:
    shown = rules.view(cart, quoted)
    if token is not None:
        shown["token"] = token
    return JSONResponse(shown, status_code=status, headers=versions.etag(cart.version))
