"""Identities: links accounts to identities at Google or Facebook."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects.postgresql import insert

from models.accounts.access import Principal, Role
from models.accounts.accounts import LinkPurpose, NoticeKind, email_key
from models.accounts.identities import Identity
from models.db.repositories.accounts import links, notices
from models.db.repositories.accounts.users import User, change_user, lock_user, user_by_email
from models.db.repositories.delivery import audit
from models.db.tables.accounts import identities, users
from models.errors import AddressNotVerified
from models.ids import new_id

_SPEND = text("""
WITH old AS (DELETE FROM spent_sign_ins WHERE digest IN (
    SELECT digest FROM spent_sign_ins WHERE spent_at < now() - make_interval(secs => 2 * :seconds + 3600)
    ORDER BY spent_at LIMIT 20 FOR UPDATE SKIP LOCKED))
INSERT INTO spent_sign_ins (digest) VALUES (:digest) ON CONFLICT (digest) DO NOTHING RETURNING digest
""")


# Concurrent sign-ins with one identity, perhaps under two addresses, must not create two accounts.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('identity/' || :name, 0))")


def spend(connection: Connection, digest: bytes, seconds: float) -> bool:
    """Marks a sign-in's state as used. It is valid for `seconds`. False if it was used before."""
    return connection.execute(_SPEND, {"digest": digest, "seconds": seconds}).first() is not None


def account_of(connection: Connection, identity: Identity) -> User | None:
    """The account that this identity signs in, locked: the linked one, else that of the verified address."""
    connection.execute(_ONE_AT_A_TIME, {"name": f"{identity.provider}/{identity.subject}"})
    user_id = _owner(connection, identity)
    if user_id is not None:
        return lock_user(connection, user_id)
    if identity.email is None or not identity.email_verified:
        return None
    user = user_by_email(connection, identity.email)
    return lock_user(connection, user.id) if user else None


def take(connection: Connection, identity: Identity) -> tuple[User, str | None]:
    """Links the identity to an account and returns it, locked and verified, with the action for the audit log:
    `account.registered`, `account.verified` (it was unverified), `identity.linked`, or None.

    Raises AddressNotVerified for a new identity whose address the provider has not verified.
    """
    connection.execute(_ONE_AT_A_TIME, {"name": f"{identity.provider}/{identity.subject}"})
    user_id = _owner(connection, identity)
    if user_id is not None:
        user = lock_user(connection, user_id)
        assert user is not None
        return user, None
    if identity.email is None or not identity.email_verified:
        raise AddressNotVerified()
    created = connection.execute(
        insert(users)
        .values(
            id=new_id("usr"),
            email=identity.email,
            email_key=email_key(identity.email),
            name=identity.name,
            role=Role.CUSTOMER,
            verified_at=func.now(),
        )
        .on_conflict_do_nothing(index_elements=["email_key"])
        .returning(users.c.id)
    ).scalar()
    before = user_by_email(connection, identity.email)
    assert before is not None
    user = lock_user(connection, before.id)
    assert user is not None
    connection.execute(insert(identities).values(provider=identity.provider, subject=identity.subject, user_id=user.id))
    if created:
        return user, "account.registered"
    if user.verified:
        notices.queue(connection, user.id, NoticeKind.SIGNED_IN_ELSEWHERE_LINKED)
        return user, "identity.linked"
    # An earlier registration of the address was never verified: its name and password must not be applied.
    links.end_live(connection, user.id, LinkPurpose.EMAIL_VERIFICATION, LinkPurpose.PASSWORD_RESET)
    change_user(
        connection,
        user.id,
        email=identity.email,
        name=identity.name,
        password_hash=None,
        must_reset=False,
        verified_at=func.now(),
    )
    taken = lock_user(connection, user.id)
    assert taken is not None
    return taken, "account.verified"


def append_to_audit(connection: Connection, user: User, action: str, identity: Identity) -> None:
    """Call it last in the transaction, as for every row of the audit log."""
    who = Principal(user_id=user.id, role=user.role)
    audit.append(connection, who, action, user.id, provider=identity.provider)


def _owner(connection: Connection, identity: Identity) -> str | None:
    found: str | None = connection.execute(
        select(identities.c.user_id).where(
            identities.c.provider == identity.provider, identities.c.subject == identity.subject
        )
    ).scalar()
    return found
