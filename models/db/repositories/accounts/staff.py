"""Staff: invitations, roles and disabling. At least one admin can always sign in.

A change locks all admins, in the order of their ids, so that concurrent demotions are serialised.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.accounts.access import STAFF, Principal, Role
from models.accounts.accounts import LinkPurpose, LinkState, NoticeKind
from models.db.repositories.accounts import links, notices, sessions, users
from models.db.repositories.accounts.links import Digest, StoredLink
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.errors import Conflict, Gone, NotFound, TooManyRequests

HOUR_SECONDS = 3600

_PAGE = text("""
SELECT id, email, name, role, totp_confirmed_at IS NOT NULL AS second_factor, disabled_at IS NOT NULL AS disabled,
    created_at
FROM users WHERE role <> 'customer' AND id > :after ORDER BY id LIMIT :limit
""")

_ONE = text("""
SELECT id, email, name, role, totp_confirmed_at IS NOT NULL AS second_factor, disabled_at IS NOT NULL AS disabled,
    created_at
FROM users WHERE id = :id
""")

_INVITATIONS = text("""
SELECT id, email, role, created_at, expires_at FROM links
WHERE purpose = 'invitation' AND state = 'live' AND expires_at > now() AND id > :after
ORDER BY id LIMIT :limit
""")

_ADMIN = "role = 'admin' AND disabled_at IS NULL AND verified_at IS NOT NULL"

_LOCK = text(f"SELECT id, {_ADMIN} AS admin FROM users WHERE id = :id OR ({_ADMIN}) ORDER BY id FOR UPDATE")  # noqa: S608  constants

_ANY_ADMIN = text(f"SELECT EXISTS (SELECT 1 FROM users WHERE {_ADMIN})")  # noqa: S608

_SET_DISABLED = text("""
UPDATE users SET disabled_at = CASE WHEN :disabled THEN now() END, version = version + 1
WHERE id = :id AND (disabled_at IS NOT NULL) <> :disabled
""")


class Member(NamedTuple):
    """The API's staff member."""

    id: str
    email: str
    name: str
    role: Role
    second_factor: bool
    disabled: bool
    created_at: datetime

    def view(self) -> dict[str, Any]:
        return self._asdict()


class OpenInvitation(NamedTuple):
    """An invitation that is not accepted yet."""

    id: str
    email: str
    role: str
    created_at: datetime
    expires_at: datetime

    def view(self) -> dict[str, Any]:
        return self._asdict()


def page(connection: Connection, *, after: str, limit: int) -> list[Member]:
    """In the order of their ids."""
    return [_row(row) for row in connection.execute(_PAGE, {"after": after, "limit": limit})]


def any_admin(connection: Connection) -> bool:
    """Whether there is an admin who can sign in."""
    return bool(connection.execute(_ANY_ADMIN).scalar())


def invite(
    connection: Connection,
    actor: Principal | None,
    digest: Digest,
    *,
    email: str,
    role: Role,
    lifetime_seconds: float,
    mails_per_hour: int,
) -> None:
    """Mails an invitation, which replaces an earlier one. Raises Conflict for staff and disabled accounts,
    TooManyRequests."""
    users.create_unverified(connection, email)
    known = users.user_by_email(connection, email)
    user = users.lock_user(connection, known.id) if known else None
    if user is None:
        raise Conflict("That account was deleted at this moment: try again")
    if user.disabled or user.role in STAFF:
        raise Conflict("That account is staff already" if user.role in STAFF else "That account is disabled")
    link = links.create(
        connection,
        digest,
        purpose=LinkPurpose.INVITATION,
        user_id=user.id,
        email=user.email if user.verified else email,
        role=role,
        lifetime_seconds=lifetime_seconds,
        mails_per_hour=mails_per_hour,
    )
    if link is None:
        raise TooManyRequests(f"At most {mails_per_hour} invitations in an hour", retry_after=HOUR_SECONDS)
    audit.append(connection, actor, "staff.invited", user.id, role=role)


