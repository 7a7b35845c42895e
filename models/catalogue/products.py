"""Product records: the API's shapes of `/v1/products` and `/v1/categories`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from models.money import Currency, MinorUnits, Money

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class ProductStatus(StrEnum):
    """Only `active` products are listed and sold; `archived` ones can still be read, for links from old orders."""

    DRAFT = "draft"
    ACTIVE = "active"
    ARCHIVED = "archived"


class Category(BaseModel):
    """A node of the tree, its children in the merchant's order."""

    model_config = _FROZEN

    id: str
    slug: str
    title: str
    parent: str | None = Field(default=None, description="the parent's slug")
    children: tuple[Category, ...] = ()


class CategoryRef(BaseModel):
    model_config = _FROZEN

    id: str
    slug: str
    title: str


class Image(BaseModel):
    model_config = _FROZEN

    url: str
    alt: str = ""
    width: int | None = None
    height: int | None = None


class Rating(BaseModel):
    """`average` of 1 to 5 to one decimal, null without reviews."""

    model_config = _FROZEN

    average: float | None = None
    count: int = 0


class Variant(BaseModel):
    """`price` in the requested currency, or null; `prices` in every currency; `available` units now."""

    model_config = _FROZEN

    id: str
    sku: str
    title: str
    options: dict[str, str]
    price: Money | None
    prices: tuple[Money, ...]
    available: int
    backorderable: bool


class Product(BaseModel):
    """`version` grows by one with every change of the product or of a variant; stock is not part of it."""

    model_config = _FROZEN

    id: str
    slug: str
    title: str
    description: str
    status: ProductStatus
    category: CategoryRef | None
    attributes: dict[str, str]
    images: tuple[Image, ...]
    rating: Rating
    version: int
    variants: tuple[Variant, ...]


class ProductSort(StrEnum):
    """`-price`: most expensive first. Ties are ordered by id, so that pages never repeat or skip a product."""

    NEWEST = "newest"
    PRICE = "price"
    PRICE_DESCENDING = "-price"
    TITLE = "title"


class ProductQuery(BaseModel):
    """Filters of a product list: active products that have a price in `currency`.

    `category`: a slug, its descendants included. `attributes`: for every name any of the values, compared without
    case against attributes and variant options. Prices in minor units: some variant costs that much. `in_stock`:
    some variant is (or, when false, none is).
    """

    model_config = _FROZEN

    currency: Currency = "USD"
    category: str | None = None
    attributes: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    price_min: MinorUnits | None = None
    price_max: MinorUnits | None = None
    in_stock: bool | None = None
    sort: ProductSort = ProductSort.NEWEST
    limit: int = Field(default=20, ge=1, le=100)


def facet_values(attributes: Mapping[str, str], options: Iterable[Mapping[str, str]]) -> dict[str, list[str]]:
    """The product's facets: every attribute and option value by name, in lower case, sorted."""
    found: dict[str, set[str]] = {}
    for named in (attributes, *options):
        for name, value in named.items():
            found.setdefault(name, set()).add(value.lower())
    return {name: sorted(values) for name, values in sorted(found.items())}
