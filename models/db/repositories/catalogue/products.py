"""The catalogue's reads: a page of products takes two or three statements, one product or the category tree one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select, text, tuple_
from sqlalchemy.sql.expression import Exists

from models.catalogue.products import Category, Product, ProductQuery, ProductSort
from models.db.tables.catalogue import categories, product_prices, products, stock_levels, variant_prices, variants

_PRODUCTS = TypeAdapter(list[Product])

_WHOLE = """
SELECT p.id, p.slug, p.title, p.description, p.status, p.attributes, p.images, p.rating_sum, p.rating_count, p.version,
    CASE WHEN c.id IS NOT NULL THEN json_build_object('id', c.id, 'slug', c.slug, 'title', c.title) END AS category,
    coalesce((SELECT json_agg(json_build_object(
            'id', v.id, 'sku', v.sku, 'title', v.title, 'options', v.options, 'backorderable', v.backorderable,
            'prices', coalesce((
                SELECT json_agg(json_build_object('amount', vp.amount, 'currency', vp.currency) ORDER BY vp.currency)
                FROM variant_prices vp WHERE vp.sku = v.sku), '[]'),
            'available', coalesce((
                SELECT sum(s.on_hand - s.reserved) FROM stock_levels s WHERE s.sku = v.sku), 0))
        ORDER BY v.position, v.sku)
        FROM variants v WHERE v.product_id = p.id), '[]') AS variants
FROM products p LEFT JOIN categories c ON c.id = p.category_id
"""
_BY_IDS = text(_WHOLE + "WHERE p.id = ANY(CAST(:ids AS text[]))")
_BY_ID = text(_WHOLE + "WHERE p.id = :key AND p.status <> 'draft'")
_BY_SLUG = text(_WHOLE + "WHERE p.slug = :key AND p.status <> 'draft'")

Position = tuple[int | str, ...]
"""The end of a page: the sort key of its last product, ending with the id."""

POSITION_KINDS: Mapping[ProductSort, tuple[type[int] | type[str], ...]] = {
    ProductSort.NEWEST: (str,),
    ProductSort.TITLE: (str, str),
    ProductSort.PRICE: (int, str),
    ProductSort.PRICE_DESCENDING: (int, str),
}


def list_products(
    connection: Connection, query: ProductQuery, after: Sequence[Any] | None = None
) -> tuple[list[Product], Position | None]:
    """A page and the position of the next one, if any. `after` must have the types of `POSITION_KINDS`."""
    branch = _branch(connection, query.category) if query.category is not None else None
    rows = connection.execute(_page(query, after, branch)).all() if branch != [] else []
    page = rows[: query.limit]
    wanted = [row.id for row in page]
    found = connection.execute(_BY_IDS, {"ids": wanted}).mappings() if wanted else ()
    by_id = {row["id"]: _document(row, query.currency) for row in found}
    more = tuple(page[-1]) if len(rows) > query.limit else None
    return _PRODUCTS.validate_python([by_id[key] for key in wanted if key in by_id]), more


def find_product(connection: Connection, key: str, currency: str) -> Product | None:
    """Finds by id or slug (a slug has no underscore): also archived products, for links of old orders; no drafts."""
    row = connection.execute(_BY_ID if "_" in key else _BY_SLUG, {"key": key}).mappings().first()
    return Product.model_validate(_document(row, currency)) if row else None


def category_tree(connection: Connection) -> list[Category]:
    """The top categories with their descendants, in the merchant's order."""
    below: dict[str | None, list[Any]] = {}
    for row in connection.execute(select(categories).order_by(categories.c.position, categories.c.slug)):
        below.setdefault(row.parent_id, []).append(row)

    def grown(row: Any, parent: str | None) -> Category:
        children = tuple(grown(child, row.slug) for child in below.get(row.id, ()))
        return Category(id=row.id, slug=row.slug, title=row.title, parent=parent, children=children)

    return [grown(row, None) for row in below.get(None, ())]


def _document(row: Mapping[Any, Any], currency: str) -> dict[str, Any]:
    """A row of `_WHOLE` in the API's shape."""
    document = dict(row)
    total, count = document.pop("rating_sum"), document.pop("rating_count")
    document["rating"] = {"average": round(total / count, 1) if count else None, "count": count}
    for variant in document["variants"]:
        variant["price"] = next((price for price in variant["prices"] if price["currency"] == currency), None)
    return document


def _branch(connection: Connection, slug: str) -> list[str]:
    """The ids of a category and its descendants. A separate query, because known ids give a better plan."""
    top = select(categories.c.id).where(categories.c.slug == slug).cte("branch", recursive=True)
    branch = top.union(select(categories.c.id).where(categories.c.parent_id == top.c.id))
    return list(connection.execute(select(branch.c.id)).scalars())


def _page(query: ProductQuery, after: Sequence[Any] | None, branch: Sequence[str] | None) -> Select[Any]:
    """Selects one row more than the page has, to detect the last page."""
    keys: tuple[ColumnElement[Any], ...] = _sort_keys(query.sort)
    descending = query.sort in (ProductSort.NEWEST, ProductSort.PRICE_DESCENDING)
    statement = (
        select(*keys)
        .select_from(products)
        .join(
            product_prices,
            and_(product_prices.c.product_id == products.c.id, product_prices.c.currency == query.currency),
        )
        .where(products.c.status == "active", *_filters(query, branch))
        .order_by(*(key.desc() if descending else key.asc() for key in keys))
        .limit(query.limit + 1)
    )
    if after is None:
        return statement
    here, there = tuple_(*keys), tuple_(*after)
    return statement.where(here < there if descending else here > there)


def _sort_keys(sort: ProductSort) -> tuple[ColumnElement[Any], ...]:
    match sort:
        case ProductSort.PRICE | ProductSort.PRICE_DESCENDING:
            return product_prices.c.lowest, products.c.id
        case ProductSort.TITLE:
            return func.lower(products.c.title).label("sort_title"), products.c.id
        case _:
            return (products.c.id,)


def _filters(query: ProductQuery, branch: Sequence[str] | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        or_(*(products.c.facets.contains({name: [value.lower()]}) for value in values))
        for name, values in query.attributes.items()
    ]
    if branch is not None:
        found.append(products.c.category_id.in_(branch))
    if query.price_min is not None or query.price_max is not None:
        found.append(_priced_between(query))
    if query.in_stock is not None:
        found.append(_in_stock() if query.in_stock else ~_in_stock())
    return found


def _priced_between(query: ProductQuery) -> ColumnElement[bool]:
    """Whether a variant's price is in range. The product's price range, already joined, excludes most products."""
    priced = variants.join(variant_prices, variant_prices.c.sku == variants.c.sku)
    wanted = [variants.c.product_id == products.c.id, variant_prices.c.currency == query.currency]
    likely: list[ColumnElement[bool]] = []
    if query.price_min is not None:
        wanted.append(variant_prices.c.amount >= query.price_min)
        likely.append(product_prices.c.highest >= query.price_min)
    if query.price_max is not None:
        wanted.append(variant_prices.c.amount <= query.price_max)
        likely.append(product_prices.c.lowest <= query.price_max)
    return and_(*likely, exists(select(1).select_from(priced).where(*wanted)))


def _in_stock() -> Exists:
    return exists(
        select(1)
        .select_from(variants.join(stock_levels, stock_levels.c.sku == variants.c.sku))
        .where(variants.c.product_id == products.c.id, stock_levels.c.on_hand > stock_levels.c.reserved)
    )
