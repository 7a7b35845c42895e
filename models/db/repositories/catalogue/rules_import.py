"""Writes the merchant's taxes, shipping and discount codes.

Nothing is deleted: rows that a file doesn't name stay, and so do the uses of a code.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from models.catalogue.rules_import import PromotionRow
from models.checkout.shipping import ShippingZone
from models.checkout.tax import TaxRate
from models.db.repositories.catalogue.product_import import Written, upsert
from models.db.tables.catalogue import promotions, shipping_options, shipping_zones, tax_rates
from models.ids import new_id


def save_taxes(connection: Connection, rates: Sequence[TaxRate]) -> Written:
    """Saves rates, identified by country, region and name."""
    written = Written()
    values = [{**rate.model_dump(), "region": rate.region or ""} for rate in rates]
    upsert(connection, tax_rates, values, key=("country", "region", "name"), written=written)
    return written


def save_shipping(connection: Connection, zones: Sequence[ShippingZone]) -> Written:
    """Saves zones and options, identified by id; both are counted."""
    written = Written()
    places = [{"id": zone.id, "title": zone.title, "places": list(zone.places)} for zone in zones]
    options = [{**option.model_dump(), "zone_id": zone.id} for zone in zones for option in zone.options]
    upsert(connection, shipping_zones, places, key=("id",), written=written)
    upsert(connection, shipping_options, options, key=("id",), written=written)
    return written


def save_promotions(connection: Connection, rows: Sequence[PromotionRow]) -> Written:
    """Saves promotions, identified by code; `used` stays."""
    written = Written()
    values = []
    for row in rows:
        promotion = row.promotion(new_id("promo"))
        values.append({**promotion.model_dump(exclude={"used"}), "kind": promotion.kind.value})
    upsert(connection, promotions, values, key=("code",), keep=("id",), written=written)
    return written
