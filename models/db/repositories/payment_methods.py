"""The transactions of saving a card: begin, note what the provider said, ask its owner, keep, close. Each may be
repeated and says the same."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.answers import Answer, Told, rfc3339
from models.db.repositories import answers, outbox
from models.db.repositories.profiles import lock_account
from models.errors import Conflict, HoldfastError, IdempotencyKeyReused, InvalidTransition, NotFound, Unavailable
from models.payment_methods import (
    LIVE_SETUP,
    MAX_METHODS,
    PAYMENT_METHOD_TRANSITIONS,
    AskOwner,
    BeginSave,
    CloseSave,
    KeepPaidMethod,
    OwnerAsked,
    PaymentMethodState,
    ProviderSetup,
    SaveBegun,
)
from models.states import advance

REMOVED = "payment_method.removed"
CHANGED = "setup.changed"

# Its steps, as the workflow takes them

_STANDING = text("""
SELECT
    (SELECT row_to_json(p) FROM payment_methods p WHERE p.id = :payment_method_id) AS mine,
    (SELECT k.fingerprint FROM kept_answers k WHERE k.key_digest = :key_digest) AS fingerprint,
    (SELECT count(*) FROM payment_methods p WHERE p.user_id = :user_id AND p.state = 'saved') AS saved
""")

_BEGIN = text("""
WITH kept AS (INSERT INTO kept_answers (key_digest, fingerprint)
    SELECT :key_digest, :fingerprint WHERE CAST(:key_digest AS text) IS NOT NULL
    ON CONFLICT (key_digest) DO NOTHING)
INSERT INTO payment_methods (id, user_id, provider, state, token, key_digest)
VALUES (:payment_method_id, :user_id, :provider, 'saving', :method, :key_digest)
""")


def begin(connection: Connection, command: BeginSave) -> SaveBegun:
    """Raises Conflict when there are as many as may be, IdempotencyKeyReused, NotFound without an account."""
    lock_account(connection, command.user_id)
    values = command.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    standing = connection.execute(_STANDING, values).mappings().one()
    if standing["mine"]:
        return _begun_before(connection, command, PaymentMethodState(standing["mine"]["state"]))
    if standing["fingerprint"] not in (None, command.fingerprint):
        raise IdempotencyKeyReused()
    if standing["saved"] >= MAX_METHODS:
        raise Conflict(f"An account keeps at most {MAX_METHODS} payment methods")
    connection.execute(_BEGIN, {**values, "fingerprint": command.fingerprint})
    return SaveBegun()


def _begun_before(connection: Connection, command: BeginSave, state: PaymentMethodState) -> SaveBegun:
    if state in LIVE_SETUP:
        return SaveBegun(repeated=True)
    if state is not PaymentMethodState.FAILED:
        return SaveBegun(repeated=True, ended=PaymentMethodState.SAVED, settled=SAVED)
    kept = answers.find(connection, command.key_digest, command.fingerprint) if command.key_digest else None
    lost = refusal_answer(Unavailable(), command)
    told = Told(status=kept.status) if kept else Told(status=lost.status, body=lost.body)
    return SaveBegun(repeated=True, ended=state, settled=told)


def customer_of(connection: Connection, user_id: str) -> str | None:
    """The provider's id of this person."""
    return connection.execute(
        text("SELECT payment_customer FROM users WHERE id = :id"), {"id": user_id}
    ).scalar_one_or_none()


def keep_customer(connection: Connection, user_id: str, customer: str, *, gone: str | None) -> str:
    """The one that is kept: whoever came first, unless that one is gone."""
    return str(
        connection.execute(
            text("""
            UPDATE users SET payment_customer = coalesce(nullif(payment_customer, :gone), :customer) WHERE id = :id
            RETURNING payment_customer
            """),
            {"id": user_id, "customer": customer, "gone": gone},
        ).scalar_one()
    )


_NOTE = text("""
UPDATE payment_methods SET setup = coalesce(:setup, setup), reference = coalesce(:reference, reference),
    card = coalesce(CAST(:card AS jsonb), card), card_fingerprint = coalesce(:fingerprint, card_fingerprint),
    next_action = coalesce(CAST(:next_action AS jsonb), next_action), updated_at = now()
WHERE id = :payment_method_id AND state IN ('saving', 'requires_action')
""")


def note(connection: Connection, payment_method_id: str, setup: ProviderSetup) -> None:
    """What the provider said of it, so that nobody else has to carry it."""
    connection.execute(
        _NOTE,
        {
            "payment_method_id": payment_method_id,
            "setup": setup.reference,
            "reference": setup.method,
            "card": setup.card.model_dump_json() if setup.card else None,
            "fingerprint": setup.fingerprint,
            "next_action": json.dumps(setup.next_action) if setup.next_action else None,
        },
    )


