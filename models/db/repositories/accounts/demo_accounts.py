"""Demo accounts of development: verified, with a public password."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text

from models.accounts.access import Role
from models.accounts.accounts import email_key
from models.ids import new_id

_HASHES = text("SELECT email_key, password_hash FROM users WHERE email_key = ANY(:keys)")

_PUT = text("""
INSERT INTO users (id, email, email_key, name, password_hash, role, verified_at)
VALUES (:id, :email, :key, :name, :hash, :role, now())
ON CONFLICT (email_key) DO UPDATE SET password_hash = excluded.password_hash, version = users.version + 1
""")


def hashes(connection: Connection, emails: Mapping[Role, str]) -> dict[Role, str | None]:
    """The password hashes of the demo accounts that exist."""
    keys = {email_key(email): role for role, email in emails.items()}
    rows = connection.execute(_HASHES, {"keys": list(keys)})
    return {keys[row.email_key]: row.password_hash for row in rows}


def put(connection: Connection, role: Role, email: str, password_hash: str) -> None:
    """Creates the account; an existing one only gets the password."""
    name = f"Demo {role.value.capitalize()}"
    values = {"id": new_id("usr"), "email": email, "key": email_key(email), "name": name, "hash": password_hash}
    connection.execute(_PUT, {**values, "role": role})
