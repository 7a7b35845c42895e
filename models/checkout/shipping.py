"""Shipping options of an address and their prices. Only the most specific zones apply.

A zone names places: `US-HI` (a region), `US` (a country) or `*` (everywhere else). An address is served by
the zones that name its region; if none does, by those that name its country; if none, by `*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.money import Currency, MinorUnits, Money

Place = Annotated[str, Field(pattern=r"^(\*|[A-Z]{2}(-[A-Z0-9]{1,3})?)$")]
REST_OF_WORLD = "*"


class ShippingOption(BaseModel):
    """Prices: minor units by currency; days: working days until delivery."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    prices: Mapping[Currency, MinorUnits]
    free_over: Mapping[Currency, MinorUnits] = Field(
        default_factory=dict, description="free from this subtotal of items before discounts"
    )
    min_days: int = Field(ge=0)
    max_days: int = Field(ge=0)

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.max_days < self.min_days:
            raise ValueError("max_days can't be below min_days")
        return self

    def price(self, subtotal: Money) -> Money | None:
        """The price for items of `subtotal` before discounts; None: not offered in that currency."""
        price = self.prices.get(subtotal.currency)
        if price is None:
            return None
        threshold = self.free_over.get(subtotal.currency)
        free = threshold is not None and subtotal.amount >= threshold
        return Money.of(0 if free else price, subtotal.currency)


class ShippingZone(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    places: tuple[Place, ...]
    options: tuple[ShippingOption, ...] = ()


class QuotedOption(BaseModel):
    """The API's shipping option, with its price for this cart."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    price: Money
    min_days: int
    max_days: int


def zones_for(zones: Iterable[ShippingZone], country: str, region: str | None = None) -> list[ShippingZone]:
    """The zones that serve an address: those of its region, else its country, else the rest of the world."""
    known = list(zones)
    country = country.upper()
    for place in (f"{country}-{(region or '').upper()}", country, REST_OF_WORLD):
        serving = [zone for zone in known if place in zone.places]
        if serving:
            return serving
    return []


def offered(
    zones: Iterable[ShippingZone], country: str, region: str | None, subtotal: Money
) -> list[tuple[ShippingOption, Money]]:
    """The options offered to an address with their prices, cheapest first, then by id."""
    found = [
        (option, price)
        for zone in zones_for(zones, country, region)
        for option in zone.options
        if (price := option.price(subtotal)) is not None
    ]
    return sorted(found, key=lambda pair: (pair[1].amount, pair[0].id))


def options_for(zones: Iterable[ShippingZone], country: str, region: str | None, subtotal: Money) -> list[QuotedOption]:
    """`offered`, in the shape of `GET /v1/carts/{id}/shipping-options`."""
    return [
        QuotedOption(id=option.id, title=option.title, price=price, min_days=option.min_days, max_days=option.max_days)
        for option, price in offered(zones, country, region, subtotal)
    ]


def option_named(
    zones: Iterable[ShippingZone], option_id: str, country: str, region: str | None, subtotal: Money
) -> ShippingOption | None:
    """The option of that id if it is offered to the address now, else None."""
    return next((option for option, _ in offered(zones, country, region, subtotal) if option.id == option_id), None)
