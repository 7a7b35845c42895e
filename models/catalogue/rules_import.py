"""Parses and validates the merchant's taxes, shipping and discount codes before anything is written.

The formats are described in docs/imports.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError, model_validator

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
from models.catalogue.product_import import Code, Price, Title, Units, whole_number
from models.checkout.promotions import Promotion, PromotionCode, PromotionKind
from models.checkout.shipping import Place, ShippingOption, ShippingZone
from models.checkout.tax import CountryCode, RegionCode, TaxRate
from models.money import PPM, Currency


def _percent(text: Any) -> Any:
    """`8.875` → 88 750 parts per million, exactly."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,4}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a percentage with at most 4 decimals, such as 8.875")
    return int(match[1] + (match[2] or "").ljust(4, "0"))


def _moment(text: Any) -> Any:
    """RFC 3339; a date alone is midnight UTC."""
    if isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    return text


def _words(text: Any) -> Any:
    return tuple(text.split()) if isinstance(text, str) else text


Percent = Annotated[int, BeforeValidator(_percent), Field(ge=0, le=PPM)]
Days = Annotated[int, BeforeValidator(whole_number), Field(le=365)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Limit = Annotated[Units, Field(ge=1)]


class TaxRow(TableRow):
    """`percent` in the file: 8.875; here parts per million."""

    country: CountryCode
    region: RegionCode | None = None
    name: Annotated[str, Field(max_length=80)]
    percent: Percent
    inclusive: bool
    applies_to_shipping: bool


class ShippingRow(TableRow):
    """One option; the zone's columns are filled on its first row, and may be repeated."""

    zone: Code
    zone_title: Title | None = None
    places: Annotated[tuple[Place, ...], BeforeValidator(_words)] = ()
    option: Code
    title: Title
    min_days: Days
    max_days: Days
    price: Mapping[Currency, Price]
    free_over: Mapping[Currency, Price] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_an_option(self) -> Self:
        _check_model(self.shipping_option)
        return self

    def shipping_option(self) -> ShippingOption:
        return ShippingOption(
            id=self.option,
            title=self.title,
            prices=self.price,
            free_over=self.free_over,
            min_days=self.min_days,
            max_days=self.max_days,
        )


class PromotionRow(TableRow):
    code: PromotionCode
    kind: PromotionKind
    percent: Percent | None = None
    amount: Mapping[Currency, Price] = Field(default_factory=dict)
    minimum: Mapping[Currency, Price] = Field(default_factory=dict)
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    usage_limit: Limit | None = None
    per_customer_limit: Limit | None = None
    combinable: bool = True
    active: bool = True

    @model_validator(mode="after")
    def _is_a_promotion(self) -> Self:
        _check_model(self.promotion)
        return self

    def promotion(self, promotion_id: str = "") -> Promotion:
        """The promotion, without uses."""
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


def read_taxes(content: bytes) -> tuple[list[TaxRate], list[RowError]]:
    rows = read_rows(content, TaxRow)
    rows.errors.extend(unique(rows.good, lambda row: (row.country, row.region, row.name), "name"))
    rates = [
        TaxRate(
            name=row.name,
            country=row.country,
            region=row.region,
            rate_ppm=row.percent,
            inclusive=row.inclusive,
            applies_to_shipping=row.applies_to_shipping,
        )
        for row in without_errors(rows)
    ]
    return rates, in_order(rows.errors)


def read_promotions(content: bytes) -> tuple[list[PromotionRow], list[RowError]]:
    rows = read_rows(content, PromotionRow)
    rows.errors.extend(unique(rows.good, lambda row: row.code, "code"))
    return without_errors(rows), in_order(rows.errors)


def read_shipping(content: bytes) -> tuple[list[ShippingZone], list[RowError]]:
    """The zones without an error in any row, and the errors."""
    rows = read_rows(content, ShippingRow)
    rows.errors.extend(unique(rows.good, lambda row: row.option, "option"))
    rows.errors.extend(_zone_errors(rows))
    zones = [
        ShippingZone(
            id=group[0].zone,
            title=group[0].zone_title or "",
            places=group[0].places,
            options=tuple(row.shipping_option() for row in group),
        )
        for group in whole_groups(rows, "zone")
    ]
    return zones, in_order(rows.errors)


def _zone_errors(rows: Rows[ShippingRow]) -> Iterator[RowError]:
    first: dict[str, ShippingRow] = {}
    spoilt = {cells.by_column.get("zone") for cells in rows.bad}
    for row in rows.good:
        start = first.setdefault(row.zone, row)
        for column in ("zone_title", "places"):
            here, above = getattr(row, column), getattr(start, column)
            if start is row and not here and row.zone not in spoilt:
                yield RowError(row=row.row, column=column, detail="is empty on the zone's first row")
            elif here and here != above:
                yield RowError(row=row.row, column=column, detail=f"differs from the zone's first row {start.row}")


def _check_model(make: Any) -> None:
    """Builds the domain model of a row; its validation errors become one error of the row."""
    try:
        make()
    except ValidationError as error:
        messages = [found["msg"].removeprefix("Value error, ") for found in error.errors(include_url=False)]
        raise ValueError("; ".join(messages)) from error
