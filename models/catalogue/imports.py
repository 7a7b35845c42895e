"""The import of one file of the merchant: command and result."""

from __future__ import annotations

from enum import StrEnum

from models.base import Record
from models.catalogue.csv_tables import RowError


class ImportKind(StrEnum):
    """In order of dependency: stock needs products, products need categories."""

    CATEGORIES = "categories"
    LOCATIONS = "locations"
    PRODUCTS = "products"
    STOCK = "stock"
    TAXES = "taxes"
    SHIPPING = "shipping"
    PROMOTIONS = "promotions"


class ImportFile(Record):
    """`content`: the raw CSV. `only_new` (stock): existing levels are not changed."""

    kind: ImportKind
    content: bytes
    actor: str
    only_new: bool = False


class FileImported(Record):
    """Counts products, levels, rates …, not rows. Those with an error were not written; `errors` are by row."""

    kind: ImportKind
    created: int
    changed: int
    unchanged: int
    errors: tuple[RowError, ...]
