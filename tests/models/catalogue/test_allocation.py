"""Allocation: every unit once, from the fewest locations, of those from the nearest, never more than is there."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue import allocation
from models.catalogue.allocation import FAR, Level, Place, StockAllocation, allocate_stock, distance
from models.errors import OutOfStock

SKUS, PLACES = ("a", "b", "c"), ("east", "west", "north", "south", "abroad")
stock = st.dictionaries(st.tuples(st.sampled_from(SKUS), st.sampled_from(PLACES)), st.integers(-2, 6))
orders = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 8), min_size=1)
places = st.builds(
    Place,
    country=st.sampled_from([None, "US", "DE"]),
    region=st.sampled_from([None, "NY", "CA"]),
    postal_code=st.sampled_from([None, "12207", "941", "SW1A 1AA"]),
)
maps = st.fixed_dictionaries(dict.fromkeys(PLACES, places))


def levels(wanted, available, where=None):
    return [
        Level(sku, place, count, PLACES.index(place), (where or {}).get(place, Place()))
        for (sku, place), count in available.items()
        if sku in wanted
    ]


def enough(wanted, available, some):
    return all(sum(max(0, available.get((sku, p), 0)) for p in some) >= q for sku, q in wanted.items())


def smallest(wanted, available):
    """By brute force: how many locations it takes; None when all of them don't have it."""
    sizes = range(len(PLACES) + 1)
    return next((n for n in sizes if any(enough(wanted, available, some) for some in combinations(PLACES, n))), None)


def check_conserved(wanted, available, taken):
    for sku, quantity in wanted.items():
        assert sum(part.quantity for part in taken if part.sku == sku) == quantity
    assert all(0 < part.quantity <= available[part.sku, part.location] for part in taken)
    assert len({(part.sku, part.location) for part in taken}) == len(taken)


@given(orders, stock, maps, places)
def test_all_or_nothing_from_the_fewest_locations(wanted, available, where, to):
    there = {sku: sum(max(0, n) for (s, _), n in available.items() if s == sku) for sku in wanted}
    fewest = smallest(wanted, available)
    if fewest is not None:
        taken = allocate_stock(wanted, levels(wanted, available, where), to)
        check_conserved(wanted, available, taken)
        assert len({part.location for part in taken}) == fewest
    else:
        with pytest.raises(OutOfStock) as refused:
            allocate_stock(wanted, levels(wanted, available, where), to)
        short = {item["sku"]: item["available"] for item in refused.value.extra["items"]}
        assert short == {sku: there[sku] for sku, quantity in wanted.items() if there[sku] < quantity}


@given(orders, stock, maps, places)
def test_beyond_what_can_be_tried_it_is_still_all_and_nothing_useless(wanted, available, where, to):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(allocation, "EXACT", 0)
        if smallest(wanted, available) is None:
            return
        taken = allocate_stock(wanted, levels(wanted, available, where), to)
    check_conserved(wanted, available, taken)
    used = {part.location for part in taken}
    assert not any(enough(wanted, available, used - {place}) for place in used)


@given(orders, stock, maps, places, st.randoms())
def test_the_order_in_which_levels_are_read_changes_nothing(wanted, available, where, to, dice):
    if smallest(wanted, available) is None:
        return
    read = levels(wanted, available, where)
    shuffled = dice.sample(read, len(read))
    assert allocate_stock(wanted, shuffled, to) == allocate_stock(wanted, read, to)


@given(orders, stock, maps, places)
def test_of_single_locations_that_have_it_all_the_nearest_sends_it(wanted, available, where, to):
    able = [p for p in PLACES if enough(wanted, available, [p])]
    if able:
        nearest = min(able, key=lambda p: (distance(where[p], to), PLACES.index(p)))
        taken = allocate_stock(wanted, levels(wanted, available, where), to)
        assert {part.location for part in taken} == {nearest}


def test_without_places_the_first_is_asked_first_and_the_fullest_where_none_has_all():
    both = [Level("a", "east", 5, 0), Level("a", "west", 5, 1)]
    assert allocate_stock({"a": 3}, both) == [StockAllocation("a", "east", 3)]
    split = [Level("a", "east", 2, 0), Level("a", "west", 4, 1)]
    assert allocate_stock({"a": 5}, split) == [StockAllocation("a", "west", 4), StockAllocation("a", "east", 1)]


def test_fewer_parcels_go_before_a_shorter_way():
    buyer = Place("US", "CA", "94105")
    near, far = Place("US", "NV", "89501"), Place("US", "NY", "12207")
    stock = [Level("a", "near", 5, 1, near), Level("a", "far", 5, 0, far), Level("b", "far", 5, 0, far)]
    assert {part.location for part in allocate_stock({"a": 1, "b": 1}, stock, buyer)} == {"far"}
    assert allocate_stock({"a": 1}, stock, buyer) == [StockAllocation("a", "near", 1)]


def test_a_line_is_not_split_where_one_of_the_chosen_has_all_of_it():
    stock = [Level("a", "east", 2, 0), Level("a", "west", 3, 1), Level("b", "west", 1, 1), Level("c", "east", 1, 0)]
    taken = allocate_stock({"a": 3, "b": 1, "c": 1}, stock)
    assert taken == [StockAllocation("a", "west", 3), StockAllocation("b", "west", 1), StockAllocation("c", "east", 1)]


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        (Place("US", "NY", "10001"), Place("US", "NY", "14850")),  # one region: the codes
        (Place("US", "NY", "14850"), Place("US", "NJ", "07030")),  # the region before the codes
        (Place("US", "CA", "94105"), Place("CA", "ON", "M5V")),  # the country before all
        (Place("US", "MA", None), Place(None, None, "12207")),  # what isn't known is far
    ],
)
def test_what_is_nearer_to_albany(nearer, farther):
    albany = Place("US", "NY", "12207")
    assert distance(nearer, albany) < distance(farther, albany)


def test_codes_of_letters_are_near_when_they_begin_alike():
    soho = Place("GB", None, "W1D 4SG")
    assert distance(Place("GB", None, "W1"), soho) < distance(Place("GB", None, "WC2"), soho)
    assert distance(Place("GB", None, "EH1"), soho) == (0, 1, FAR)


def test_a_sku_that_is_nowhere_is_short():
    with pytest.raises(OutOfStock) as refused:
        allocate_stock({"a": 1}, [])
    assert refused.value.extra["available"] == 0
