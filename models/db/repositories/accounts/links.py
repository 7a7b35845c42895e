"""Mailed links: at most one live link per user and purpose, single-use, expiring by the database's clock.

Creating, using and ending a link locks its user's row, which serialises them. The link carries the requested name and
password: they are applied when it is used, so an unverified request changes no account.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.accounts.access import Role
from models.accounts.accounts import Link, LinkPurpose, LinkState, email_key
from models.db.repositories.delivery import outbox
from models.errors import Gone
from models.ids import link_workflow, new_id

Digest = Callable[[str], bytes]
"""From a link's id to the digest of its secret: `Vault.link_digest`."""


class StoredLink(NamedTuple):
    """A link, with the values that are applied when it is used."""

    id: str
    user_id: str
    purpose: LinkPurpose
    number: int
    state: LinkState  # `expired` from `expires_at` on, also before the row says so
    email: str
    name: str | None
    password_hash: str | None
    role: Role | None
    asked_from: str | None  # the address range of who typed the name and the password, or asked for the address
    requested_at: datetime

    @property
    def workflow_id(self) -> str:
        return link_workflow(self.purpose, self.user_id, self.number)


_COLUMNS = """
id, user_id, purpose, number, email, name, password_hash, role, asked_from, requested_at,
CASE WHEN state = 'live' AND expires_at <= now() THEN 'expired' ELSE state END AS state
"""

_LOCK = text("SELECT id FROM users WHERE id = :user_id FOR UPDATE")

# Counted by user, so that one account can't spam many addresses; and by address, so that many can't spam one mailbox.
_LAST_HOUR = text("""
SELECT greatest(
    (SELECT count(*) FROM links WHERE user_id = :user_id AND purpose = :purpose AND created_at > t.since),
    (SELECT count(*) FROM links WHERE email_key = :email_key AND purpose = :purpose AND created_at > t.since))
FROM (SELECT now() - interval '1 hour' AS since) t
""")

_INSERT = text("""
INSERT INTO links
    (id, user_id, purpose, number, digest, email, email_key, name, password_hash, role, asked_from,
     lifetime_seconds, requested_at, expires_at)
VALUES (:id, :user_id, :purpose,
    (SELECT coalesce(max(number), 0) + 1 FROM links WHERE user_id = :user_id AND purpose = :purpose),
    :digest, :email, :email_key, :name, :password_hash, :role, :asked_from, :lifetime_seconds,
    coalesce(:requested_at, now()), now() + make_interval(secs => :lifetime_seconds))
RETURNING number
""")

# A used link's values are applied, a replaced link's are in the new one: both are cleared.
_END = text("""
UPDATE links SET state = :state, ended_at = now(),
    name = CASE WHEN :state = 'expired' THEN name END,
    password_hash = CASE WHEN :state = 'expired' THEN password_hash END
WHERE id = :id AND state = 'live'
""")


def create(
    connection: Connection,
    digest: Digest,
    *,
    purpose: LinkPurpose,
    user_id: str,
    email: str,
    lifetime_seconds: float,
    mails_per_hour: int,
    name: str | None = None,
    password_hash: str | None = None,
    role: Role | None = None,
    asked_from: str | None = None,
    requested_at: datetime | None = None,
    after_seconds: float = 0.0,
) -> Link | None:
    """Creates a link that replaces the live one. The outbox starts the workflow that mails it after `after_seconds`.

    Returns None without a change if the user or the address had `mails_per_hour` of that purpose in the last hour.
    """
    connection.execute(_LOCK, {"user_id": user_id})
    about = {"user_id": user_id, "purpose": purpose, "email_key": email_key(email)}
    if connection.execute(_LAST_HOUR, about).scalar_one() >= mails_per_hour:
        return None
    end_live(connection, user_id, purpose)
    link_id = new_id("link")
    number = connection.execute(
        _INSERT,
        {
            **about,
            "id": link_id,
            "digest": digest(link_id),
            "email": email,
            "name": name,
            "password_hash": password_hash,
            "role": role,
            "asked_from": asked_from,
            "lifetime_seconds": lifetime_seconds,
            "requested_at": requested_at,
        },
    ).scalar_one()
    link = Link(id=link_id, user_id=user_id, purpose=purpose, number=number, lifetime_seconds=lifetime_seconds)
    outbox.publish(connection, topics.LINK_OPENED, link_id, link, after_seconds=after_seconds)
    return link


