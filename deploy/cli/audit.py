"""`holdfast audit verify`: checks the audit log's hash chain."""

from deploy.errors import StackError
from models.db.repositories.delivery import audit
from models.db.session import Database
from models.errors import Unavailable
from runtime.settings import Settings


def verify(settings: Settings, kept_head: str | None = None) -> tuple[bool, str]:
    """Whether every row has its hash and follows the one before it, and the text to print.

    `kept_head`: a head that an earlier run printed, stored elsewhere. Only with it a cut-off end, or a log rewritten
    from some row on, is found.
    """
    database = Database(settings.database, pool_size=1, application="holdfast-audit")
    try:
        with database.transaction() as connection:
            bad = audit.first_bad_row(connection)
            if bad is not None:
                return False, f"audit log: row {bad} is not as it was written, or does not follow row {bad - 1}"
            if kept_head is not None and not audit.holds(connection, kept_head.strip().lower()):
                return False, f"audit log: no row has the head {kept_head}: rows at its end are gone, or written anew"
            head = audit.head(connection)
            return True, f"audit log: {head.rows} rows, head {head.hash or 'none'}"
    except Unavailable as error:
        raise StackError("the audit log can't be read", error.detail) from error
    finally:
        database.close()
