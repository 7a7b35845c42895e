"""The merchant's files, read and judged before anything is written: products whole or not at all.

The formats are described in docs/imports.md. One row of products.csv is one variant; the product's own columns
stand on its first row and may be left empty, or repeated, on the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from models.base import Record
from models.catalog import ProductStatus
from models.csv_tables import RowError, TableRow, read_rows
from models.money import PPM, Currency, MinorUnits
from models.promotions import Promotion, PromotionCode, PromotionKind
from models.shipping import Place
from models.tax import CountryCode, RegionCode

MAX_PRICE = 10**11
MAX_STOCK = 10**9


def _whole(text: Any) -> Any:
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise ValueError(f"{text!r} is not a whole number")
    return text


def _percent(text: Any) -> Any:
    """`8.875` → 88 750 parts per million, exactly."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,4}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a percentage with at most 4 decimals")
    return int(match[1] + (match[2] or "").ljust(4, "0"))


def _moment(text: Any) -> Any:
    """RFC 3339; a date alone is midnight UTC."""
    if isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    return text


def _words(text: Any) -> Any:
    return tuple(text.split()) if isinstance(text, str) else text


Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=120)]
Sku = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Title = Annotated[str, Field(max_length=200)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, Field(max_length=200)]
Price = Annotated[MinorUnits, Field(le=MAX_PRICE)]
Percent = Annotated[int, BeforeValidator(_percent), Field(ge=0, le=PPM)]
Days = Annotated[int, BeforeValidator(_whole), Field(le=365)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_STOCK)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]


class CategoryRow(TableRow):
    """`parent`: the slug of a row above, or of a category that exists."""

    slug: Slug
    title: Title
    parent: Slug | None = None


class VariantRow(TableRow):
    """One line of products.csv, before the product's columns are carried down."""

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
    price: Mapping[Currency, Price] = Field(min_length=1)


class LocationRow(TableRow):
    """`priority`: lower is asked first."""

    code: Code
    title: Title
    priority: Annotated[int, BeforeValidator(_whole)] = 0


class StockRow(TableRow):
    sku: Sku
    location: Code
    on_hand: Annotated[int, BeforeValidator(_whole), Field(le=MAX_STOCK)]


class TaxRow(TableRow):
    """`percent` as people say it: 8.875."""

    country: CountryCode
    region: RegionCode | None = None
    name: Annotated[str, Field(max_length=80)]
    percent: Percent
    inclusive: bool
    applies_to_shipping: bool


class ShippingRow(TableRow):
    """One option; the zone's columns stand on its first row."""

    zone: Code
    zone_title: Title | None = None
    places: Annotated[tuple[Place, ...], BeforeValidator(_words)] = ()
    option: Code
    title: Title
    min_days: Days
    max_days: Days
    price: Mapping[Currency, Price] = Field(min_length=1)
    free_over: Mapping[Currency, Price] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.max_days < self.min_days:
            raise ValueError("max_days can't be below min_days")
        return self


class PromotionRow(TableRow):
    code: PromotionCode
    kind: PromotionKind
    percent: Percent | None = None
    amount: Mapping[Currency, Price] = Field(default_factory=dict)
    minimum: Mapping[Currency, Price] = Field(default_factory=dict)
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    usage_limit: Count | None = None
    per_customer_limit: Count | None = None
    combinable: bool = True
    active: bool = True

    @model_validator(mode="after")
    def _is_a_promotion(self) -> Self:
        self.promotion("promo_")
        return self

    def promotion(self, promotion_id: str) -> Promotion:
        """Unused, in the words of models/promotions.py. Raises ValidationError where the columns don't fit."""
        return Promotion(
            id=promotion_id,
            code=self.code,
            kind=self.kind,
            percent_ppm=self.percent,
            amounts=self.amount,
            minimum_subtotal=self.minimum,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            usage_limit=self.usage_limit,
            per_customer_limit=self.per_customer_limit,
            combinable=self.combinable,
            active=self.active,
        )


class VariantImport(Record):
    row: int
    sku: str
    title: str
    options: Mapping[str, str]
    prices: Mapping[str, int]
    backorderable: bool


class ProductImport(Record):
    """A product as the file wants it; `row` is its first."""

    row: int
    slug: str
    title: str
    description: str
    status: ProductStatus
    category: str | None
    attributes: Mapping[str, str]
    variants: tuple[VariantImport, ...]


def read_products(content: bytes) -> tuple[list[ProductImport], list[RowError]]:
    """The products all of whose rows are good, and what is wrong with the others."""
    rows, errors = read_rows(content, VariantRow)
    bad_rows = {error.row for error in errors}
    groups: dict[str, list[VariantRow]] = {}
    first_of_sku: dict[str, int] = {}
    for row in rows:
        groups.setdefault(row.product, []).append(row)
        first = first_of_sku.setdefault(row.sku, row.row)
        if first != row.row:
            errors.append(RowError(row=row.row, column="sku", detail=f"{row.sku} stands in row {first} already"))
    for group in groups.values():
        errors.extend(_disagreements(group))
    return groups, errors, bad_rows  # type: ignore[return-value]
