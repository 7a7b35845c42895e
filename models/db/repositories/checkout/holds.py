"""Stock holds of checkouts. Levels are always locked by SKU, then location, which prevents deadlocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from models.catalogue.allocation import Level, Place, StockAllocation, allocate_stock
from models.catalogue.inventory import Movement
from models.db.repositories.catalogue import inventory
from models.db.tables.base import one_of
from models.states import LIVE_CHECKOUT

_LOCK_SKUS = text("""
SELECT s.sku, s.location, s.on_hand - s.reserved AS available, l.priority, l.country, l.region, l.postal_code
FROM stock_levels s JOIN stock_locations l ON l.code = s.location
WHERE s.sku = ANY(CAST(:skus AS text[])) ORDER BY s.sku, s.location FOR UPDATE OF s
""")

_LOCK_HELD = text("""
SELECT 1 FROM stock_levels s JOIN stock_holds h ON h.sku = s.sku AND h.location = s.location
WHERE h.checkout_id = :checkout_id AND h.state = 'held' ORDER BY s.sku, s.location FOR UPDATE OF s
""")

_RELEASE = inventory.statement(
    """
WITH released AS (
    UPDATE stock_holds SET state = 'released' WHERE checkout_id = :checkout_id AND state = 'held'
    RETURNING sku, location, quantity),
{moved}
SELECT sku FROM moved
""",
    Movement.RELEASE,
    "released",
)

_RESERVE_AGAIN = inventory.statement(
    """
WITH wanted AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:quantities AS int[]))
        AS w (sku, location, quantity)),
    gone AS (DELETE FROM stock_holds h WHERE h.checkout_id = :checkout_id AND h.state = 'released'
        AND NOT EXISTS (SELECT 1 FROM wanted w WHERE w.sku = h.sku AND w.location = h.location)),
    holds AS (INSERT INTO stock_holds (checkout_id, sku, location, quantity, state)
        SELECT :checkout_id, w.sku, w.location, w.quantity, 'held' FROM wanted w
        ON CONFLICT (checkout_id, sku, location) DO UPDATE SET quantity = excluded.quantity, state = 'held'),
    {moved}
SELECT sku FROM moved
""",
    Movement.RESERVE,
    "wanted",
)


def lock_stock(connection: Connection, wanted: Mapping[str, int], to: Place) -> list[StockAllocation]:
    """Locks the levels of these SKUs and allocates them for a destination. Raises OutOfStock."""
    rows = connection.execute(_LOCK_SKUS, {"skus": sorted(wanted)})
    levels = [
        Level(row.sku, row.location, row.available, row.priority, Place(row.country, row.region, row.postal_code))
        for row in rows
    ]
    return allocate_stock(wanted, levels, to)


def place_of(address: Mapping[str, Any] | None) -> Place:
    """The place of a stored address; NOWHERE without one."""
    return Place(*((address or {}).get(name) for name in Place._fields))


def columns(taken: Sequence[StockAllocation]) -> dict[str, list[str] | list[int]]:
    """The allocations as three arrays, for `unnest`."""
    return {
        "skus": [part.sku for part in taken],
        "locations": [part.location for part in taken],
        "quantities": [part.quantity for part in taken],
    }


def reserve_again(connection: Connection, checkout_id: str, wanted: Mapping[str, int], to: Place) -> None:
    """Holds the stock of an expired hold again. Raises OutOfStock."""
    taken = lock_stock(connection, wanted, to)
    _RESERVE_AGAIN.execute(connection, {"checkout_id": checkout_id, **columns(taken)})


def expire(connection: Connection, checkout_id: str) -> None:
    """Releases the stock of a live checkout. The checkout's lock serialises this with its confirmation."""
    live = text(f"SELECT 1 FROM checkouts WHERE id = :id AND {one_of('status', LIVE_CHECKOUT)} FOR UPDATE")  # noqa: S608  constants
    if connection.execute(live, {"id": checkout_id}).first() is not None:
        release(connection, checkout_id)


def release(connection: Connection, checkout_id: str) -> None:
    """Releases what is still held. Idempotent: released and allocated stock is not changed."""
    connection.execute(_LOCK_HELD, {"checkout_id": checkout_id})
    _RELEASE.execute(connection, {"checkout_id": checkout_id})