def invitations(connection: Connection, *, after: str, limit: int) -> list[OpenInvitation]:
    """Open invitations, in the order of their ids."""
    return [OpenInvitation(*row) for row in connection.execute(_INVITATIONS, {"after": after, "limit": limit})]


def withdraw(connection: Connection, actor: Principal, invitation_id: str) -> None:
    """Ends an invitation. Raises NotFound unless it is open."""
    link = links.read(connection, invitation_id)
    if link is not None:
        users.lock_user(connection, link.user_id)
        link = links.read(connection, invitation_id)
    if link is None or link.purpose is not LinkPurpose.INVITATION or link.state is not LinkState.LIVE:
        raise NotFound("There is no such invitation")
    links.end_live(connection, link.user_id, LinkPurpose.INVITATION)
    audit.append(connection, actor, "staff.invitation_withdrawn", link.user_id)


def invited(connection: Connection, digest: bytes) -> User:
    """The user whom the link with that secret invites. Raises Gone."""
    return _of(connection, links.find(connection, digest, LinkPurpose.INVITATION))


def join(connection: Connection, digest: bytes, *, name: str | None, password_hash: str | None) -> User:
    """Uses the link: the user gets its role; a new user also gets the name and password, and is verified.

    Earlier sessions end, because they were started with fewer rights. Raises Gone.
    """
    link = links.use(connection, digest, LinkPurpose.INVITATION)
    user = _of(connection, link)
    assert link.role is not None
    if not user.verified:
        if name is None or password_hash is None:
            raise Gone()
        users.verify(connection, user.id, email=link.email, name=name, password_hash=password_hash)
        links.end_live(connection, user.id, LinkPurpose.EMAIL_VERIFICATION)
    users.change_user(connection, user.id, role=link.role)
    sessions.end_all(connection, user.id, "role_changed")
    joined = users.read_user(connection, user.id)
    assert joined is not None
    return joined


def change(
    connection: Connection, actor: Principal, user_id: str, *, role: Role | None, disabled: bool | None
) -> Member:
    """Changes a member's role, or disables or enables them. A new role and disabling end their sessions.

    Raises NotFound for a user who is not staff, Conflict if no admin would be left.
    """
    locked = connection.execute(_LOCK, {"id": user_id}).all()
    before = _member(connection, user_id)
    if before is None or before.role is Role.CUSTOMER:
        raise NotFound("There is no such member of the staff")
    after = before._replace(
        role=before.role if role is None else role, disabled=before.disabled if disabled is None else disabled
    )
    admins = {row.id for row in locked if row.admin}
    if admins == {user_id} and (after.disabled or after.role is not Role.ADMIN):
        raise Conflict("There would be no admin left")
    if after.role is not before.role:
        users.change_user(connection, user_id, role=after.role)
        notices.queue(connection, user_id, NoticeKind.ROLE_CHANGED)
        sessions.end_all(connection, user_id, "role_changed")
    if after.disabled is not before.disabled:
        connection.execute(_SET_DISABLED, {"id": user_id, "disabled": after.disabled})
        sessions.end_all(connection, user_id, "disabled")
    if after.role is not before.role:
        audit.append(connection, actor, "staff.role_changed", user_id, before=before.role, after=after.role)
    if after.disabled is not before.disabled:
        audit.append(connection, actor, "staff.disabled" if after.disabled else "staff.enabled", user_id)
    return after


def _member(connection: Connection, user_id: str) -> Member | None:
    row = connection.execute(_ONE, {"id": user_id}).first()
    return _row(row) if row else None


def _row(row: Any) -> Member:
    return Member(*row)._replace(role=Role(row.role))


def _of(connection: Connection, link: StoredLink) -> User:
    user = users.read_user(connection, link.user_id)
    if user is None or user.disabled or user.role in STAFF:
        raise Gone()
    return user
