"""Stock levels: reads, adjustments and counts. `on_hand` never falls below `reserved`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, MappingResult, RowMapping, text

from models import topics
from models.catalogue.csv_tables import RowError
from models.catalogue.inventory import (
    MAX_STOCK,
    MOVEMENTS,
    AdjustStock,
    Inventory,
    Movement,
    StockAdjustment,
    StockLevel,
)
from models.catalogue.product_import import StockRow
from models.db.repositories.delivery import outbox
from models.errors import InvalidRequest, NotFound, StockBelowReserved, UnknownLocation
from models.ids import new_id


def statement(sql: str, movement: Movement, source: str) -> outbox.Statement:
    """A statement in which `{moved}` stands for the CTEs that change the stock levels and publish `stock.changed`. Only
    these CTEs write quantities.

    `source`: the name of a CTE of (sku, location, quantity), one row per level; the levels are locked. `moved` has
    (sku, location, on_hand) of each level after the change.
    """
    changes = ", ".join(
        f"{column} = s.{column} {'+' if sign > 0 else '-'} m.quantity"
        for column, sign in MOVEMENTS[movement]._asdict().items()
        if sign
    )
    moved = (
        f"moved AS (UPDATE stock_levels s SET {changes} FROM {source} m"  # noqa: S608  constants
        " WHERE s.sku = m.sku AND s.location = m.location RETURNING s.sku, s.location, s.on_hand)"
    )
    topic = topics.STOCK_CHANGED
    if not topic.consumers:
        return outbox.statement(sql.replace("{moved}", moved))
    published = outbox.insert(topic, "SELECT DISTINCT sku, jsonb_build_object('sku', sku) FROM moved")
    sql = sql.replace("{moved}", f"{moved}, stock_changed AS ({{stock_changed}})")
    return outbox.statement(sql, stock_changed=published)


_READ = text("""
SELECT v.sku, s.location, s.on_hand, s.reserved
FROM variants v
LEFT JOIN stock_levels s ON s.sku = v.sku
LEFT JOIN stock_locations l ON l.code = s.location
WHERE v.sku = :sku ORDER BY l.priority, s.location
""")

_KNOWN = text("""
SELECT EXISTS (SELECT 1 FROM variants WHERE sku = :sku) AS sku,
    EXISTS (SELECT 1 FROM stock_locations WHERE code = :location) AS location
""")

_ENSURE = text("""
INSERT INTO stock_levels (sku, location, on_hand) VALUES (:sku, :location, 0) ON CONFLICT (sku, location) DO NOTHING
""")

_LOCK = text("SELECT on_hand, reserved FROM stock_levels WHERE sku = :sku AND location = :location FOR UPDATE")

_KNOWN_ROWS = text("""
SELECT v.sku IS NOT NULL AS sku, l.code IS NOT NULL AS location
FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) WITH ORDINALITY AS c (sku, location, row)
LEFT JOIN variants v ON v.sku = c.sku
LEFT JOIN stock_locations l ON l.code = c.location
ORDER BY c.row
""")

_ENSURE_ALL = text("""
INSERT INTO stock_levels (sku, location, on_hand)
SELECT c.sku, c.location, 0 FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS c (sku, location)
ORDER BY c.sku, c.location
ON CONFLICT (sku, location) DO NOTHING RETURNING sku, location
""")

_LOCK_ALL = text("""
SELECT s.sku, s.location, s.on_hand, s.reserved FROM stock_levels s
JOIN unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS c (sku, location)
    ON s.sku = c.sku AND s.location = c.location
ORDER BY s.sku, s.location FOR UPDATE OF s
""")

_ADJUST = statement(
    """
