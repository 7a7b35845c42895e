"""From which stock location each unit comes: all from one place if one has all of it, else as few as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.errors import OutOfStock


class Level(NamedTuple):
    """What one location has free of one SKU; a lower `priority` is asked first."""

    sku: str
    location: str
    available: int
    priority: int


class Taken(NamedTuple):
    sku: str
    location: str
    quantity: int


def allocate_stock(wanted: Mapping[str, int], levels: Sequence[Level]) -> list[Taken]:
    """Raises OutOfStock with every SKU that is short, and takes nothing."""
    free: dict[str, dict[str, int]] = {sku: {} for sku in wanted}
    priority: dict[str, int] = {}
    for level in levels:
        free[level.sku][level.location] = max(0, level.available)
        priority[level.location] = level.priority
    _check(wanted, free)
    locations = sorted(priority, key=lambda location: (priority[location], location))
    whole = next((place for place in locations if all(free[sku].get(place, 0) >= q for sku, q in wanted.items())), None)
    if whole is not None:
        return [Taken(sku, whole, quantity) for sku, quantity in sorted(wanted.items())]
    taken = []
    for sku, quantity in sorted(wanted.items()):
        left = quantity
        # The fullest place first: fewest parcels for this SKU.
        for place in sorted(locations, key=lambda p: (-min(free[sku].get(p, 0), quantity), locations.index(p))):
            part = min(left, free[sku].get(place, 0))
            if part:
                taken.append(Taken(sku, place, part))
                left -= part
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