_ASK = text("""
UPDATE payment_methods SET state = 'requires_action', action_expires_at = :expires_at, updated_at = now()
WHERE id = :payment_method_id AND state IN ('saving', 'requires_action')
RETURNING id, provider, state, next_action, action_expires_at, setup, key_digest
""")

# `requires_action` itself and `created` are no news.
_NEWS = text("""
SELECT EXISTS (SELECT 1 FROM webhook_events WHERE subject = :setup
    AND type NOT IN ('setup_intent.created', 'setup_intent.requires_action'))
""")


def ask_owner(connection: Connection, command: AskOwner) -> OwnerAsked:
    """The row's lock orders this against the webhook's transaction: one of the two sees the other."""
    row = connection.execute(_ASK, command.model_dump()).mappings().one()
    answer = Answer.of(202, view(row))
    connection.execute(
        text("UPDATE kept_answers SET status = 202, body = :body WHERE key_digest = :key_digest"),
        {"key_digest": row["key_digest"], "body": answer.body},
    )
    news = connection.execute(_NEWS, {"setup": row["setup"]}).scalar_one()
    return OwnerAsked(answer=Told(status=answer.status), news=news)


SAVED = Told(status=201)

_SAME = text("""
SELECT * FROM payment_methods
WHERE user_id = :user_id AND provider = :provider AND state = 'saved' AND card_fingerprint = :card_fingerprint
""")

_KEEP = text("""
UPDATE payment_methods p SET state = 'saved', next_action = NULL, action_expires_at = NULL, updated_at = now(),
    is_default = NOT EXISTS (SELECT 1 FROM payment_methods o WHERE o.user_id = p.user_id AND o.is_default)
WHERE id = :id RETURNING *
""")

# The entry takes the newer card over (its date may be a later one), and the newcomer takes the older one away.
_RENEW = text("""
UPDATE payment_methods SET reference = :reference, card = CAST(:card AS jsonb), updated_at = now()
WHERE id = :id RETURNING *
""")
_FOLLOW = text("""
UPDATE payment_methods SET state = :state, reference = :reference, same_as = :same_as, card_fingerprint = NULL,
    card = NULL, next_action = NULL, action_expires_at = NULL, updated_at = now()
WHERE id = :id
""")


def keep(connection: Connection, payment_method_id: str) -> Told:
    """Saved, or known already: the same card twice is one entry. The account's first is its default."""
    user_id = connection.execute(
        text("SELECT user_id FROM payment_methods WHERE id = :id"), {"id": payment_method_id}
    ).scalar_one()
    lock_account(connection, user_id)
    mine = _row(connection, payment_method_id)
    state = PaymentMethodState(mine["state"])
    if state not in LIVE_SETUP and state is not PaymentMethodState.FAILED:
        return SAVED
    advance(PAYMENT_METHOD_TRANSITIONS, state, PaymentMethodState.SAVED)
    same = connection.execute(_SAME, mine).mappings().first()
    if same is None:
        entry = connection.execute(_KEEP, {"id": payment_method_id}).mappings().one()
    else:
        entry = _merge(connection, mine, same)
    answer = Answer.of(201, view(entry))
    connection.execute(
        text("UPDATE kept_answers SET status = 201, body = :body WHERE key_digest = :key_digest"),
        {"key_digest": mine["key_digest"], "body": answer.body},
    )
    return SAVED


_BEGIN_PAID = text("""
INSERT INTO payment_methods (id, user_id, provider, state, token)
VALUES (:payment_method_id, :user_id, :provider, 'saving', :method) ON CONFLICT (id) DO NOTHING
""")

_PAID_WITH = text("""
UPDATE payments SET payment_method_id = (SELECT coalesce(m.same_as, m.id) FROM payment_methods m WHERE m.id = :method)
WHERE id = :payment_id
""")


def keep_paid(connection: Connection, command: KeepPaidMethod, setup: ProviderSetup) -> None:
    """The method of a payment becomes one of its buyer's, as one that was set up; the payment names it."""
    lock_account(connection, command.user_id)
    begun = {**command.model_dump(include={"payment_method_id", "user_id", "provider"}), "method": setup.method}
    connection.execute(_BEGIN_PAID, begun)
    note(connection, command.payment_method_id, setup)
    keep(connection, command.payment_method_id)
    connection.execute(_PAID_WITH, {"method": command.payment_method_id, "payment_id": command.payment_id})


def _merge(connection: Connection, mine: Any, same: Any) -> Any:
    renewed = {"id": same["id"], "reference": mine["reference"], "card": json.dumps(mine["card"])}
    entry = connection.execute(_RENEW, renewed).mappings().one()
    another = mine["reference"] != same["reference"]
    follow = {
        "id": mine["id"],
        "state": PaymentMethodState.REMOVING if another else PaymentMethodState.REMOVED,
        "reference": same["reference"],
        "same_as": same["id"],
    }
    connection.execute(_FOLLOW, follow)
    if another:
        outbox.publish(connection, REMOVED, mine["id"], {"payment_method_id": mine["id"]})
    return entry


