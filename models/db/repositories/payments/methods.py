"""Saved payment methods: the owner's views and commands, and the provider's ids."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.accounts.profiles import lock_account
from models.db.repositories.delivery import outbox
from models.delivery.stored_responses import rfc3339
from models.errors import Conflict, InvalidTransition, NotFound
from models.payments.methods import LIVE_SETUP, MAX_METHODS, PaymentMethodRef, PaymentMethodState


class MethodState(NamedTuple):
    """A payment method's status and its API view."""

    state: PaymentMethodState
    view: dict[str, Any]
    reason: str | None
    decline_code: str | None


_OWN = text("SELECT * FROM payment_methods WHERE id = :id AND user_id = :user_id")


def read(connection: Connection, user_id: str, payment_method_id: str) -> MethodState:
    """The method; for a duplicate card the row that was saved before. Raises NotFound, also for a removed one."""
    row = connection.execute(_OWN, {"id": payment_method_id, "user_id": user_id}).mappings().first()
    if row is not None and row["same_as"] is not None:
        row = connection.execute(_OWN, {"id": row["same_as"], "user_id": user_id}).mappings().first()
    if row is None or row["state"] in (PaymentMethodState.REMOVING, PaymentMethodState.REMOVED):
        raise NotFound("There is no such payment method")
    return MethodState(PaymentMethodState(row["state"]), view(row), row["reason"], row["decline_code"])


_LIST = text("""
SELECT * FROM payment_methods
WHERE user_id = :user_id AND state = 'saved' AND (created_at, id) > (CAST(:at AS timestamptz), :id)
ORDER BY created_at, id LIMIT :limit
""")


def list_saved(
    connection: Connection, user_id: str, *, after: tuple[datetime, str], limit: int
) -> list[dict[str, Any]]:
    """Oldest first, after (created_at, id): ids derived from a key have no order in time."""
    values = {"user_id": user_id, "at": after[0], "id": after[1], "limit": limit}
    rows = connection.execute(_LIST, values).mappings()
    return [view(row) for row in rows]


def make_default(connection: Connection, user_id: str, payment_method_id: str) -> dict[str, Any]:
    """Raises NotFound, and InvalidTransition while it is not saved yet."""
    lock_account(connection, user_id)
    _saved(connection, user_id, payment_method_id)
    connection.execute(
        text("UPDATE payment_methods SET is_default = false WHERE user_id = :user_id AND is_default"),
        {"user_id": user_id},
    )
    chosen = connection.execute(
        text("UPDATE payment_methods SET is_default = true, updated_at = now() WHERE id = :id RETURNING *"),
        {"id": payment_method_id},
    )
    return view(chosen.mappings().one())


_REMOVE = text("""
UPDATE payment_methods SET state = 'removing', is_default = false, updated_at = now() WHERE id = :id
""")
_NEXT_DEFAULT = text("""
UPDATE payment_methods SET is_default = true
WHERE id = (SELECT id FROM payment_methods WHERE user_id = :user_id AND state = 'saved'
    ORDER BY created_at DESC, id DESC LIMIT 1)
""")


def remove(connection: Connection, user_id: str, payment_method_id: str) -> None:
    """Removes the method for its owner; the outbox starts the detaching at the provider. The newest other one becomes
    the default.

    Raises NotFound, and InvalidTransition while it is not saved yet.
    """
    lock_account(connection, user_id)
    row = _saved(connection, user_id, payment_method_id)
    connection.execute(_REMOVE, {"id": payment_method_id})
    if row["is_default"]:
        connection.execute(_NEXT_DEFAULT, {"user_id": user_id})
    event = PaymentMethodRef(payment_method_id=payment_method_id)
    outbox.publish(connection, topics.PAYMENT_METHOD_REMOVED, payment_method_id, event)


def _saved(connection: Connection, user_id: str, payment_method_id: str) -> Any:
    row = connection.execute(_OWN, {"id": payment_method_id, "user_id": user_id}).mappings().first()
    if row is None or row["state"] not in (*LIVE_SETUP, PaymentMethodState.SAVED):
        raise NotFound("There is no such payment method")
    if row["state"] in LIVE_SETUP:
        raise InvalidTransition("It is still being saved", state=row["state"])
    return row


