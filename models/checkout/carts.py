"""A cart and its quote: present prices and missing requirements. The page, the early check and the hold share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from models.addresses import Address
from models.checkout.pricing import LineToPrice, PricedCart, price_cart
from models.checkout.promotions import Promotion, RefusedCode, applicable
from models.checkout.shipping import QuotedOption, ShippingOption, ShippingZone, option_named, options_for
from models.checkout.tax import TaxRate, rates_for
from models.money import Money

MAX_LINES = 100
MAX_QUANTITY = 999
MAX_CODES = 10
LOW_STOCK = 5


@dataclass(frozen=True, slots=True)
class CartItem:
    """`unit_price` is the present price, None without one in the currency; `seen_price` that of when it was added."""

    id: str
    sku: str
    title: str
    quantity: int
    unit_price: int | None
    seen_price: int | None
    available: int


@dataclass(frozen=True, slots=True)
class Cart:
    id: str
    version: int
    customer_id: str | None
    currency: str
    country: str
    email: str | None
    shipping_address: Address | None
    billing_address: Address | None
    shipping_option_id: str | None
    discount_codes: Sequence[str]
    completed_order_id: str | None
    items: Sequence[CartItem] = ()
    merged_into: str | None = None  # the cart that a guest's cart was merged into

    @property
    def destination(self) -> tuple[str, str | None]:
        """Country and region for tax and shipping: of the address, else those that the cart was created with."""
        if self.shipping_address:
            return self.shipping_address.country, self.shipping_address.region
        return self.country, None


@dataclass(frozen=True, slots=True)
class Rules:
    """The inputs of a quote besides the cart, read in one statement."""

    now: datetime
    tax_rates: Sequence[TaxRate]
    zones: Sequence[ShippingZone]
    promotions: Sequence[Promotion]
    used_by_customer: Mapping[str, int] = field(default_factory=dict)


NO_RULES = Rules(now=datetime.max.replace(tzinfo=UTC), tax_rates=(), zones=(), promotions=())
"""For an empty cart."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The cart priced as of now. `requirements` is empty if it can be checked out."""

    priced: PricedCart
    option: ShippingOption | None
    promotions: Sequence[Promotion]
    refused_codes: Sequence[RefusedCode]
    requirements: Sequence[str]

    @property
    def total(self) -> Money:
        return self.priced.totals.total


def subtotal(cart: Cart) -> Money:
    """The sum of the items before any discount."""
    return Money.of(sum((item.unit_price or 0) * item.quantity for item in cart.items), cart.currency)


def quote(cart: Cart, rules: Rules) -> Quote:
    """Prices the cart for its destination. A shipping option that is no longer offered counts as not chosen."""
    country, region = cart.destination
    items = subtotal(cart)
    option = (
        option_named(rules.zones, cart.shipping_option_id, country, region, items) if cart.shipping_option_id else None
    )
    promotions, refused = applicable(
        rules.promotions, now=rules.now, subtotal=items, used_by_customer=rules.used_by_customer
    )
    priced = price_cart(
        [
            LineToPrice(
                sku=item.sku,
                quantity=item.quantity,
                unit_price=Money.of(item.unit_price or 0, cart.currency),
            )
            for item in cart.items
        ],
        currency=cart.currency,
        promotions=promotions,
        shipping_option=option,
        tax_rates=rates_for(rules.tax_rates, country, region),
    )
    return Quote(priced, option, promotions, refused, _requirements(cart, option))


def _requirements(cart: Cart, option: ShippingOption | None) -> list[str]:
    missing = []
    if not cart.items or any(item.unit_price is None for item in cart.items):
        missing.append("items")
    if cart.email is None:
        missing.append("email")
    if cart.shipping_address is None:
        missing.append("shipping_address")
    if option is None:
        missing.append("shipping_option")
    return missing