_CLOSE = text("""
INSERT INTO payment_methods AS p (id, user_id, provider, state, token, key_digest, reason, decline_code, retryable)
VALUES (:payment_method_id, :user_id, :provider, 'failed', :method, :key_digest, :reason, :decline_code, :retryable)
ON CONFLICT (id) DO UPDATE SET state = 'failed', reason = excluded.reason, decline_code = excluded.decline_code,
    retryable = excluded.retryable, next_action = NULL, action_expires_at = NULL, card = NULL, card_fingerprint = NULL,
    updated_at = now()
WHERE p.state IN ('saving', 'requires_action')
""")
_REASON = text("SELECT reason FROM payment_methods WHERE id = :payment_method_id")
_FORGET = text("DELETE FROM kept_answers WHERE key_digest = :key_digest AND fingerprint = :fingerprint")


def close(connection: Connection, command: CloseSave) -> Told:
    """The end without a saved card; the answer is kept where it may be, else the key is free again."""
    begun = command.begin
    error = command.refusal.raised()
    values = begun.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    more = {
        "reason": error.slug,
        "decline_code": error.extra.get("decline_code"),
        "retryable": not error.kept,
    }
    if not isinstance(error, NotFound):  # of an account that is not there nothing can be kept
        connection.execute(_CLOSE, {**values, **more})
        if connection.execute(_REASON, values).scalar_one() != error.slug:
            # The API had given it up before: what its owner was told stands, and the key is free.
            told = refusal_answer(Unavailable(), begun)
            return Told(status=told.status, body=told.body)
    answer = refusal_answer(error, begun)
    if error.kept:
        answers.keep(connection, begun.key_digest, begun.fingerprint, answer)
    elif not isinstance(error, IdempotencyKeyReused):
        connection.execute(_FORGET, {"key_digest": begun.key_digest, "fingerprint": begun.fingerprint})
    return Told(status=answer.status, body=answer.body)


def refusal_answer(error: HoldfastError, begun: BeginSave) -> Answer:
    error.extra["payment_method_id"] = begun.payment_method_id
    return Answer.refusal(error, instance="/v1/me/payment-methods", request_id=begun.request_id)


def processing_answer(begun: BeginSave) -> Answer:
    """It has begun, and nobody knows yet how it ends."""
    return Answer.of(
        202, {"id": begun.payment_method_id, "provider": begun.provider, "status": PaymentMethodState.SAVING.shown}
    )


_ABANDON = text("""
INSERT INTO payment_methods (id, user_id, provider, state, token, key_digest, reason, retryable)
VALUES (:payment_method_id, :user_id, :provider, 'failed', :method, :key_digest, 'unavailable', true)
ON CONFLICT (id) DO NOTHING RETURNING id
""")


def abandon(connection: Connection, command: BeginSave) -> bool:
    """Nobody has picked it up: closes it before it can begin. False: it has begun, so it goes on."""
    values = command.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    return connection.execute(_ABANDON, values).first() is not None


# What its owner sees and does


def spent(connection: Connection, key_digest: str) -> int:
    """How often that key ended so that it may begin anew."""
    return int(
        connection.execute(
            text("SELECT count(*) FROM payment_methods WHERE key_digest = :key_digest AND retryable"),
            {"key_digest": key_digest},
        ).scalar_one()
    )


class Standing(NamedTuple):
    """One entry as its owner sees it."""

    state: PaymentMethodState
    view: dict[str, Any]
    reason: str | None
    decline_code: str | None


_OWN = text("SELECT * FROM payment_methods WHERE id = :id AND user_id = :user_id")


def read(connection: Connection, user_id: str, payment_method_id: str) -> Standing:
    """Where it is now; of a card that was there already, that entry. Raises NotFound, also for a removed one."""
    row = connection.execute(_OWN, {"id": payment_method_id, "user_id": user_id}).mappings().first()
    if row is not None and row["same_as"] is not None:
        row = connection.execute(_OWN, {"id": row["same_as"], "user_id": user_id}).mappings().first()
    if row is None or row["state"] in (PaymentMethodState.REMOVING, PaymentMethodState.REMOVED):
        raise NotFound("There is no such payment method")
    return Standing(PaymentMethodState(row["state"]), view(row), row["reason"], row["decline_code"])


_LIST = text("""
SELECT * FROM payment_methods
WHERE user_id = :user_id AND state = 'saved' AND (created_at, id) > (CAST(:at AS timestamptz), :id)
ORDER BY created_at, id LIMIT :limit
""")


