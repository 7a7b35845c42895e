"""`holdfast ledger check`: compares the ledger with itself and with the payments."""

from __future__ import annotations

from deploy.errors import StackError
from models.db.repositories import ledger
from models.db.session import Database
from models.errors import Unavailable
from runtime.settings import Settings


def check(settings: Settings) -> tuple[bool, str]:
    """Whether all agrees, and the text to print."""
    database = Database(settings.database, pool_size=1, application="holdfast-ledger")
    try:
        with database.transaction() as connection:
            found = ledger.check(connection)
    except Unavailable as error:
        raise StackError("the ledger can't be read", error.detail) from error
    finally:
        database.close()
    lines = [
        f"{currency} {account}: {amount}"
        for currency, accounts in found.balances.items()
        for account, amount in accounts.items()
    ]
    if found.faults:
        return False, "\n".join([*lines, *(f"fault: {fault}" for fault in found.faults)])
    return True, "\n".join([*lines, f"The ledger is balanced: {found.entries} entries."])