def merge_lines(into: Sequence[CartItem], guest: Sequence[CartItem]) -> tuple[list[CartItem], list[dict[str, Any]]]:
    """The lines of `into` that a guest's lines change or add, and a warning for each that was limited.

    Quantities add up, limited by the available units and MAX_QUANTITY; no line of `into` is reduced.
    """
    lines = {item.sku: item for item in into}
    changed, short = [], []
    for item in guest:
        there = lines.get(item.sku)
        had = there.quantity if there else 0
        wanted = had + item.quantity
        quantity = max(had, min(wanted, item.available, MAX_QUANTITY))
        if there is None and len(lines) >= MAX_LINES:
            quantity = 0
        if quantity > had:
            lines[item.sku] = replace(there or item, quantity=quantity)
            changed.append(lines[item.sku])
        if quantity < wanted:
            available = max(0, item.available)
            short.append(
                {
                    "type": "quantity_reduced",
                    "sku": item.sku,
                    "wanted": wanted,
                    "quantity": quantity,
                    "available": available,
                }
            )
    return changed, short


def merge_details(into: Cart, guest: Cart) -> dict[str, Any]:
    """Columns that a guest's cart changes: its codes are appended, other values fill empty columns."""
    codes = [*dict.fromkeys([*into.discount_codes, *guest.discount_codes])][:MAX_CODES]
    taken = {name: getattr(guest, name) for name in _TAKEN if getattr(into, name) is None}
    return {
        "discount_codes": codes,
        **{n: v.model_dump() if isinstance(v, Address) else v for n, v in taken.items() if v is not None},
    }


_TAKEN = ("email", "shipping_address", "billing_address", "shipping_option_id")


def shipping_options(cart: Cart, rules: Rules) -> list[QuotedOption]:
    country, region = cart.destination
    return options_for(rules.zones, country, region, subtotal(cart))


def warnings(cart: Cart, quoted: Quote) -> list[dict[str, Any]]:
    """Warnings for the buyer; none of them prevents a checkout by itself."""
    found: list[dict[str, Any]] = []
    for item in cart.items:
        if item.unit_price is None:
            found.append({"type": "price_unavailable", "sku": item.sku})
        elif item.seen_price is not None and item.unit_price != item.seen_price:
            found.append(
                {
                    "type": "price_changed",
                    "sku": item.sku,
                    "was": Money.of(item.seen_price, cart.currency).model_dump(),
                    "now": Money.of(item.unit_price, cart.currency).model_dump(),
                }
            )
        if item.available < item.quantity:
            found.append({"type": "out_of_stock", "sku": item.sku, "available": max(0, item.available)})
        elif item.available <= LOW_STOCK:
            found.append({"type": "low_stock", "sku": item.sku, "available": item.available})
    found.extend(
        {"type": "discount_not_counted", "code": code.code, "reason": code.slug, "detail": code.detail}
        for code in quoted.refused_codes
    )
    return found


def view(cart: Cart, quoted: Quote) -> dict[str, Any]:
    """The API's Cart, without the token."""
    priced = quoted.priced
    option = quoted.option
    return {
        "id": cart.id,
        "version": cart.version,
        "currency": cart.currency,
        "country": cart.country,
        "email": cart.email,
        "items": [
            {
                "id": item.id,
                "sku": item.sku,
                "title": item.title,
                "quantity": item.quantity,
                "unit_price": line.unit_price.model_dump(),
                "total": line.gross.model_dump(),
                "available": max(0, item.available),
            }
            for item, line in zip(cart.items, priced.lines, strict=True)
        ],
        "shipping_address": cart.shipping_address.model_dump() if cart.shipping_address else None,
        "billing_address": cart.billing_address.model_dump() if cart.billing_address else None,
        "shipping_option": chosen_option(option, priced),
        "discounts": [{"code": d.code, "amount": d.amount.model_dump()} for d in priced.discounts],
        "tax_lines": [line.model_dump() for line in priced.tax_lines],
        "totals": priced.totals.model_dump(),
        "requirements": list(quoted.requirements),
        "warnings": warnings(cart, quoted),
        "completed_order": cart.completed_order_id,
    }


def chosen_option(option: ShippingOption | None, priced: PricedCart) -> dict[str, Any] | None:
    if option is None:
        return None
    return {
        "id": option.id,
        "title": option.title,
        "price": priced.totals.shipping.model_dump(),
        "min_days": option.min_days,
        "max_days": option.max_days,
    }