def list_saved(
    connection: Connection, user_id: str, *, after: tuple[datetime, str], limit: int
) -> list[dict[str, Any]]:
    """Oldest first, from behind that moment and id (ids that come of a key are in no order)."""
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
    """Gone for its owner; the provider is told through the outbox. The newest other one becomes the default.

    Raises NotFound, and InvalidTransition while it is not saved yet.
    """
    lock_account(connection, user_id)
    row = _saved(connection, user_id, payment_method_id)
    connection.execute(_REMOVE, {"id": payment_method_id})
    if row["is_default"]:
        connection.execute(_NEXT_DEFAULT, {"user_id": user_id})
    outbox.publish(connection, REMOVED, payment_method_id, {"payment_method_id": payment_method_id})


def _saved(connection: Connection, user_id: str, payment_method_id: str) -> Any:
    row = connection.execute(_OWN, {"id": payment_method_id, "user_id": user_id}).mappings().first()
    if row is None or row["state"] not in (*LIVE_SETUP, PaymentMethodState.SAVED):
        raise NotFound("There is no such payment method")
    if row["state"] in LIVE_SETUP:
        raise InvalidTransition("It is still being saved", state=row["state"])
    return row


# At the provider


class Kept(NamedTuple):
    """As the provider knows it."""

    state: PaymentMethodState
    provider: str
    reference: str | None


def at_provider(connection: Connection, payment_method_id: str) -> Kept:
    row = _row(connection, payment_method_id)
    return Kept(PaymentMethodState(row["state"]), row["provider"], row["reference"])


class Usable(NamedTuple):
    """A saved method as the provider charges it."""

    provider: str
    reference: str
    customer: str


_USABLE = text("""
SELECT m.provider, m.reference, u.payment_customer FROM payment_methods m JOIN users u ON u.id = m.user_id
WHERE m.id = :id AND m.user_id = :user_id AND m.state = 'saved'
""")


def usable(connection: Connection, user_id: str, payment_method_id: str) -> Usable:
    """That person's own. Raises NotFound, as for another's and for one that is not saved or no longer."""
    row = connection.execute(_USABLE, {"id": payment_method_id, "user_id": user_id}).first()
    if row is None:
        raise NotFound("There is no such payment method")
    return Usable(*row)


def check_room(connection: Connection, user_id: str) -> None:
    """Raises Conflict when there are as many as may be."""
    saved = text("SELECT count(*) FROM payment_methods WHERE user_id = :user_id AND state = 'saved'")
    if connection.execute(saved, {"user_id": user_id}).scalar_one() >= MAX_METHODS:
        raise Conflict(f"An account keeps at most {MAX_METHODS} payment methods")


def in_use(connection: Connection, user_id: str, reference: str, *, besides: str) -> bool:
    """Whether another entry is that very card at the provider."""
    found = connection.execute(
        text("""
        SELECT 1 FROM payment_methods
        WHERE user_id = :user_id AND reference = :reference AND state = 'saved' AND id <> :id
        """),
        {"user_id": user_id, "reference": reference, "id": besides},
    )
    return found.first() is not None


def removed(connection: Connection, payment_method_id: str) -> None:
    """The provider has let go of it; what told the card goes as well."""
    connection.execute(
        text("""
        UPDATE payment_methods SET state = 'removed', card = NULL, card_fingerprint = NULL, updated_at = now()
        WHERE id = :id AND state = 'removing'
        """),
        {"id": payment_method_id},
    )


def _row(connection: Connection, payment_method_id: str) -> Any:
    found = connection.execute(text("SELECT * FROM payment_methods WHERE id = :id"), {"id": payment_method_id})
    return found.mappings().one()


def view(row: Any) -> dict[str, Any]:
    """The contract's shape: `{id, provider, status, …}` with what its status has."""
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


_OVERDUE = text("""
SELECT p.*, coalesce(k.fingerprint, '') AS fingerprint
FROM payment_methods p LEFT JOIN kept_answers k ON k.key_digest = p.key_digest
WHERE p.state IN ('saving', 'requires_action')
    AND coalesce(p.action_expires_at, p.updated_at) < now() - make_interval(secs => :margin)
ORDER BY p.id LIMIT 100
""")
NO_TIME = 1.0  # seconds


def overdue(connection: Connection, margin: float) -> list[BeginSave]:
    """Live ones whose deadline passed `margin` seconds ago, as they began: do they still have a process?"""
    return [
        BeginSave(
            payment_method_id=row["id"],
            user_id=row["user_id"],
            provider=row["provider"],
            method=row["token"],
            key_digest=row["key_digest"],
            fingerprint=row["fingerprint"],
            request_id="",
            payment_action_seconds=NO_TIME,
            payment_lookup_seconds=NO_TIME,
        )
        for row in connection.execute(_OVERDUE, {"margin": margin}).mappings()
    ]
