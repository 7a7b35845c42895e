"""The tax rates of an address, and the tax on an amount. Rates are data, not code.

A rate is *inclusive* where shops show prices with the tax inside (EU, GB, JP) and *exclusive* where it is
added at the end (US, CA). Rates without a region apply in the whole country, those of a region in addition
(Canada: 5 % GST, and in Quebec 9.975 % QST).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from models.money import PPM, allocate, divide_rounded

CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")]
RegionCode = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,3}$", description="the ISO 3166-2 part after the dash")]


class TaxRate(BaseModel):
    """One tax of one jurisdiction. `rate_ppm`: parts per million, 190 000 is 19 %."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    country: CountryCode
    region: RegionCode | None = None
    rate_ppm: int = Field(strict=True, ge=0, le=PPM)
    inclusive: bool
    applies_to_shipping: bool = False

    @property
    def jurisdiction(self) -> str:
        """`DE`, or `US-CA` in ISO 3166-2 form."""
        return f"{self.country}-{self.region}" if self.region else self.country

    @property
    def rate(self) -> str:
        """As an exact decimal: `"0.19"`, `"0.08875"`, `"0"`."""
        whole, fraction = divmod(self.rate_ppm, PPM)
        return f"{whole}.{fraction:06d}".rstrip("0").rstrip(".")


def rates_for(rates: Iterable[TaxRate], country: str, region: str | None = None) -> tuple[TaxRate, ...]:
    """The rates that apply to an address, the country's before the region's, then by name."""
    here = (region or "").upper() or None
    matching = [r for r in rates if r.country == country.upper() and r.region in (None, here)]
    return tuple(sorted(matching, key=lambda r: (r.region or "", r.name)))


def tax_on(amount: int, rates: Sequence[TaxRate]) -> list[int]:
    """The tax of each rate on `amount` (minor units, as shown to the buyer, after discounts), in the same order.

    Inclusive rates share amount × Σ / (1 + Σ), rounded once. Exclusive rates are each applied to the amount without
    inclusive tax, and rounded. So inclusive tax never exceeds the amount.
    """
    inside = sum(rate.rate_ppm for rate in rates if rate.inclusive)
    included = divide_rounded(amount * inside, PPM + inside)
    shares = iter(allocate(included, [rate.rate_ppm for rate in rates if rate.inclusive]))
    net = amount - included
    return [next(shares) if rate.inclusive else divide_rounded(net * rate.rate_ppm, PPM) for rate in rates]
