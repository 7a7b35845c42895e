"""Parses and validates the merchant's product files before anything is written. A product is imported whole or not.

The formats are described in docs/imports.md. One row of products.csv is one variant; the product's own columns
are filled on its first row and may be empty, or repeated, on the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from models.base import Record
from models.catalogue.csv_tables import (
    RowError,
    Rows,
    TableRow,
    in_order,
    read_rows,
    unique,
    whole_groups,
    without_errors,
)
from models.catalogue.inventory import MAX_STOCK
from models.catalogue.products import ProductStatus
from models.money import Currency, MinorUnits

MAX_PRICE = 10**11


def whole_number(text: Any) -> Any:
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise ValueError(f"{text!r} is not a whole number")
    return text


Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=120)]
Sku = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Title = Annotated[str, Field(max_length=200)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, Field(max_length=200)]
Price = Annotated[MinorUnits, Field(le=MAX_PRICE)]
CountryCode = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
RegionCode = Annotated[str, Field(pattern=r"^[A-Z0-9]{1,3}$")]
Units = Annotated[int, BeforeValidator(whole_number), Field(le=MAX_STOCK)]


class CategoryRow(TableRow):
    """`parent`: the slug of a row above, or of a category that exists."""

    slug: Slug
    title: Title
    parent: Slug | None = None


class VariantRow(TableRow):
    """One row of products.csv."""

    product: Slug
    title: Title | None = None
    description: Annotated[str, Field(max_length=5000)] | None = None
    status: ProductStatus | None = None
    category: Slug | None = None
    attr: Mapping[Key, Text] = Field(default_factory=dict)
    sku: Sku
    variant_title: Title | None = None
    option: Mapping[Key, Text] = Field(default_factory=dict)
    backorderable: bool = False
    price: Mapping[Currency, Price]


class LocationRow(TableRow):
    """Of locations that are equally near to a buyer the lower `priority` comes first."""

    code: Code
    title: Title
    priority: Units = 0
    country: CountryCode | None = None
    region: RegionCode | None = None
    postal_code: Annotated[str, Field(max_length=20)] | None = None

    @model_validator(mode="after")
    def _region_of_a_country(self) -> Self:
        if self.country is None and (self.region or self.postal_code):
            raise ValueError("region and postal_code need a country")
        return self


class StockRow(TableRow):
    sku: Sku
    location: Code
    on_hand: Units


class VariantImport(Record):
    row: int
    sku: str
    title: str
    options: Mapping[str, str]
    prices: Mapping[str, int]
    backorderable: bool


class ProductImport(Record):
    """A product as the file describes it; `row` is its first."""

    row: int
    slug: str
    title: str
    description: str
    status: ProductStatus
    category: str | None
    attributes: Mapping[str, str]
    variants: tuple[VariantImport, ...]


def read_categories(content: bytes) -> tuple[list[CategoryRow], list[RowError]]:
    rows = read_rows(content, CategoryRow)
    rows.errors.extend(unique(rows.good, lambda row: row.slug, "slug"))
    return without_errors(rows), in_order(rows.errors)


def read_locations(content: bytes) -> tuple[list[LocationRow], list[RowError]]:
    rows = read_rows(content, LocationRow)
    rows.errors.extend(unique(rows.good, lambda row: row.code, "code"))
    return without_errors(rows), in_order(rows.errors)


def read_stock(content: bytes) -> tuple[list[StockRow], list[RowError]]:
    rows = read_rows(content, StockRow)
    rows.errors.extend(unique(rows.good, lambda row: (row.sku, row.location), "sku"))
    return without_errors(rows), in_order(rows.errors)


def read_products(content: bytes) -> tuple[list[ProductImport], list[RowError]]:
    """The products without an error in any row, and the errors."""
    rows = read_rows(content, VariantRow)
    rows.errors.extend(unique(rows.good, lambda row: row.sku, "sku"))
    rows.errors.extend(_disagreements(rows))
    return [_product(group) for group in whole_groups(rows, "product")], in_order(rows.errors)


def _disagreements(rows: Rows[VariantRow]) -> Iterator[RowError]:
    """Errors of products whose first row lacks a column or whose other rows contradict it."""
    first: dict[str, VariantRow] = {}
    options: dict[tuple[str, frozenset[tuple[str, str]]], int] = {}
    spoilt = {cells.by_column.get("product") for cells in rows.bad}
    for row in rows.good:
        start = first.setdefault(row.product, row)
        if start is row and row.title is None and row.product not in spoilt:
            yield RowError(row=row.row, column="title", detail="is empty on the product's first row")
        if start is not row:
            yield from _differences(start, row)
        above = options.setdefault((row.product, frozenset(row.option.items())), row.row)
        if above != row.row:
            yield RowError(row=row.row, column="option", detail=f"the same options stand in row {above}")


def _differences(start: VariantRow, row: VariantRow) -> Iterator[RowError]:
    pairs = {
        name: (getattr(start, name), getattr(row, name)) for name in ("title", "description", "status", "category")
    }
    pairs |= {f"attr.{key}": (start.attr.get(key), value) for key, value in row.attr.items()}
    for column, (above, here) in pairs.items():
        if here is not None and here != above:
            yield RowError(row=row.row, column=column, detail=f"differs from the product's first row {start.row}")


def _product(rows: Sequence[VariantRow]) -> ProductImport:
    first = rows[0]
    title = first.title or ""
    return ProductImport(
        row=first.row,
        slug=first.product,
        title=title,
        description=first.description or "",
        status=first.status or ProductStatus.ACTIVE,
        category=first.category,
        attributes=first.attr,
        variants=tuple(
            VariantImport(
                row=row.row,
                sku=row.sku,
                title=row.variant_title or " / ".join(row.option.values()) or title,
                options=row.option,
                prices=row.price,
                backorderable=row.backorderable,
            )
            for row in rows
        ),
    )
