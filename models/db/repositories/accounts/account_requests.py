"""Account requests of unauthenticated callers: stored in the same way for every address, handled later by the outbox.

So neither the response nor its timing reveals whether an address is known.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.accounts.accounts import LinkPurpose, NoticeKind, RequestKind, account_key, email_key
from models.db.repositories.accounts import links, notices, users
from models.db.repositories.accounts.links import Digest, StoredLink
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import outbox
from models.ids import new_id

# A repeated registration of an address within these seconds counts as the same click, until the first one's mail is
# sent (which is not before MAIL_AFTER_SECONDS).
SAME_CLICK_SECONDS = 5.0
MAIL_AFTER_SECONDS = 0.3

_SUBMIT = text("""
INSERT INTO account_requests (id, kind, email, name, password_hash, asked_from, created_at)
VALUES (:id, :kind, :email, :name, :password_hash, :asked_from, now() - make_interval(secs => :waited_seconds))
""")

_TAKE = text("""
DELETE FROM account_requests WHERE id = :id RETURNING kind, email, name, password_hash, asked_from, created_at
""")

_SAME_CLICK = text("""
SELECT CAST(:asked_at AS timestamptz) < l.requested_at + make_interval(secs => :seconds) AND NOT EXISTS (
    SELECT 1 FROM notifications n
    WHERE n.event = l.id AND n.sending_since > '-infinity' AND n.sending_since <= :asked_at)
FROM links l WHERE l.id = :link_id
""")


_UNVERIFIED = text("""
SELECT id FROM users WHERE email_key = :email_key AND verified_at IS NULL AND disabled_at IS NULL FOR UPDATE
""")


# One statement, because foreign keys are checked at its end.
_FORGET = text("""
WITH old AS (
        SELECT u.id FROM users u
        WHERE u.verified_at IS NULL AND u.created_at < now() - interval '30 days' AND NOT EXISTS (
            SELECT 1 FROM links l WHERE l.user_id = u.id AND l.created_at > now() - interval '30 days')
        ORDER BY u.created_at LIMIT 500 FOR UPDATE SKIP LOCKED),
    links_gone AS (DELETE FROM links WHERE user_id IN (SELECT id FROM old)),
    notices_gone AS (DELETE FROM notices
        WHERE user_id IN (SELECT id FROM old) OR created_at < now() - interval '30 days')
DELETE FROM users WHERE id IN (SELECT id FROM old)
""")


class Opening(NamedTuple):
    """The settings for handling a request."""

    digest: Digest
    verification_seconds: float
    reset_seconds: float
    mails_per_hour: int


class _Request(NamedTuple):
    kind: str
    email: str
    name: str | None
    password_hash: str | None
    asked_from: str | None
    asked_at: datetime


def submit(
    connection: Connection,
    kind: RequestKind,
    email: str,
    *,
    name: str | None = None,
    password_hash: str | None = None,
    asked_from: str | None = None,
    waited_seconds: float = 0.0,
) -> None:
    """Stores and publishes a request. `waited_seconds`: its age."""
    request_id = new_id("areq")
    connection.execute(
        _SUBMIT,
        {
            "id": request_id,
            "kind": kind,
            "email": email,
            "name": name,
            "password_hash": password_hash,
            "asked_from": asked_from,
            "waited_seconds": waited_seconds,
        },
    )
    event = topics.AccountRequested(request_id=request_id)
    outbox.publish(connection, topics.ACCOUNT_REQUESTED, account_key(email).hex(), event)


def open_request(connection: Connection, request_id: str, opening: Opening) -> None:
    """Handles a request and deletes it. Idempotent: a repeat finds no row."""
    row = connection.execute(_TAKE, {"id": request_id}).first()
    if row is None:
        return
    request = _Request(*row)
    if request.kind == RequestKind.REGISTRATION:
        users.create_unverified(connection, request.email)
    known = users.user_by_email(connection, request.email)
    user = users.lock_user(connection, known.id) if known else None
    if user is None or user.disabled:
        return
    if request.kind == RequestKind.REGISTRATION:
        _register(connection, request, user, opening)
    elif request.kind == RequestKind.EMAIL_VERIFICATION:
        _verify_again(connection, user, opening)
    elif user.verified:
        links.create(
            connection,
            opening.digest,
            purpose=LinkPurpose.PASSWORD_RESET,
            user_id=user.id,
            email=user.email,  # in the account's spelling
            lifetime_seconds=opening.reset_seconds,
            mails_per_hour=opening.mails_per_hour,
        )


def forget_old(connection: Connection) -> None:
    """Deletes unverified accounts without a link in the last 30 days, and notices older than 30 days."""
    connection.execute(_FORGET)


def release_address(connection: Connection, email: str) -> None:
    """Deletes the unverified account of an address whose owner has just verified it for another account."""
    holder = connection.execute(_UNVERIFIED, {"email_key": email_key(email)}).scalar()
    if holder is not None:
        links.end_live(connection, holder, *LinkPurpose)
        for table in ("links", "notices"):
            connection.execute(text(f"DELETE FROM {table} WHERE user_id = :id"), {"id": holder})  # noqa: S608  constants
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": holder})


def _register(connection: Connection, request: _Request, user: User, opening: Opening) -> None:
    """Mails a link for a new account, or a notice to the owner of an existing one.

    The newest registration counts, also where the limit of mails has been reached: what somebody typed before its owner
    registered is gone.
    """
    if user.verified:
        notices.queue(connection, user.id, NoticeKind.ACCOUNT_EXISTS, at_most=opening.mails_per_hour)
        return
    last = links.last_of(connection, user.id, LinkPurpose.EMAIL_VERIFICATION)
    if last is not None and _same_click(connection, request, last):
        return
    created = links.create(
        connection,
        opening.digest,
        purpose=LinkPurpose.EMAIL_VERIFICATION,
        user_id=user.id,
        email=request.email,
        name=request.name,
        password_hash=request.password_hash,
        asked_from=request.asked_from,
        requested_at=request.asked_at,
        lifetime_seconds=opening.verification_seconds,
        mails_per_hour=opening.mails_per_hour,
        after_seconds=MAIL_AFTER_SECONDS,
    )
    if created is None:
        links.replace_values(
            connection,
            user.id,
            LinkPurpose.EMAIL_VERIFICATION,
            name=request.name,
            password_hash=request.password_hash,
            asked_from=request.asked_from,
        )


def _verify_again(connection: Connection, user: User, opening: Opening) -> None:
    """Mails another link for an unverified account, with the values of its last registration."""
    last = links.last_of(connection, user.id, LinkPurpose.EMAIL_VERIFICATION)
    if user.verified or last is None or last.password_hash is None:
        return
    links.create(
        connection,
        opening.digest,
        purpose=LinkPurpose.EMAIL_VERIFICATION,
        user_id=user.id,
        email=last.email,
        name=last.name,
        password_hash=last.password_hash,
        asked_from=last.asked_from,
        lifetime_seconds=opening.verification_seconds,
        mails_per_hour=opening.mails_per_hour,
    )


def _same_click(connection: Connection, request: _Request, last: StoredLink) -> bool:
    """Whether the request is a repeated click: the mail of the first one was not sent before it, and it came from the
    same network."""
    if request.asked_from != last.asked_from:
        return False
    values = {"asked_at": request.asked_at, "link_id": last.id, "seconds": SAME_CLICK_SECONDS}
    return bool(connection.execute(_SAME_CLICK, values).scalar())
