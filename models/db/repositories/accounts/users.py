"""Users: one account per address, compared case-insensitively."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from models.accounts.access import Role
from models.accounts.accounts import LinkPurpose, account_key, email_key
from models.db.repositories.accounts import links
from models.db.tables.accounts import login_failures, users
from models.errors import Gone
from models.ids import new_id


class User(NamedTuple):
    """A user as sign-in needs it; `view` is the API's shape for themselves."""

    id: str
    email: str
    name: str
    role: Role
    password_hash: str | None
    must_reset: bool
    verified: bool
    disabled: bool
    second_factor: bool  # enrolled
    version: int

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "role": self.role,
            "second_factor": self.second_factor,
            "version": self.version,
        }


_COLUMNS = select(
    users.c.id,
    users.c.email,
    users.c.name,
    users.c.role,
    users.c.password_hash,
    users.c.must_reset,
    users.c.verified_at,
    users.c.disabled_at,
    users.c.totp_confirmed_at,
    users.c.version,
)


def read_user(connection: Connection, user_id: str) -> User | None:
    row = connection.execute(_COLUMNS.where(users.c.id == user_id)).first()
    return _user(row) if row else None


def user_by_email(connection: Connection, email: str) -> User | None:
    row = connection.execute(_COLUMNS.where(users.c.email_key == email_key(email))).first()
    return _user(row) if row else None


def lock_user(connection: Connection, user_id: str) -> User | None:
    """Reads the user and locks the row; None: no such user."""
    row = connection.execute(_COLUMNS.where(users.c.id == user_id).with_for_update()).first()
    return _user(row) if row else None


def change_user(connection: Connection, user_id: str, **values: Any) -> None:
    """Sets columns and increments the version."""
    connection.execute(update(users).where(users.c.id == user_id).values(version=users.c.version + 1, **values))


def set_password(connection: Connection, user_id: str, password_hash: str) -> None:
    """Sets the password, clears the login failures and ends the live links: an attacker who knew the old password may
    have requested them.
    """
    change_user(connection, user_id, password_hash=password_hash, must_reset=False)
    email = connection.execute(select(users.c.email).where(users.c.id == user_id)).scalar_one()
    connection.execute(delete(login_failures).where(login_failures.c.account_key == account_key(email)))
    links.end_live(connection, user_id, LinkPurpose.EMAIL_VERIFICATION, LinkPurpose.PASSWORD_RESET)


def create_unverified(connection: Connection, email: str) -> None:
    """Creates an account without a password or verification, unless the address has an account."""
    values = {"id": new_id("usr"), "email": email, "email_key": email_key(email), "name": "", "role": Role.CUSTOMER}
    connection.execute(insert(users).values(values).on_conflict_do_nothing(index_elements=["email_key"]))


def verify(connection: Connection, user_id: str, *, email: str, name: str, password_hash: str) -> None:
    """Verifies the account, with the values of the mailed link."""
    change_user(connection, user_id, email=email, name=name, password_hash=password_hash, verified_at=func.now())


def change_email(connection: Connection, user_id: str, email: str) -> None:
    """Raises Gone if another account has that address."""
    try:
        with connection.begin_nested():
            change_user(connection, user_id, email=email, email_key=email_key(email))
    except IntegrityError as error:
        raise Gone("Another account has that address by now") from error


def renew_hash(connection: Connection, user_id: str, password_hash: str) -> None:
    """Stores a new hash of the same password, with the present parameters; the version stays."""
    connection.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))


def _user(row: Any) -> User:
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        password_hash=row.password_hash,
        must_reset=row.must_reset,
        verified=row.verified_at is not None,
        disabled=row.disabled_at is not None,
        second_factor=row.totp_confirmed_at is not None,
        version=row.version,
    )
