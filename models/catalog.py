"""The shapes of what the shop sells, as `docs/api` and every reader of `/v1/products` know them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from models.money import Money

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class ProductStatus(StrEnum):
    """Only `active` products are listed and sold; `archived` ones keep their page for old orders."""

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
    """`price` in the asked currency, null where it has none; `prices` in all; `available` units, now."""

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