_REPLACE_VALUES = text("""
UPDATE links SET name = :name, password_hash = :password_hash, asked_from = :asked_from
WHERE user_id = :user_id AND purpose = :purpose AND state = 'live'
""")


def replace_values(
    connection: Connection,
    user_id: str,
    purpose: LinkPurpose,
    *,
    name: str | None,
    password_hash: str | None,
    asked_from: str | None,
) -> None:
    """The live link brings these into force from now on, without another mail."""
    values = {"name": name, "password_hash": password_hash, "asked_from": asked_from}
    connection.execute(_REPLACE_VALUES, {"user_id": user_id, "purpose": purpose, **values})


def end_live(connection: Connection, user_id: str, *purposes: LinkPurpose) -> None:
    """Ends the live links of these purposes as `replaced`."""
    found = connection.execute(
        text(f"SELECT {_COLUMNS} FROM links WHERE user_id = :user_id AND purpose = ANY(:purposes) AND state = 'live'"),  # noqa: S608  constants
        {"user_id": user_id, "purposes": list(purposes)},
    )
    for row in found.all():
        _end(connection, _link(row), LinkState.REPLACED)


def find(connection: Connection, digest: bytes, purpose: LinkPurpose) -> StoredLink:
    """The live link with that secret, unlocked. Raises Gone if it is unknown, used, replaced or expired."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM links WHERE digest = :digest AND purpose = :purpose"),  # noqa: S608  constants
        {"digest": digest, "purpose": purpose},
    ).first()
    if row is None or row.state != LinkState.LIVE:
        raise Gone()
    return _link(row)


def use(connection: Connection, digest: bytes, purpose: LinkPurpose) -> StoredLink:
    """Marks the link as used, locks its user's row and signals its workflow. Raises Gone, as `find`."""
    seen = find(connection, digest, purpose)
    connection.execute(_LOCK, {"user_id": seen.user_id})
    link = find(connection, digest, purpose)
    _end(connection, link, LinkState.USED)
    return link


def read(connection: Connection, link_id: str) -> StoredLink | None:
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM links WHERE id = :id"),  # noqa: S608  constants
        {"id": link_id},
    ).first()
    return _link(row) if row else None


def last_of(connection: Connection, user_id: str, purpose: LinkPurpose) -> StoredLink | None:
    row = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM links WHERE user_id = :user_id AND purpose = :purpose"  # noqa: S608  constants
            " ORDER BY number DESC LIMIT 1"
        ),
        {"user_id": user_id, "purpose": purpose},
    ).first()
    return _link(row) if row else None


def expire(connection: Connection, link_id: str) -> LinkState | None:
    """Ends the link as expired unless it has ended; returns its state. None: there is no such link."""
    link = read(connection, link_id)
    if link is not None and link.state is LinkState.EXPIRED:
        connection.execute(_END, {"id": link_id, "state": LinkState.EXPIRED})
        link = read(connection, link_id)  # a concurrent use or replacement may have ended it
    return link.state if link else None


def _end(connection: Connection, link: StoredLink, state: LinkState) -> None:
    """Ends the link and publishes that for its workflow."""
    if connection.execute(_END, {"id": link.id, "state": state}).rowcount:
        event = topics.LinkEnded(workflow_id=link.workflow_id, how=state)
        outbox.publish(connection, topics.LINK_ENDED, link.id, event)


def _link(row: Any) -> StoredLink:
    return StoredLink(
        id=row.id,
        user_id=row.user_id,
        purpose=LinkPurpose(row.purpose),
        number=row.number,
        state=LinkState(row.state),
        email=row.email,
        name=row.name,
        password_hash=row.password_hash,
        role=Role(row.role) if row.role else None,
        asked_from=row.asked_from,
        requested_at=row.requested_at,
    )
