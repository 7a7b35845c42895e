"""Writes the merchant's product files. Idempotent: unchanged rows are not written.

Nothing is deleted: entities that a file doesn't name stay. Every function expects `lock_imports` in its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, delete, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import topics
from models.catalogue.csv_tables import RowError
from models.catalogue.product_import import CategoryRow, LocationRow, ProductImport, VariantImport
from models.catalogue.products import facet_values
from models.db.repositories.delivery import outbox
from models.db.tables.catalogue import categories, product_prices, products, stock_locations, variant_prices, variants
from models.ids import new_id
from models.topics import PriceChanged, ProductChanged

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('holdfast.import'))")

_STORED = text("""
SELECT p.id, p.slug, p.title, p.description, p.status, p.attributes, c.slug AS category,
    coalesce((SELECT json_agg(json_build_object(
            'id', v.id, 'sku', v.sku, 'title', v.title, 'options', v.options, 'backorderable', v.backorderable,
            'prices', coalesce((SELECT json_object_agg(vp.currency, vp.amount) FROM variant_prices vp
                WHERE vp.sku = v.sku), '{}'))
        ORDER BY v.position, v.sku)
        FROM variants v WHERE v.product_id = p.id), '[]') AS variants
FROM products p LEFT JOIN categories c ON c.id = p.category_id
WHERE p.slug = ANY(CAST(:slugs AS text[])) FOR UPDATE OF p
""")

_OWNERS = text("""
SELECT v.sku, p.slug FROM variants v JOIN products p ON p.id = v.product_id WHERE v.sku = ANY(CAST(:skus AS text[]))
""")

_RANGES = text("""
INSERT INTO product_prices (product_id, currency, lowest, highest)
SELECT v.product_id, vp.currency, min(vp.amount), max(vp.amount)
FROM variants v JOIN variant_prices vp ON vp.sku = v.sku
WHERE v.product_id = ANY(CAST(:ids AS text[])) GROUP BY v.product_id, vp.currency
""")


@dataclass(slots=True)
class Written:
    """The numbers of new, changed and unchanged entities, and the errors."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    errors: list[RowError] = field(default_factory=list)


@dataclass(slots=True)
class _Change:
    """A product to write. `variants`: all of its variants, those that the file doesn't name last; `repriced`: the SKUs
    whose prices change."""

    product_id: str
    new: bool
    product: ProductImport
    variants: Sequence[tuple[str, VariantImport]]
    repriced: Sequence[str]


def lock_imports(connection: Connection) -> None:
    """Serialises imports by an advisory lock, so that no row changes between comparison and write."""
    connection.execute(_LOCK)


def save_categories(connection: Connection, rows: Sequence[CategoryRow]) -> Written:
    """Saves categories in the file's order. A parent must exist or come earlier; a cycle is an error."""
    stored = {row.slug: row for row in connection.execute(select(categories))}
    ids = {slug: row.id for slug, row in stored.items()}
    parents = {row.id: row.parent_id for row in stored.values()}
    written, values = Written(), []
    for position, row in enumerate(rows):
        category_id = ids.get(row.slug) or new_id("cat")
        parent_id = ids.get(row.parent) if row.parent else None
        if row.parent and parent_id is None:
            written.errors.append(RowError(row=row.row, column="parent", detail=f"there is no category {row.parent}"))
            continue
        if _leads_to(category_id, parent_id, parents):
            written.errors.append(RowError(row=row.row, column="parent", detail="makes a category its own ancestor"))
            continue
        ids[row.slug], parents[category_id] = category_id, parent_id
        values.append(
            {"id": category_id, "slug": row.slug, "title": row.title, "parent_id": parent_id, "position": position}
        )
    upsert(connection, categories, values, key=("slug",), keep=("id",), written=written)
    return written


def save_locations(connection: Connection, rows: Sequence[LocationRow]) -> Written:
    written = Written()
    values = [row.model_dump(exclude={"row"}) for row in rows]
    upsert(connection, stock_locations, values, key=("code",), written=written)
    return written


def save_products(connection: Connection, wanted: Sequence[ProductImport]) -> Written:
    """Saves products with their variants and prices. A product's version grows only if something differs.

    An unknown category, or a SKU of another product, is an error of the product's first such row.
    """
    written = Written()
    slugs = {row.slug: row.id for row in connection.execute(select(categories.c.slug, categories.c.id))}
    stored = {
        row["slug"]: row for row in connection.execute(_STORED, {"slugs": sorted(p.slug for p in wanted)}).mappings()
    }
    skus = [variant.sku for product in wanted for variant in product.variants]
    owners = {row.sku: row.slug for row in connection.execute(_OWNERS, {"skus": skus})}
    new_ids = iter(sorted(new_id("prod") for _ in wanted))  # ids in the file's order: "newest" is its last
    changes = []
    for product in wanted:
        error = _conflict(product, slugs, owners)
        if error is not None:
            written.errors.append(error)
            continue
        change = _change(product, stored.get(product.slug), next(new_ids))
        if change is None:
            written.unchanged += 1
            continue
        changes.append(change)
        written.created += change.new
        written.changed += not change.new
    if changes:
        _write(connection, changes, slugs)
    return written


