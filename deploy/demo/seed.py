"""Fills the demo shop through the merchant's import; repeated, it changes nothing, nor stock sold since."""

from __future__ import annotations

import sys
from pathlib import Path

from activities.catalogue.imports import Catalogue
from deploy.demo.accounts import seed_accounts
from deploy.errors import StackError
from models.catalogue.imports import FileImported, ImportFile, ImportKind
from models.db.session import Database
from runtime.settings import Settings

DEMO = Path(__file__).parent


def seed(settings: Settings) -> list[FileImported]:
    """What was imported from each file; creates the demo accounts too. Not in production.

    An error in a demo file ends the program with the file's name.
    """
    if settings.production:
        raise StackError("the demo shop is not for production", "leave `--seed` out")
    database = Database(settings.database, pool_size=1, application="holdfast-seed")
    try:
        seed_accounts(settings, database)
        return seed_catalogue(database)
    finally:
        database.close()


def seed_catalogue(database: Database) -> list[FileImported]:
    catalogue = Catalogue(database)
    done = []
    for kind in ImportKind:
        content = (DEMO / f"{kind}.csv").read_bytes()
        imported = catalogue.import_file(
            ImportFile(kind=kind, content=content, actor="import", only_new=kind is ImportKind.STOCK)
        )
        if imported.errors:
            first = imported.errors[0]
            sys.exit(f"error: {kind}.csv row {first.row}, {first.column}: {first.detail}")
        done.append(imported)
    return done
