"""Imports merchants' files into catalogue, stock and rules: in batches, idempotently; each bad row is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from models.catalogue import product_import, rules_import
from models.catalogue.csv_tables import RowError, in_order
from models.catalogue.imports import FileImported, ImportFile, ImportKind
from models.catalogue.product_import import ProductImport, StockRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from models.db.repositories.catalogue.product_import import Written
    from models.db.session import Database

Item = TypeVar("Item")
Save = Callable[["Connection", Sequence[Item]], "Written"]

PRODUCTS_AT_ONCE = 200
ROWS_AT_ONCE = 2000


class Catalogue:
    """Each batch is one transaction: an interrupted import has written whole batches and can be repeated."""

    def __init__(self, database: Database) -> None:
        from models.db.repositories.catalogue import inventory, product_import, rules_import

        self._database = database
        self._catalog = product_import
        self._inventory = inventory
        self._rules = rules_import

    def import_file(self, command: ImportFile) -> FileImported:
        """Writes the valid rows and returns the errors of the others. Importing the same file again changes nothing."""
        content = command.content
        match command.kind:
            case ImportKind.CATEGORIES:
                read = product_import.read_categories(content)
                return self._save(command, read, self._catalog.save_categories, ROWS_AT_ONCE)
            case ImportKind.LOCATIONS:
                locations = product_import.read_locations(content)
                return self._save(command, locations, self._catalog.save_locations, ROWS_AT_ONCE)
            case ImportKind.PRODUCTS:
                products: tuple[list[ProductImport], list[RowError]] = product_import.read_products(content)
                return self._save(command, products, self._catalog.save_products, PRODUCTS_AT_ONCE)
            case ImportKind.STOCK:
                stock = product_import.read_stock(content)
                return self._save(command, stock, self._stock_writer(command), ROWS_AT_ONCE)
            case ImportKind.TAXES:
                return self._save(command, rules_import.read_taxes(content), self._rules.save_taxes, ROWS_AT_ONCE)
            case ImportKind.SHIPPING:
                zones = rules_import.read_shipping(content)
                return self._save(command, zones, self._rules.save_shipping, ROWS_AT_ONCE)
            case ImportKind.PROMOTIONS:
                codes = rules_import.read_promotions(content)
                return self._save(command, codes, self._rules.save_promotions, ROWS_AT_ONCE)

    def _stock_writer(self, command: ImportFile) -> Save[StockRow]:
        from models.db.repositories.catalogue.product_import import Written

        def save(connection: Connection, rows: Sequence[StockRow]) -> Written:
            created, changed, errors = self._inventory.count_stock(
                connection, rows, actor=command.actor, only_new=command.only_new
            )
            unchanged = len(rows) - created - changed - len(errors)
            return Written(created, changed, unchanged, errors)

        return save

    def _save(
        self, command: ImportFile, read: tuple[list[Item], list[RowError]], save: Save[Item], at_once: int
    ) -> FileImported:
        items, errors = read
        created = changed = unchanged = 0
        for batch in _batches(items, at_once):
            with self._database.transaction() as connection:
                self._catalog.lock_imports(connection)
                written = save(connection, batch)
            created += written.created
            changed += written.changed
            unchanged += written.unchanged
            errors = errors + written.errors
        return FileImported(
            kind=command.kind, created=created, changed=changed, unchanged=unchanged, errors=tuple(in_order(errors))
        )


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
