"""Shipping: the most specific zone answers, in the cart's currency."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.checkout.shipping import ShippingOption, ShippingZone, option_named, options_for, zones_for
from models.money import Money


def option(option_id, price=599, **more):
    return ShippingOption(id=option_id, title=option_id.title(), prices={"USD": price}, min_days=2, max_days=4, **more)


ZONES = [
    ShippingZone(
        id="us",
        title="United States",
        places=("US",),
        options=(option("us-express", 1_999), option("us-standard", free_over={"USD": 7_500})),
    ),
    ShippingZone(id="hawaii", title="Hawaii", places=("US-HI", "US-AK"), options=(option("us-far", 2_900),)),
    ShippingZone(id="eu", title="Europe", places=("DE", "FR"), options=(option("eu-standard"),)),
    ShippingZone(id="world", title="Elsewhere", places=("*",), options=(option("world"),)),
]
SUBTOTAL = Money.of(5_000, "USD")


@pytest.mark.parametrize(
    ("country", "region", "ids"),
    [
        ("US", "NY", ["us-standard", "us-express"]),
        ("us", None, ["us-standard", "us-express"]),
        ("US", "hi", ["us-far"]),
        ("DE", None, ["eu-standard"]),
        ("NZ", "AUK", ["world"]),
    ],
)
def test_the_most_specific_zone_answers_cheapest_first(country, region, ids):
    assert [o.id for o in options_for(ZONES, country, region, SUBTOTAL)] == ids


def test_without_a_zone_for_the_rest_of_the_world_nothing_is_offered():
    assert zones_for(ZONES[:3], "NZ") == []
    assert options_for(ZONES[:3], "NZ", None, SUBTOTAL) == []


def test_shipping_is_free_from_the_threshold():
    def standard(amount):
        return {o.id: o.price.amount for o in options_for(ZONES, "US", "NY", Money.of(amount, "USD"))}

    assert standard(7_499)["us-standard"] == 599
    assert standard(7_500) == {"us-standard": 0, "us-express": 1_999}


def test_an_option_without_a_price_in_the_currency_is_not_offered():
    assert options_for(ZONES, "US", "NY", Money.of(5_000, "KWD")) == []


def test_an_option_is_found_only_where_it_is_offered():
    assert option_named(ZONES, "us-express", "US", "NY", SUBTOTAL).id == "us-express"
    assert option_named(ZONES, "us-express", "DE", None, SUBTOTAL) is None


@pytest.mark.parametrize(
    "change", [{"max_days": 1}, {"min_days": -1}, {"prices": {"USD": 5.99}}, {"prices": {"USD": -1}}]
)
def test_a_malformed_option_is_refused(change):
    good = {"id": "x", "title": "X", "prices": {"USD": 599}, "min_days": 2, "max_days": 4}
    with pytest.raises(ValidationError):
        ShippingOption.model_validate({**good, **change})


@pytest.mark.parametrize("place", ["us", "USA", "US-", "**", "", "US-CALI"])
def test_a_malformed_place_is_refused(place):
    with pytest.raises(ValidationError):
        ShippingZone(id="x", title="X", places=(place,))
