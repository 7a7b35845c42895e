"""Prices a cart. The same lines, codes and rates give the same amounts, in any order.

Identities that hold for every priced cart, checked by property tests:

- total = items - discount + shipping + tax - tax_included, and never below zero;
- items = Σ line.gross; discount = Σ discounts.amount = Σ line.discount + shipping_discount;
- tax = Σ tax_lines.amount, of which tax_included = Σ of those with `included: true` (already inside the
  prices);
- total = Σ line.total + shipping - shipping_discount + shipping_tax not included.

`totals.shipping` is the option's price; a free-shipping code shows as a discount of that amount, so the
buyer sees what it saved. Tax is taken per line and on shipping, after discounts, and rounded there
(models/money.py). Discounts are spread over lines by largest remainder in sku order, whatever order the
lines come in.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from models.checkout.promotions import Promotion, PromotionKind, in_order
from models.checkout.shipping import ShippingOption
from models.checkout.tax import TaxRate, tax_on
from models.errors import CurrencyMismatch, ShippingOptionUnavailable
from models.money import PPM, SMALLEST, Currency, Money, allocate, divide_rounded

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class LineToPrice(BaseModel):
    model_config = _FROZEN

    sku: str
    quantity: int = Field(strict=True, ge=1)
    unit_price: Money


class PricedLine(BaseModel):
    """`gross` = unit_price × quantity; `tax`: included and added; `total` = gross - discount + added tax."""

    model_config = _FROZEN

    sku: str
    quantity: int
    unit_price: Money
    gross: Money
    discount: Money
    tax: Money
    total: Money


class Discount(BaseModel):
    """`amount` is positive."""

    model_config = _FROZEN

    code: str
    kind: PromotionKind
    amount: Money


class TaxLine(BaseModel):
    """`rate` is an exact decimal string; `included`: already inside the prices, so not added to the total."""

    model_config = _FROZEN

    name: str
    jurisdiction: str
    rate: str
    included: bool
    amount: Money


class Totals(BaseModel):
    """`tax`: all tax; `tax_included`: the part that the prices contain already.

    total = items - discount + shipping + tax - tax_included.
    """

    model_config = _FROZEN

    items: Money
    discount: Money
    shipping: Money
    tax: Money
    tax_included: Money
    total: Money


class PricedCart(BaseModel):
    """Lines in the order given. `shipping_discount` is part of `totals.discount`, `shipping_tax` of
    `totals.tax`.
    """

    model_config = _FROZEN

    currency: Currency
    lines: tuple[PricedLine, ...]
    discounts: tuple[Discount, ...]
    tax_lines: tuple[TaxLine, ...]
    shipping_discount: Money
    shipping_tax: Money
    totals: Totals


def price_cart(
    lines: Sequence[LineToPrice],
    *,
    currency: str,
    promotions: Sequence[Promotion] = (),
    shipping_option: ShippingOption | None = None,
    tax_rates: Sequence[TaxRate] = (),
) -> PricedCart:
    """Prices a cart: `promotions` already checked (promotions.check), `tax_rates` those of the address (tax.rates_for).

    An empty cart pays no shipping. Raises CurrencyMismatch for a line in another currency and
    ShippingOptionUnavailable for an option without a price in this one.
    """
    _same_currency(lines, currency)
    gross = [line.unit_price.amount * line.quantity for line in lines]
    shipping = _shipping_price(shipping_option, Money.of(sum(gross), currency)) if lines else 0
    taken, line_discounts, shipping_discount = _discounts(lines, gross, shipping, promotions, currency)
    line_taxes = [tax_on(g - d, tax_rates) for g, d in zip(gross, line_discounts, strict=True)]
    on_shipping = [rate for rate in tax_rates if rate.applies_to_shipping]
    shipping_taxes = iter(tax_on(shipping - shipping_discount, on_shipping))
    per_rate = [next(shipping_taxes) if rate.applies_to_shipping else 0 for rate in tax_rates]
    tax_lines = _tax_lines(tax_rates, line_taxes, per_rate, currency)
    return PricedCart(
        currency=currency,
        lines=tuple(
            _priced_line(line, g, d, taxes, tax_rates)
            for line, g, d, taxes in zip(lines, gross, line_discounts, line_taxes, strict=True)
        ),
        discounts=tuple(taken),
        tax_lines=tax_lines,
        shipping_discount=Money.of(shipping_discount, currency),
        shipping_tax=Money.of(sum(per_rate), currency),
        totals=_totals(sum(gross), sum(line_discounts) + shipping_discount, shipping, tax_lines, currency),
    )


def _same_currency(lines: Sequence[LineToPrice], currency: str) -> None:
    for line in lines:
        if line.unit_price.currency != currency:
            raise CurrencyMismatch(f"{line.sku} is priced in {line.unit_price.currency}, the cart in {currency}")


def _shipping_price(option: ShippingOption | None, subtotal: Money) -> int:
    if option is None:
        return 0
    price = option.price(subtotal)
    if price is None:
        raise ShippingOptionUnavailable(f"{option.title} is not offered in {subtotal.currency}")
    return price.amount


def _discounts(
    lines: Sequence[LineToPrice],
    gross: Sequence[int],
    shipping: int,
    promotions: Sequence[Promotion],
    currency: str,
) -> tuple[list[Discount], list[int], int]:
    """The discount of each code, their sum on each line, and their sum on shipping."""
    by_sku = sorted(range(len(lines)), key=lambda i: (lines[i].sku, gross[i]))
    left = [gross[i] for i in by_sku]
    shipping_left = shipping
    taken = []
    for promotion in in_order(promotions):
        if promotion.kind is PromotionKind.FREE_SHIPPING:
            amount, shipping_left = shipping_left, 0
        else:
            amount = _taken_off(promotion, sum(left), currency)
            left = [rest - part for rest, part in zip(left, allocate(amount, left), strict=True)]
        taken.append(Discount(code=promotion.code, kind=promotion.kind, amount=Money.of(amount, currency)))
    per_line = [0] * len(lines)
    for i, rest in zip(by_sku, left, strict=True):
        per_line[i] = gross[i] - rest
    return taken, per_line, shipping - shipping_left


def _taken_off(promotion: Promotion, remaining: int, currency: str) -> int:
    if promotion.kind is PromotionKind.PERCENTAGE:
        percent = promotion.percent_ppm or 0
        smallest = SMALLEST.get(currency)
        if smallest is None:
            return divide_rounded(remaining * percent, PPM)
        left = divide_rounded(remaining * (PPM - percent), PPM * smallest) * smallest  # payable
        return max(0, remaining - left)
    return min(promotion.amounts.get(currency, 0), remaining)


def _tax_lines(
    rates: Sequence[TaxRate], line_taxes: Sequence[Sequence[int]], shipping_taxes: Sequence[int], currency: str
) -> tuple[TaxLine, ...]:
    """One for every rate, also with amount 0, so that the buyer sees which taxes were considered."""
    return tuple(
        TaxLine(
            name=rate.name,
            jurisdiction=rate.jurisdiction,
            rate=rate.rate,
            included=rate.inclusive,
            amount=Money.of(sum(taxes[i] for taxes in line_taxes) + shipping_taxes[i], currency),
        )
        for i, rate in enumerate(rates)
    )


def _priced_line(
    line: LineToPrice, gross: int, discount: int, taxes: Sequence[int], rates: Sequence[TaxRate]
) -> PricedLine:
    currency = line.unit_price.currency
    added = sum(tax for tax, rate in zip(taxes, rates, strict=True) if not rate.inclusive)
    return PricedLine(
        sku=line.sku,
        quantity=line.quantity,
        unit_price=line.unit_price,
        gross=Money.of(gross, currency),
        discount=Money.of(discount, currency),
        tax=Money.of(sum(taxes), currency),
        total=Money.of(gross - discount + added, currency),
    )


def _totals(items: int, discount: int, shipping: int, tax_lines: Sequence[TaxLine], currency: str) -> Totals:
    tax = sum(line.amount.amount for line in tax_lines)
    included = sum(line.amount.amount for line in tax_lines if line.included)
    return Totals(
        items=Money.of(items, currency),
        discount=Money.of(discount, currency),
        shipping=Money.of(shipping, currency),
        tax=Money.of(tax, currency),
        tax_included=Money.of(included, currency),
        total=Money.of(items - discount + shipping + tax - included, currency),
    )
