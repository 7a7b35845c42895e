"""One import of one merchant's file: what was asked and what came of it."""

from __future__ import annotations

from enum import StrEnum

from models.base import Record
from models.catalogue.csv_tables import RowError


class ImportKind(StrEnum):
    """In the order in which the files lean on each other: stock needs products, products need categories."""

    CATEGORIES = "categories"
    LOCATIONS = "locations"
    PRODUCTS = "products"
    STOCK = "stock"
    TAXES = "taxes"
    SHIPPING = "shipping"
    PROMOTIONS = "promotions"


class ImportFile(Record):
    """`content`: the CSV as it came. `only_new` (stock): levels that exist are left alone."""

    kind: ImportKind
    content: bytes
    actor: str
    only_new: bool = False


class FileImported(Record):
    """Things, not rows: products, levels, rates. What has an error was not written; `errors` are by row."""

    kind: ImportKind
    created: int
    changed: int
    unchanged: int
    errors: tuple[RowError, ...]