def upsert(
    connection: Connection,
    table: Table,
    values: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str],
    written: Written,
    keep: Sequence[str] = (),
) -> None:
    """Inserts rows, or updates rows of the same key that differ in a column outside `keep`."""
    if not values:
        return
    statement = insert(table)
    new = {name: statement.excluded[name] for name in values[0] if name not in (*key, *keep)}
    differs = or_(*(table.c[name].is_distinct_from(value) for name, value in new.items()))
    done: Sequence[Any] = connection.execute(
        statement.on_conflict_do_update(index_elements=list(key), set_=new, where=differs).returning(
            literal_column("(xmax = 0)").label("created")
        ),
        list(values),
    ).all()
    written.created += sum(row.created for row in done)
    written.changed += sum(not row.created for row in done)
    written.unchanged += len(values) - len(done)


def _leads_to(category_id: str, parent_id: str | None, parents: Mapping[str, str | None]) -> bool:
    while parent_id is not None:
        if parent_id == category_id:
            return True
        parent_id = parents.get(parent_id)
    return False


def _conflict(
    product: ProductImport, categories_by_slug: Mapping[str, str], owners: Mapping[str, str]
) -> RowError | None:
    if product.category is not None and product.category not in categories_by_slug:
        return RowError(row=product.row, column="category", detail=f"there is no category {product.category}")
    for variant in product.variants:
        owner = owners.get(variant.sku, product.slug)
        if owner != product.slug:
            return RowError(row=variant.row, column="sku", detail=f"{variant.sku} belongs to the product {owner}")
    return None


def _change(product: ProductImport, stored: Mapping[Any, Any] | None, product_id: str) -> _Change | None:
    """None if the stored product is the same."""
    if stored is None:
        named = [(new_id("var"), variant) for variant in product.variants]
        return _Change(product_id, True, product, named, [variant.sku for variant in product.variants])
    before = [(row["id"], VariantImport(**{**row, "row": 0})) for row in stored["variants"]]
    after = _merged(before, product.variants)
    names = ("title", "description", "status", "category", "attributes")
    same = all(getattr(product, name) == stored[name] for name in names)
    if same and [(key, _content(v)) for key, v in before] == [(key, _content(v)) for key, v in after]:
        return None
    prices = {variant.sku: variant.prices for _, variant in before}
    repriced = [variant.sku for _, variant in after if variant.prices != prices.get(variant.sku)]
    return _Change(stored["id"], False, product, after, repriced)


def _merged(
    stored: Sequence[tuple[str, VariantImport]], wanted: Iterable[VariantImport]
) -> list[tuple[str, VariantImport]]:
    """The variants in the file's order if it names all; else in the stored order, with new ones at the end."""
    ids = {variant.sku: key for key, variant in stored}
    named = {variant.sku: (ids.get(variant.sku) or new_id("var"), variant) for variant in wanted}
    if ids.keys() <= named.keys():
        return list(named.values())
    matched = [named.pop(variant.sku, (key, variant)) for key, variant in stored]
    return [*matched, *named.values()]


def _content(variant: VariantImport) -> dict[str, Any]:
    return variant.model_dump(exclude={"row"})


def _write(connection: Connection, changes: Sequence[_Change], category_ids: Mapping[str, str]) -> None:
    new, old = [c for c in changes if c.new], [c for c in changes if not c.new]
    if new:
        connection.execute(insert(products), [_product_row(change, category_ids) for change in new])
    for change in old:
        values = _product_row(change, category_ids)
        connection.execute(
            update(products)
            .where(products.c.id == change.product_id)
            .values({**values, "version": products.c.version + 1, "updated_at": func.now()})
        )
    rows = [row for change in changes for row in _variant_rows(change)]
    upsert(connection, variants, rows, key=("sku",), keep=("id",), written=Written())
    _write_prices(connection, changes)
    _publish(connection, changes)


def _publish(connection: Connection, changes: Sequence[_Change]) -> None:
    products_changed = ((change.product_id, ProductChanged(product_id=change.product_id)) for change in changes)
    outbox.publish_all(connection, topics.PRODUCT_CHANGED, products_changed)
    repriced = ((sku, PriceChanged(sku=sku)) for change in changes for sku in change.repriced)
    outbox.publish_all(connection, topics.PRICE_CHANGED, repriced)


def _write_prices(connection: Connection, changes: Sequence[_Change]) -> None:
    every = [variant for change in changes for _, variant in change.variants]
    ids = [change.product_id for change in changes]
    connection.execute(delete(variant_prices).where(variant_prices.c.sku.in_([variant.sku for variant in every])))
    connection.execute(
        insert(variant_prices),
        [
            {"sku": variant.sku, "currency": currency, "amount": amount}
            for variant in every
            for currency, amount in variant.prices.items()
        ],
    )
    connection.execute(delete(product_prices).where(product_prices.c.product_id.in_(ids)))
    connection.execute(_RANGES, {"ids": ids})


def _product_row(change: _Change, category_ids: Mapping[str, str]) -> dict[str, Any]:
    product = change.product
    return {
        "id": change.product_id,
        "slug": product.slug,
        "title": product.title,
        "description": product.description,
        "status": product.status.value,
        "category_id": category_ids[product.category] if product.category else None,
        "attributes": dict(product.attributes),
        "facets": facet_values(product.attributes, [variant.options for _, variant in change.variants]),
    }


def _variant_rows(change: _Change) -> list[dict[str, Any]]:
    return [
        {
            "id": key,
            "product_id": change.product_id,
            "sku": variant.sku,
            "title": variant.title,
            "options": dict(variant.options),
            "backorderable": variant.backorderable,
            "position": position,
        }
        for position, (key, variant) in enumerate(change.variants)
    ]
