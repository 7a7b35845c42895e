"""keys of addresses tell mailboxes and domains apart that Unicode's casefold merges (models.accounts.accounts).

Prints what could not be changed: an account or link keeps its key where another account has the new one.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from models.accounts.accounts import email_key

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("users", "links", "orders")

# The keys of plain ASCII addresses stay as they are, but for domains that are written in ASCII for another script.
AFFECTED = "email IS NOT NULL AND (email ~ '[^[:ascii:]]' OR email ILIKE '%xn--%')"


def upgrade() -> None:
    _rekey(email_key)


def downgrade() -> None:
    _rekey(str.casefold)


def _rekey(key_of: Callable[[str], str]) -> None:
    connection = op.get_bind()
    for table in TABLES:
        rows = connection.execute(sa.text(f"SELECT id, email, email_key FROM {table} WHERE {AFFECTED} ORDER BY id"))  # noqa: S608  constants
        for row in rows.all():
            if (key := key_of(row.email)) == row.email_key:
                continue
            if table == "users" and _is_taken(connection, row.id, key):
                print(f"users {row.id}: another account has its new key; decide by hand")
                continue
            connection.execute(
                sa.text(f"UPDATE {table} SET email_key = :key WHERE id = :id"),  # noqa: S608  constants
                {"key": key, "id": row.id},
            )


def _is_taken(connection: sa.Connection, user_id: str, key: str) -> bool:
    taken = sa.text("SELECT 1 FROM users WHERE email_key = :key AND id <> :id")
    return connection.execute(taken, {"key": key, "id": user_id}).first() is not None