# At the provider


def customer_of(connection: Connection, user_id: str) -> str | None:
    """The provider's customer id of the user."""
    return connection.execute(
        text("SELECT payment_customer FROM users WHERE id = :id"), {"id": user_id}
    ).scalar_one_or_none()


def store_customer(connection: Connection, user_id: str, customer: str, *, gone: str | None) -> str:
    """Stores the customer id unless there is one other than `gone`; returns the stored one."""
    return str(
        connection.execute(
            text("""
            UPDATE users SET payment_customer = coalesce(nullif(payment_customer, :gone), :customer) WHERE id = :id
            RETURNING payment_customer
            """),
            {"id": user_id, "customer": customer, "gone": gone},
        ).scalar_one()
    )


class ProviderMethod(NamedTuple):
    """A payment method at its provider."""

    state: PaymentMethodState
    provider: str
    reference: str | None


def at_provider(connection: Connection, payment_method_id: str) -> ProviderMethod:
    row = read_row(connection, payment_method_id)
    return ProviderMethod(PaymentMethodState(row["state"]), row["provider"], row["reference"])


class Usable(NamedTuple):
    """The provider's ids to charge a saved method."""

    provider: str
    reference: str
    customer: str


_USABLE = text("""
SELECT m.provider, m.reference, u.payment_customer FROM payment_methods m JOIN users u ON u.id = m.user_id
WHERE m.id = :id AND m.user_id = :user_id AND m.state = 'saved'
""")


def usable(connection: Connection, user_id: str, payment_method_id: str) -> Usable:
    """The user's saved method. Raises NotFound, also for another user's and for one that is not saved."""
    row = connection.execute(_USABLE, {"id": payment_method_id, "user_id": user_id}).first()
    if row is None:
        raise NotFound("There is no such payment method")
    return Usable(*row)


def check_room(connection: Connection, user_id: str) -> None:
    """Raises Conflict if the account has MAX_METHODS already."""
    saved = text("SELECT count(*) FROM payment_methods WHERE user_id = :user_id AND state = 'saved'")
    if connection.execute(saved, {"user_id": user_id}).scalar_one() >= MAX_METHODS:
        raise Conflict(f"An account keeps at most {MAX_METHODS} payment methods")


def in_use(connection: Connection, user_id: str, reference: str, *, besides: str) -> bool:
    """Whether another row of the user has the same reference at the provider."""
    found = connection.execute(
        text("""
        SELECT 1 FROM payment_methods
        WHERE user_id = :user_id AND reference = :reference AND state = 'saved' AND id <> :id
        """),
        {"user_id": user_id, "reference": reference, "id": besides},
    )
    return found.first() is not None


def removed(connection: Connection, payment_method_id: str) -> None:
    """Records that the provider has detached it, and deletes the card's details."""
    connection.execute(
        text("""
        UPDATE payment_methods SET state = 'removed', card = NULL, card_fingerprint = NULL, updated_at = now()
        WHERE id = :id AND state = 'removing'
        """),
        {"id": payment_method_id},
    )


def read_row(connection: Connection, payment_method_id: str) -> Any:
    found = connection.execute(text("SELECT * FROM payment_methods WHERE id = :id"), {"id": payment_method_id})
    return found.mappings().one()


def view(row: Any) -> dict[str, Any]:
    """The API's shape: `{id, provider, status, …}` with the members of its status."""
    state = PaymentMethodState(row["state"])
    shown = {"id": row["id"], "provider": row["provider"], "status": state.shown}
    if state is PaymentMethodState.REQUIRES_ACTION:
        return shown | {"next_action": row["next_action"], "expires_at": rfc3339(row["action_expires_at"])}
    if state is PaymentMethodState.SAVED:
        return shown | {
            "card": row["card"],
            "default": row["is_default"],
            "created_at": rfc3339(row["created_at"]),
        }
    if state is PaymentMethodState.FAILED:
        return shown | {"reason": row["reason"]}
    return shown