WITH adjusted AS (
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:deltas AS int[]),
        CAST(:ids AS text[])) AS c (sku, location, quantity, id)),
{moved}
INSERT INTO stock_adjustments (id, sku, location, delta, on_hand, reason, actor)
SELECT a.id, a.sku, a.location, a.quantity, m.on_hand, :reason, :actor
FROM adjusted a JOIN moved m ON m.sku = a.sku AND m.location = a.location
RETURNING id, sku, location, delta, reason, actor, at, on_hand
""",
    Movement.ADJUST,
    "adjusted",
)


def read_inventory(connection: Connection, sku: str) -> Inventory | None:
    """The levels of a SKU; None if it is unknown, zeros if it was never stocked."""
    rows = connection.execute(_READ, {"sku": sku}).all()
    if not rows:
        return None
    levels = tuple(
        StockLevel(location=r.location, on_hand=r.on_hand, reserved=r.reserved, available=r.on_hand - r.reserved)
        for r in rows
        if r.location is not None
    )
    on_hand, reserved = sum(level.on_hand for level in levels), sum(level.reserved for level in levels)
    return Inventory(sku=sku, on_hand=on_hand, reserved=reserved, available=on_hand - reserved, by_location=levels)


def adjust_stock(connection: Connection, sku: str, change: AdjustStock, actor: str) -> StockAdjustment:
    """Adjusts a level and returns the adjustment with the level after it.

    Raises NotFound for the SKU, UnknownLocation, StockBelowReserved, or InvalidRequest past MAX_STOCK.
    """
    where = {"sku": sku, "location": change.location}
    known = connection.execute(_KNOWN, where).one()
    if not known.sku:
        raise NotFound(f"There is no sku {sku}")
    if not known.location:
        raise UnknownLocation.at("/location", f"There is no location {change.location}")
    connection.execute(_ENSURE, where)
    level = connection.execute(_LOCK, where).one()
    after = level.on_hand + change.delta
    if after < level.reserved:
        raise StockBelowReserved(
            f"{level.reserved} of {level.on_hand} are reserved", on_hand=level.on_hand, reserved=level.reserved
        )
    if after > MAX_STOCK:
        raise InvalidRequest.at("/delta", f"would make it more than {MAX_STOCK}")
    adjusted = _adjust(connection, [(sku, change.location, change.delta)], reason=change.reason, actor=actor)
    return _adjustment(adjusted.one(), level.reserved)


def restock(connection: Connection, units: Sequence[tuple[str, str, int]], *, reason: str, actor: str) -> None:
    """Restocks (sku, location, units), each as an adjustment. The levels must exist."""
    if not units:
        return
    places = {"skus": [sku for sku, _, _ in units], "locations": [location for _, location, _ in units]}
    connection.execute(_LOCK_ALL, places)
    _adjust(connection, units, reason=reason, actor=actor)


def _adjust(
    connection: Connection, changes: Sequence[tuple[str, str, int]], *, reason: str, actor: str
) -> MappingResult:
    """Adjusts each (sku, location, delta), with a row of `stock_adjustments`."""
    values = {
        "skus": [sku for sku, _, _ in changes],
        "locations": [location for _, location, _ in changes],
        "deltas": [delta for _, _, delta in changes],
        "ids": [new_id("adj") for _ in changes],
    }
    return _ADJUST.execute(connection, {**values, "reason": reason, "actor": actor}).mappings()


def count_stock(
    connection: Connection, rows: Sequence[StockRow], *, actor: str, only_new: bool
) -> tuple[int, int, list[RowError]]:
    """Sets counted levels, each difference as an adjustment. Returns (new levels, changed levels, errors).

    `only_new` does not change existing levels (a seed must not undo sales). An unknown SKU or location, or a count
    below `reserved`, is an error of its row and changes nothing.
    """
    rows, errors = _known_rows(connection, rows)
    if not rows:
        return 0, 0, errors
    created = {(row.sku, row.location) for row in connection.execute(_ENSURE_ALL, _places(rows))}
    if only_new:
        rows = [row for row in rows if (row.sku, row.location) in created]
    levels = {(row.sku, row.location): row for row in connection.execute(_LOCK_ALL, _places(rows))}
    changes: list[tuple[StockRow, int]] = []
    for row in rows:
        level = levels[row.sku, row.location]
        if row.on_hand < level.reserved:
            errors.append(RowError(row=row.row, column="on_hand", detail=f"{level.reserved} are reserved"))
        elif row.on_hand != level.on_hand:
            changes.append((row, row.on_hand - level.on_hand))
    if changes:
        adjusted = [(row.sku, row.location, delta) for row, delta in changes]
        _adjust(connection, adjusted, reason="import", actor=actor)
    return len(created), sum((row.sku, row.location) not in created for row, _ in changes), errors


def _known_rows(connection: Connection, rows: Sequence[StockRow]) -> tuple[list[StockRow], list[RowError]]:
    good, errors = [], []
    for row, known in zip(rows, connection.execute(_KNOWN_ROWS, _places(rows)), strict=True):
        if not known.sku:
            errors.append(RowError(row=row.row, column="sku", detail=f"there is no sku {row.sku}"))
        elif not known.location:
            errors.append(RowError(row=row.row, column="location", detail=f"there is no location {row.location}"))
        else:
            good.append(row)
    return good, errors


def _places(rows: Sequence[StockRow]) -> dict[str, list[Any]]:
    """The rows as two arrays, for `unnest`."""
    return {"skus": [row.sku for row in rows], "locations": [row.location for row in rows]}


def _adjustment(row: RowMapping, reserved: int) -> StockAdjustment:
    at = row["at"].astimezone(UTC)
    return StockAdjustment(**{**row, "at": at}, reserved=reserved, available=row["on_hand"] - reserved)
