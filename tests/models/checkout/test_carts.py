"""A cart as the page shows it: what it lacks, and what the buyer should know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from models.addresses import Address
from models.checkout.carts import (
    MAX_LINES,
    MAX_QUANTITY,
    NO_RULES,
    Cart,
    CartItem,
    Rules,
    merge_details,
    merge_lines,
    quote,
    view,
    warnings,
)
from models.checkout.shipping import ShippingOption, ShippingZone

ITEM = CartItem(id="item_1", sku="A", title="A", quantity=2, unit_price=1000, seen_price=1000, available=50)
ADDRESS = Address(
    name="Ada",
    company=None,
    line1="1",
    line2=None,
    city="X",
    region="OR",
    postal_code="97201",
    country="US",
    phone=None,
)
EMPTY = Cart(
    id="cart_1",
    version=1,
    customer_id=None,
    currency="USD",
    country="US",
    email=None,
    shipping_address=None,
    billing_address=None,
    shipping_option_id=None,
    discount_codes=(),
    completed_order_id=None,
)
ZONE = ShippingZone(
    id="us",
    title="US",
    places=("US",),
    options=(ShippingOption(id="std", title="Std", prices={"USD": 500}, min_days=1, max_days=2),),
)
RULES = Rules(now=datetime(2026, 1, 1, tzinfo=UTC), tax_rates=(), zones=(ZONE,), promotions=())
READY = replace(EMPTY, items=(ITEM,), email="a@example.com", shipping_address=ADDRESS, shipping_option_id="std")


def test_an_empty_one_lacks_everything_and_costs_nothing():
    quoted = quote(EMPTY, NO_RULES)
    assert list(quoted.requirements) == ["items", "email", "shipping_address", "shipping_option"]
    assert quoted.total.amount == 0


def test_a_ready_one_lacks_nothing():
    quoted = quote(READY, RULES)
    assert list(quoted.requirements) == []
    assert quoted.total.amount == 2500


def test_an_option_that_is_not_offered_counts_as_not_chosen():
    quoted = quote(replace(READY, shipping_option_id="gone"), RULES)
    assert list(quoted.requirements) == ["shipping_option"]
    assert quoted.total.amount == 2000


def test_an_item_without_a_price_is_no_item_to_buy():
    cart = replace(READY, items=(replace(ITEM, unit_price=None),))
    quoted = quote(cart, RULES)
    assert "items" in quoted.requirements
    assert warnings(cart, quoted) == [{"type": "price_unavailable", "sku": "A"}]


def test_warnings_tell_of_stock_and_prices():
    for item, kind in (
        (replace(ITEM, available=1), "out_of_stock"),
        (replace(ITEM, available=-3), "out_of_stock"),
        (replace(ITEM, available=2), "low_stock"),
        (replace(ITEM, seen_price=900), "price_changed"),
    ):
        cart = replace(READY, items=(item,))
        assert [warning["type"] for warning in warnings(cart, quote(cart, RULES))] == [kind]
    assert warnings(READY, quote(READY, RULES)) == []


def test_the_page_never_shows_less_than_nothing():
    cart = replace(READY, items=(replace(ITEM, available=-3),))
    assert view(cart, quote(cart, RULES))["items"][0]["available"] == 0


def test_the_address_decides_where_it_goes():
    assert EMPTY.destination == ("US", None)
    assert READY.destination == ("US", "OR")


def items(quantities, available):
    return [
        replace(ITEM, id=f"item_{sku}", sku=sku, quantity=quantity, available=available[sku])
        for sku, quantity in quantities.items()
    ]


SKUS = [f"S{n}" for n in range(6)]
quantities = st.dictionaries(st.sampled_from(SKUS), st.integers(1, MAX_QUANTITY), max_size=6)


@given(quantities, quantities, st.fixed_dictionaries({sku: st.integers(-3, 2000) for sku in SKUS}))
def test_merging_adds_up_to_what_is_available_and_takes_nothing_away(mine, theirs, available):
    changed, short = merge_lines(items(mine, available), items(theirs, available))
    result = {**mine, **{item.sku: item.quantity for item in changed}}
    most = {sku: max(0, min(MAX_QUANTITY, available[sku])) for sku in SKUS}
    for item in changed:
        assert item.sku in theirs
        assert mine.get(item.sku, 0) < item.quantity <= most[item.sku]
    for sku in {*mine, *theirs}:
        wanted = mine.get(sku, 0) + theirs.get(sku, 0)
        either = max(mine.get(sku, 0), theirs.get(sku, 0))
        assert result.get(sku, 0) >= min(either, most[sku])
        assert result.get(sku, 0) >= mine.get(sku, 0)
        if wanted <= most[sku]:
            assert result[sku] == wanted
    assert {warning["sku"] for warning in short} == {
        sku for sku in theirs if result.get(sku, 0) < mine.get(sku, 0) + theirs[sku]
    }


def test_merging_never_makes_more_lines_than_a_cart_takes():
    mine = [replace(ITEM, id=f"m{n}", sku=f"M{n}") for n in range(MAX_LINES - 1)]
    theirs = [replace(ITEM, id=f"t{n}", sku=f"T{n}") for n in range(3)] + [replace(ITEM, sku="M0")]
    changed, short = merge_lines(mine, theirs)
    assert [item.sku for item in changed] == ["T0", "M0"]
    assert [(warning["sku"], warning["quantity"]) for warning in short] == [("T1", 0), ("T2", 0)]


def test_merging_keeps_the_details_and_fills_in_what_is_missing():
    assert merge_details(READY, replace(READY, email="b@example.com", discount_codes=("A",))) == {
        "discount_codes": ["A"]
    }
    filled = merge_details(replace(EMPTY, discount_codes=("B", "A")), replace(READY, discount_codes=("A", "C")))
    assert filled == {
        "discount_codes": ["B", "A", "C"],
        "email": "a@example.com",
        "shipping_address": ADDRESS.model_dump(),
        "shipping_option_id": "std",
    }
