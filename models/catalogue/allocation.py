"""Allocates an order's units to stock locations: the fewest locations (parcels), and of those the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from models.errors import OutOfStock

EXACT = 10
"""Up to so many locations every combination is tried; with more of them the choice is greedy."""

FAR = 1000
"""The distance of postal codes that can't be compared; three digits never differ by as much."""


class Place(NamedTuple):
    """Of a location or a buyer: ISO 3166-1 alpha-2, the ISO 3166-2 part, and a postal code or its beginning."""

    country: str | None = None
    region: str | None = None
    postal_code: str | None = None


NOWHERE = Place()


class Level(NamedTuple):
    """One location's available units of one SKU. Of equally near locations the lower `priority` comes first."""

    sku: str
    location: str
    available: int
    priority: int
    place: Place = NOWHERE


class StockAllocation(NamedTuple):
    sku: str
    location: str
    quantity: int


Free = dict[str, dict[str, int]]  # by SKU and location


def distance(one: Place, other: Place) -> tuple[int, int, int]:
    """(other country, other region, difference of postal codes): comparable for one `one` only.

    Nearby postal codes begin alike nearly everywhere: the first three digits are compared as numbers, other codes by
    their common prefix. This is a heuristic without geodata; unknown places are far.
    """
    if one.country is None or one.country != other.country:
        return 1, 1, FAR
    region = int(one.region is None or one.region != other.region)
    return 0, region, _codes_apart(one.postal_code or "", other.postal_code or "")


def _codes_apart(one: str, other: str) -> int:
    one, other = one.replace(" ", "")[:3], other.replace(" ", "")[:3]
    if one.isdecimal() and other.isdecimal():
        return abs(int(one.ljust(3, "0")) - int(other.ljust(3, "0")))
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return FAR >> same if same else FAR


def allocate_stock(wanted: Mapping[str, int], levels: Sequence[Level], to: Place = NOWHERE) -> list[StockAllocation]:
    """Allocates from the smallest set of locations that has every unit. Of several such sets it is the one whose
    nearest location is nearest, then its second nearest, …; ties go by priority, then code.

    Raises OutOfStock with every SKU that is short.
    """
    free: Free = {sku: {} for sku in wanted}
    ranks: dict[str, tuple[tuple[int, int, int], int, str]] = {}
    for level in levels:
        if level.available > 0 and level.sku in free:
            free[level.sku][level.location] = level.available
            ranks[level.location] = (distance(level.place, to), level.priority, level.location)
    _check(wanted, free)
    nearest_first = sorted(ranks, key=ranks.__getitem__)
    chosen = _few(wanted, free, nearest_first) if len(ranks) > EXACT else _fewest(wanted, free, nearest_first)
    return [part for sku, quantity in sorted(wanted.items()) for part in _from(sku, quantity, free[sku], chosen)]


def _fewest(wanted: Mapping[str, int], free: Free, locations: Sequence[str]) -> list[str]:
    """Combinations keep the order of `locations`, so the first sufficient one is the nearest of its size."""
    for size in range(len(locations) + 1):
        for some in combinations(locations, size):
            if _enough(wanted, free, some):
                return list(some)
    raise AssertionError("all locations together have enough")


def _few(wanted: Mapping[str, int], free: Free, locations: Sequence[str]) -> list[str]:
    """Greedy: adds the location with most of the missing units (the nearest on a tie), then drops redundant ones."""
    missing = dict(wanted)
    chosen: list[str] = []
    while any(missing.values()):
        useful = {
            place: sum(min(free[sku].get(place, 0), quantity) for sku, quantity in missing.items())
            for place in locations
            if place not in chosen
        }
        best = max(useful, key=lambda place: (useful[place], -locations.index(place)))
        chosen.append(best)
        missing = {sku: quantity - min(free[sku].get(best, 0), quantity) for sku, quantity in missing.items()}
    for place in sorted(chosen, key=locations.index, reverse=True):
        without = [other for other in chosen if other != place]
        if _enough(wanted, free, without):
            chosen = without
    return sorted(chosen, key=locations.index)


def _enough(wanted: Mapping[str, int], free: Free, locations: Iterable[str]) -> bool:
    return all(sum(free[sku].get(place, 0) for place in locations) >= quantity for sku, quantity in wanted.items())


def _from(sku: str, quantity: int, free: Mapping[str, int], chosen: Sequence[str]) -> list[StockAllocation]:
    """Takes from the location with most units first, to split a line as little as possible; ties go to the nearest."""
    taken = []
    for place in sorted(chosen, key=lambda place: (-min(free.get(place, 0), quantity), chosen.index(place))):
        part = min(quantity, free.get(place, 0))
        if part:
            taken.append(StockAllocation(sku, place, part))
            quantity -= part
    return taken


def _check(wanted: Mapping[str, int], free: Mapping[str, Mapping[str, int]]) -> None:
    short = [
        {"sku": sku, "requested": quantity, "available": sum(free[sku].values())}
        for sku, quantity in sorted(wanted.items())
        if sum(free[sku].values()) < quantity
    ]
    if short:
        first = short[0]
        raise OutOfStock(
            f"{first['sku']}: {first['requested']} wanted, {first['available']} available",
            sku=first["sku"],
            available=first["available"],
            items=short,
        )
