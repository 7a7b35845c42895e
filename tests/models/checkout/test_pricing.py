"""Cart prices: the identities of models/checkout/pricing.py, for carts nobody would think of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.checkout.pricing import LineToPrice, price_cart
from models.checkout.promotions import Promotion, PromotionKind
from models.checkout.shipping import ShippingOption
from models.checkout.tax import TaxRate
from models.errors import CurrencyMismatch, ShippingOptionUnavailable
from models.money import CURRENCIES, PPM, Money


def line(sku, price, quantity=1, currency="USD"):
    return LineToPrice(sku=sku, quantity=quantity, unit_price=Money.of(price, currency))


def percent(ppm, code="PERCENT"):
    return Promotion(id=code, code=code, kind=PromotionKind.PERCENTAGE, percent_ppm=ppm)


def off(amount, code="FIXED", currency="USD"):
    return Promotion(id=code, code=code, kind=PromotionKind.FIXED, amounts={currency: amount})


FREE = Promotion(id="FREE", code="FREE", kind=PromotionKind.FREE_SHIPPING)


def shipping(price, currency="USD", **more):
    return ShippingOption(id="s", title="Standard", prices={currency: price}, min_days=1, max_days=2, **more)


def tax(ppm, *, inclusive=False, on_shipping=False, name="Tax", region=None):
    return TaxRate(
        name=name, country="US", region=region, rate_ppm=ppm, inclusive=inclusive, applies_to_shipping=on_shipping
    )


def amounts(priced):
    return {name: money["amount"] for name, money in priced.totals.model_dump().items()}


def test_an_american_cart_adds_its_tax():
    priced = price_cart(
        [line("A", 10_000), line("B", 2_500, 2)],
        currency="USD",
        promotions=[percent(100_000)],
        shipping_option=shipping(599),
        tax_rates=[tax(40_000, on_shipping=True, region="NY")],
    )
    assert amounts(priced) == {
        "items": 15_000,
        "discount": 1_500,
        "shipping": 599,
        "tax": 564,  # 360 + 180 + 24
        "tax_included": 0,
        "total": 14_663,
    }
    assert [(one.discount.amount, one.tax.amount, one.total.amount) for one in priced.lines] == [
        (1_000, 360, 9_360),
        (500, 180, 4_680),
    ]
    assert priced.shipping_tax.amount == 24
    assert priced.tax_lines[0].model_dump() == {
        "name": "Tax",
        "jurisdiction": "US-NY",
        "rate": "0.04",
        "included": False,
        "amount": {"amount": 564, "currency": "USD"},
    }


def test_a_german_price_contains_its_tax():
    priced = price_cart(
        [line("A", 11_900, currency="EUR")],
        currency="EUR",
        shipping_option=shipping(595, "EUR"),
        tax_rates=[tax(190_000, inclusive=True, on_shipping=True)],
    )
    assert amounts(priced) == {
        "items": 11_900,
        "discount": 0,
        "shipping": 595,
        "tax": 1_995,
        "tax_included": 1_995,
        "total": 12_495,
    }


def test_percentages_take_from_what_the_one_before_left_then_fixed_amounts():
    codes = [off(500), percent(100_000, "A"), percent(500_000, "B")]
    priced = price_cart([line("A", 10_000)], currency="USD", promotions=codes)
    assert [(d.code, d.amount.amount) for d in priced.discounts] == [("A", 1_000), ("B", 4_500), ("FIXED", 500)]
    assert priced.totals.total.amount == 4_000


def test_free_shipping_shows_what_it_saved():
    priced = price_cart([line("A", 1_000)], currency="USD", promotions=[FREE], shipping_option=shipping(599))
    assert amounts(priced)["shipping"] == 599
    assert amounts(priced)["discount"] == 599
    assert priced.shipping_discount.amount == 599
    assert priced.totals.total.amount == 1_000
    assert priced.lines[0].discount.amount == 0


def test_free_shipping_without_an_option_yet_saves_nothing_yet():
    priced = price_cart([line("A", 1_000)], currency="USD", promotions=[FREE])
    assert priced.discounts[0].amount.amount == 0


def test_the_shipping_threshold_looks_at_items_before_discounts():
    option = shipping(599, free_over={"USD": 10_000})
    priced = price_cart([line("A", 10_000)], currency="USD", promotions=[percent(500_000)], shipping_option=option)
    assert priced.totals.shipping.amount == 0


def test_an_empty_cart_costs_nothing():
    priced = price_cart(
        [],
        currency="KWD",
        promotions=[percent(100_000), off(5, currency="KWD")],
        shipping_option=shipping(599, "KWD"),
        tax_rates=[tax(40_000, on_shipping=True)],
    )
    assert set(amounts(priced).values()) == {0}


@pytest.mark.parametrize(
    ("ppm", "price", "total"), [(150_000, 39_750, 33_790), (1_000_000, 39_755, 0), (100_000, 46_000, 41_400)]
)
def test_a_percentage_of_dinars_leaves_what_a_card_can_pay(ppm, price, total):
    priced = price_cart([line("A", price, currency="KWD")], currency="KWD", promotions=[percent(ppm)])
    assert priced.totals.total.amount == total


def test_a_discount_larger_than_the_cart_stops_at_zero():
    priced = price_cart([line("A", 300), line("B", 0)], currency="USD", promotions=[off(500)])
    assert priced.totals.total.amount == 0
    assert priced.discounts[0].amount.amount == 300


def test_another_currency_is_refused():
    with pytest.raises(CurrencyMismatch):
        price_cart([line("A", 1, currency="EUR")], currency="USD")


def test_an_option_without_a_price_in_the_currency_is_refused():
    with pytest.raises(ShippingOptionUnavailable):
        price_cart([line("A", 1)], currency="USD", shipping_option=shipping(1, "EUR"))


@pytest.mark.parametrize("quantity", [0, -1, 1.0, True])
def test_a_quantity_is_a_whole_positive_number(quantity):
    with pytest.raises(ValidationError):
        line("A", 1, quantity)


@st.composite
def carts(draw):
    currency = draw(st.sampled_from(sorted(CURRENCIES)))
    skus = draw(st.lists(st.sampled_from("ABCDEFGH"), unique=True, max_size=6))
    prices = st.integers(0, 5_000_000)
    lines = [line(sku, draw(prices), draw(st.integers(1, 999)), currency) for sku in skus]
    some = st.lists(
        st.one_of(
            st.builds(percent, st.integers(1, PPM), st.sampled_from(["P1", "P2"])),
            st.builds(off, st.integers(1, 10**8), st.sampled_from(["F1", "F2"]), st.just(currency)),
            st.just(FREE),
        ),
        max_size=4,
        unique_by=lambda p: p.code,
    )
    rates = st.lists(
        st.builds(
            tax,
            st.integers(0, PPM),
            inclusive=st.booleans(),
            on_shipping=st.booleans(),
            name=st.sampled_from("XYZ"),
        ),
        max_size=3,
    )
    option = st.none() | st.builds(shipping, st.integers(0, 10**6), st.just(currency))
    return lines, {
        "currency": currency,
        "promotions": draw(some),
        "shipping_option": draw(option),
        "tax_rates": draw(rates),
    }


@given(carts())
def test_the_totals_are_what_the_parts_say(cart):
    lines, rest = cart
    priced = price_cart(lines, **rest)
    total = amounts(priced)
    assert total["total"] == (
        total["items"] - total["discount"] + total["shipping"] + total["tax"] - total["tax_included"]
    )
    assert all(amount >= 0 for amount in total.values())
    assert total["items"] == sum(one.gross.amount for one in priced.lines)
    on_lines = sum(one.discount.amount for one in priced.lines)
    assert total["discount"] == on_lines + priced.shipping_discount.amount
    assert total["discount"] == sum(d.amount.amount for d in priced.discounts)
    assert total["tax"] == sum(t.amount.amount for t in priced.tax_lines)
    assert total["tax"] == sum(one.tax.amount for one in priced.lines) + priced.shipping_tax.amount
    assert total["tax_included"] == sum(t.amount.amount for t in priced.tax_lines if t.included)


@given(carts())
def test_no_discount_exceeds_what_it_is_taken_from(cart):
    lines, rest = cart
    priced = price_cart(lines, **rest)
    for one in priced.lines:
        assert 0 <= one.discount.amount <= one.gross.amount
        assert one.gross == one.unit_price * one.quantity
        assert one.total.amount >= one.gross.amount - one.discount.amount
    assert 0 <= priced.shipping_discount.amount <= priced.totals.shipping.amount


@given(carts())
def test_included_tax_is_part_of_the_price(cart):
    lines, rest = cart
    priced = price_cart(lines, **rest)
    paid = priced.totals.items - priced.totals.discount + priced.totals.shipping
    assert priced.totals.tax_included <= paid
    assert priced.totals.tax_included <= priced.totals.tax


@given(carts(), st.randoms(use_true_random=False))
def test_the_order_of_lines_and_codes_changes_nothing(cart, random):
    lines, rest = cart
    priced = price_cart(lines, **rest)
    shuffled = random.sample(lines, len(lines))
    codes = random.sample(rest["promotions"], len(rest["promotions"]))
    again = price_cart(shuffled, **{**rest, "promotions": codes})
    assert again.totals == priced.totals
    assert again.tax_lines == priced.tax_lines
    assert again.discounts == priced.discounts
    assert {one.sku: one for one in again.lines} == {one.sku: one for one in priced.lines}
    assert [one.sku for one in again.lines] == [one.sku for one in shuffled]


@given(carts())
def test_with_only_added_taxes_the_lines_and_shipping_make_the_total(cart):
    lines, rest = cart
    rest["tax_rates"] = [r for r in rest["tax_rates"] if not r.inclusive]
    priced = price_cart(lines, **rest)
    of_lines = sum(one.total.amount for one in priced.lines)
    of_shipping = (priced.totals.shipping - priced.shipping_discount + priced.shipping_tax).amount
    assert of_lines + of_shipping == priced.totals.total.amount


@given(carts())
def test_it_survives_json(cart):
    lines, rest = cart
    priced = price_cart(lines, **rest)
    assert type(priced).model_validate_json(priced.model_dump_json()) == priced
