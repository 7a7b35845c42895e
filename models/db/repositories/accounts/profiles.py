"""Profiles, saved addresses and notification preferences of users.

Writers that count or compare lock the account's row in `users`.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, text

from models.addresses import Address
from models.delivery.stored_responses import rfc3339
from models.errors import Conflict, NotFound
from models.ids import new_id

MAX_ADDRESSES = 50

_PROFILE = "id, email, name, role, totp_confirmed_at IS NOT NULL AS second_factor, created_at, version"

_READ = text(f"SELECT {_PROFILE} FROM users WHERE id = :id")  # noqa: S608  constants

_RENAME = text(f"""
UPDATE users SET name = :name, version = version + 1 WHERE id = :id AND version = :seen RETURNING {_PROFILE}
""")  # noqa: S608  constants


def read_profile(connection: Connection, user_id: str) -> dict[str, Any]:
    """The API's profile. Raises NotFound."""
    return _view(connection.execute(_READ, {"id": user_id}).mappings().first())


def rename(connection: Connection, user_id: str, name: str, *, seen: int) -> dict[str, Any] | None:
    """Returns the renamed profile; None if its version is no longer `seen`."""
    row = connection.execute(_RENAME, {"id": user_id, "name": name, "seen": seen}).mappings().first()
    return _view(row) if row else None


def _view(row: Any) -> dict[str, Any]:
    if row is None:
        raise NotFound("There is no such account")
    return {**row, "created_at": rfc3339(row["created_at"])}


# Addresses

_LOCK = text("SELECT id FROM users WHERE id = :id FOR UPDATE")

_ADD = text("""
INSERT INTO customer_addresses (id, user_id, address)
SELECT :id, :user_id, CAST(:address AS jsonb)
WHERE (SELECT count(*) FROM customer_addresses a WHERE a.user_id = :user_id) < :most
RETURNING id
""")

_LIST = text("""
SELECT id, address FROM customer_addresses WHERE user_id = :user_id AND id > :after ORDER BY id LIMIT :limit
""")

_ADDRESS = text("SELECT address FROM customer_addresses WHERE id = :id AND user_id = :user_id FOR UPDATE")

_CHANGE = text("UPDATE customer_addresses SET address = CAST(:address AS jsonb) WHERE id = :id AND user_id = :user_id")

_REMOVE = text("DELETE FROM customer_addresses WHERE id = :id AND user_id = :user_id")


def lock_account(connection: Connection, user_id: str) -> None:
    """Locks the account's row. Raises NotFound."""
    if connection.execute(_LOCK, {"id": user_id}).first() is None:
        raise NotFound("There is no such account")


def add_address(connection: Connection, user_id: str, address: Address) -> dict[str, Any]:
    """Raises Conflict if the account has MAX_ADDRESSES already."""
    lock_account(connection, user_id)
    address_id = new_id("addr")
    values = {"id": address_id, "user_id": user_id, "address": address.model_dump_json(), "most": MAX_ADDRESSES}
    if connection.execute(_ADD, values).first() is None:
        raise Conflict(f"An account keeps at most {MAX_ADDRESSES} addresses")
    return {"id": address_id, **address.model_dump()}


def list_addresses(connection: Connection, user_id: str, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Oldest first, after the id `after`."""
    rows = connection.execute(_LIST, {"user_id": user_id, "after": after, "limit": limit})
    return [{"id": row.id, **Address.model_validate(row.address).model_dump()} for row in rows]


def lock_address(connection: Connection, user_id: str, address_id: str) -> Address:
    """Locks this user's address and returns it. Raises NotFound."""
    row = connection.execute(_ADDRESS, {"id": address_id, "user_id": user_id}).first()
    if row is None:
        raise NotFound("There is no such address")
    return Address.model_validate(row.address)


def change_address(connection: Connection, user_id: str, address_id: str, address: Address) -> dict[str, Any]:
    connection.execute(_CHANGE, {"id": address_id, "user_id": user_id, "address": address.model_dump_json()})
    return {"id": address_id, **address.model_dump()}


def remove_address(connection: Connection, user_id: str, address_id: str) -> None:
    """Raises NotFound."""
    if connection.execute(_REMOVE, {"id": address_id, "user_id": user_id}).rowcount == 0:
        raise NotFound("There is no such address")


# Preferences


def read_preferences(connection: Connection, user_id: str, *, lock: bool = False) -> dict[str, dict[str, bool]]:
    """The explicit choices (models/accounts/preferences.py). Raises NotFound."""
    if lock:
        lock_account(connection, user_id)
    found = connection.execute(text("SELECT preferences FROM users WHERE id = :id"), {"id": user_id}).first()
    if found is None:
        raise NotFound("There is no such account")
    return dict(found.preferences)


def store_preferences(connection: Connection, user_id: str, chosen: dict[str, dict[str, bool]]) -> None:
    """Stores the choices; the profile's version does not change."""
    connection.execute(
        text("UPDATE users SET preferences = CAST(:chosen AS jsonb) WHERE id = :id"),
        {"id": user_id, "chosen": json.dumps(chosen)},
    )
