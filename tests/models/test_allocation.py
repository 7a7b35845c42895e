"""Allocation: every unit once, from one place where one has it all, never more than is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.allocation import Level, Taken, allocate_stock
from models.errors import OutOfStock

SKUS, PLACES = ("a", "b", "c"), ("east", "west", "north")
stock = st.dictionaries(st.tuples(st.sampled_from(SKUS), st.sampled_from(PLACES)), st.integers(-2, 6))
orders = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 8), min_size=1)


def levels(wanted, available):
    return [Level(sku, place, count, PLACES.index(place)) for (sku, place), count in available.items() if sku in wanted]


@given(orders, stock)
def test_all_or_nothing(wanted, available):
    there = {sku: sum(max(0, n) for (s, _), n in available.items() if s == sku) for sku in wanted}
    if all(there[sku] >= quantity for sku, quantity in wanted.items()):
        taken = allocate_stock(wanted, levels(wanted, available))
        for sku, quantity in wanted.items():
            assert sum(part.quantity for part in taken if part.sku == sku) == quantity
        assert all(0 < part.quantity <= available[part.sku, part.location] for part in taken)
        assert len({(part.sku, part.location) for part in taken}) == len(taken)
    else:
        with pytest.raises(OutOfStock) as refused:
            allocate_stock(wanted, levels(wanted, available))
        short = {item["sku"]: item["available"] for item in refused.value.extra["items"]}
        assert short == {sku: there[sku] for sku, quantity in wanted.items() if there[sku] < quantity}


@given(orders, stock)
def test_one_place_that_has_everything_sends_everything(wanted, available):
    able = [p for p in PLACES if all(available.get((sku, p), 0) >= q for sku, q in wanted.items())]
    if able:
        assert {part.location for part in allocate_stock(wanted, levels(wanted, available))} == {able[0]}


def test_the_first_place_is_asked_first_and_the_fullest_where_none_has_all():
    both = [Level("a", "east", 5, 0), Level("a", "west", 5, 1)]
    assert allocate_stock({"a": 3}, both) == [Taken("a", "east", 3)]
    split = [Level("a", "east", 2, 0), Level("a", "west", 4, 1)]
    assert allocate_stock({"a": 5}, split) == [Taken("a", "west", 4), Taken("a", "east", 1)]


def test_a_sku_that_is_nowhere_is_short():
    with pytest.raises(OutOfStock) as refused:
        allocate_stock({"a": 1}, [])
    assert refused.value.extra["available"] == 0
