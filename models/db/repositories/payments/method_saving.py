"""The transactions of saving a card: begin, record the set-up, require action, save, close. Each is idempotent."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, text

from models import topics
from models.db.repositories.accounts.profiles import lock_account
from models.db.repositories.delivery import outbox, stored_responses
from models.db.repositories.payments.methods import read_row, view
from models.delivery.stored_responses import CommandResponse, StoredResponse
from models.errors import Conflict, HoldfastError, IdempotencyKeyReused, NotFound, Unavailable
from models.payments.methods import (
    LIVE_SETUP,
    MAX_METHODS,
    PAYMENT_METHOD_TRANSITIONS,
    BeginPaymentMethod,
    ClosePaymentMethod,
    PaymentMethodRef,
    PaymentMethodStarted,
    PaymentMethodState,
    ProviderSetup,
    RequireSetupAction,
    SaveCheckoutPaymentMethod,
    SetupActionRequired,
)
from models.states import advance

_STATE = text("""
SELECT
    (SELECT row_to_json(p) FROM payment_methods p WHERE p.id = :payment_method_id) AS mine,
    (SELECT k.fingerprint FROM kept_answers k WHERE k.key_digest = :key_digest) AS fingerprint,
    (SELECT count(*) FROM payment_methods p WHERE p.user_id = :user_id AND p.state = 'saved') AS saved
""")

_BEGIN = text("""
WITH response AS (INSERT INTO kept_answers (key_digest, fingerprint)
    SELECT :key_digest, :fingerprint WHERE CAST(:key_digest AS text) IS NOT NULL
    ON CONFLICT (key_digest) DO NOTHING)
INSERT INTO payment_methods (id, user_id, provider, state, token, key_digest)
VALUES (:payment_method_id, :user_id, :provider, 'saving', :method, :key_digest)
""")


def begin(connection: Connection, command: BeginPaymentMethod) -> PaymentMethodStarted:
    """Raises Conflict if the account has MAX_METHODS already, IdempotencyKeyReused, NotFound without an account."""
    lock_account(connection, command.user_id)
    values = command.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    state = connection.execute(_STATE, values).mappings().one()
    if state["mine"]:
        return _existing(connection, command, PaymentMethodState(state["mine"]["state"]))
    if state["fingerprint"] not in (None, command.fingerprint):
        raise IdempotencyKeyReused()
    if state["saved"] >= MAX_METHODS:
        raise Conflict(f"An account keeps at most {MAX_METHODS} payment methods")
    connection.execute(_BEGIN, {**values, "fingerprint": command.fingerprint})
    return PaymentMethodStarted()


def _existing(connection: Connection, command: BeginPaymentMethod, state: PaymentMethodState) -> PaymentMethodStarted:
    if state in LIVE_SETUP:
        return PaymentMethodStarted(repeated=True)
    if state is not PaymentMethodState.FAILED:
        return PaymentMethodStarted(repeated=True, ended=PaymentMethodState.SAVED, response=SAVED)
    stored = stored_responses.find(connection, command.key_digest, command.fingerprint) if command.key_digest else None
    lost = problem_response(Unavailable(), command)
    response = CommandResponse(status=stored.status) if stored else CommandResponse(status=lost.status, body=lost.body)
    return PaymentMethodStarted(repeated=True, ended=state, response=response)


_RECORD = text("""
UPDATE payment_methods SET setup = coalesce(:setup, setup), reference = coalesce(:reference, reference),
    card = coalesce(CAST(:card AS jsonb), card), card_fingerprint = coalesce(:fingerprint, card_fingerprint),
    next_action = coalesce(CAST(:next_action AS jsonb), next_action), updated_at = now()
WHERE id = :payment_method_id AND state IN ('saving', 'requires_action')
""")


def record(connection: Connection, payment_method_id: str, setup: ProviderSetup) -> None:
    """Stores the provider's set-up, so that no workflow payload contains it."""
    connection.execute(
        _RECORD,
        {
            "payment_method_id": payment_method_id,
            "setup": setup.reference,
            "reference": setup.method,
            "card": setup.card.model_dump_json() if setup.card else None,
            "fingerprint": setup.fingerprint,
            "next_action": json.dumps(setup.next_action) if setup.next_action else None,
        },
    )


_REQUIRE_ACTION = text("""
UPDATE payment_methods SET state = 'requires_action', action_expires_at = :expires_at, updated_at = now()
WHERE id = :payment_method_id AND state IN ('saving', 'requires_action')
RETURNING id, provider, state, next_action, action_expires_at, setup, key_digest
""")

# The events of `requires_action` itself and of `created` are not changes.
_CHANGED = text("""
SELECT EXISTS (SELECT 1 FROM webhook_events WHERE subject = :setup
    AND type NOT IN ('setup_intent.created', 'setup_intent.requires_action'))
""")


def require_action(connection: Connection, command: RequireSetupAction) -> SetupActionRequired:
    """The row's lock serialises this with the webhook's transaction: one of the two sees the other."""
    row = connection.execute(_REQUIRE_ACTION, command.model_dump()).mappings().one()
    answer = StoredResponse.of(202, view(row))
    connection.execute(
        text("UPDATE kept_answers SET status = 202, body = :body WHERE key_digest = :key_digest"),
        {"key_digest": row["key_digest"], "body": answer.body},
    )
    changed = connection.execute(_CHANGED, {"setup": row["setup"]}).scalar_one()
    return SetupActionRequired(response=CommandResponse(status=answer.status), changed=changed)


SAVED = CommandResponse(status=201)

_SAME = text("""
SELECT * FROM payment_methods
WHERE user_id = :user_id AND provider = :provider AND state = 'saved' AND card_fingerprint = :card_fingerprint
""")

_SAVE = text("""
UPDATE payment_methods p SET state = 'saved', next_action = NULL, action_expires_at = NULL, updated_at = now(),
    is_default = NOT EXISTS (SELECT 1 FROM payment_methods o WHERE o.user_id = p.user_id AND o.is_default)
WHERE id = :id RETURNING *
""")

# The saved row gets the newer card (it may expire later), and the new row gets the older one, to be detached.
_RENEW = text("""
UPDATE payment_methods SET reference = :reference, card = CAST(:card AS jsonb), updated_at = now()
WHERE id = :id RETURNING *
""")
_FOLLOW = text("""
UPDATE payment_methods SET state = :state, reference = :reference, same_as = :same_as, card_fingerprint = NULL,
    card = NULL, next_action = NULL, action_expires_at = NULL, updated_at = now()
WHERE id = :id
""")


def save(connection: Connection, payment_method_id: str) -> CommandResponse:
    """Saves the card, or merges it into the saved row of the same card. The account's first card is its default."""
    user_id = connection.execute(
        text("SELECT user_id FROM payment_methods WHERE id = :id"), {"id": payment_method_id}
    ).scalar_one()
    lock_account(connection, user_id)
    mine = read_row(connection, payment_method_id)
    state = PaymentMethodState(mine["state"])
    if state not in LIVE_SETUP and state is not PaymentMethodState.FAILED:
        return SAVED
    advance(PAYMENT_METHOD_TRANSITIONS, state, PaymentMethodState.SAVED)
    same = connection.execute(_SAME, mine).mappings().first()
    if same is None:
        entry = connection.execute(_SAVE, {"id": payment_method_id}).mappings().one()
    else:
        entry = _merge(connection, mine, same)
    answer = StoredResponse.of(201, view(entry))
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


def save_used(connection: Connection, command: SaveCheckoutPaymentMethod, setup: ProviderSetup) -> None:
    """Saves the method of a payment for its buyer; the payment refers to it."""
    lock_account(connection, command.user_id)
    started = {**command.model_dump(include={"payment_method_id", "user_id", "provider"}), "method": setup.method}
    connection.execute(_BEGIN_PAID, started)
    record(connection, command.payment_method_id, setup)
    save(connection, command.payment_method_id)
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
        event = PaymentMethodRef(payment_method_id=mine["id"])
        outbox.publish(connection, topics.PAYMENT_METHOD_REMOVED, mine["id"], event)
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


def close(connection: Connection, command: ClosePaymentMethod) -> CommandResponse:
    """Ends it without a saved card. Stores the response if it may be stored, else the key can be used again."""
    started = command.begin
    error = command.refusal.raised()
    values = started.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    more = {
        "reason": error.slug,
        "decline_code": error.extra.get("decline_code"),
        "retryable": not error.stored,
    }
    if not isinstance(error, NotFound):  # without an account there is no row to reference
        connection.execute(_CLOSE, {**values, **more})
        if connection.execute(_REASON, values).scalar_one() != error.slug:
            # The API expired it before: its response to the owner stays valid, and the key can be used again.
            response = problem_response(Unavailable(), started)
            return CommandResponse(status=response.status, body=response.body)
    answer = problem_response(error, started)
    if error.stored:
        stored_responses.store(connection, started.key_digest, started.fingerprint, answer)
    elif not isinstance(error, IdempotencyKeyReused):
        connection.execute(_FORGET, {"key_digest": started.key_digest, "fingerprint": started.fingerprint})
    return CommandResponse(status=answer.status, body=answer.body)


def problem_response(error: HoldfastError, started: BeginPaymentMethod) -> StoredResponse:
    error.extra["payment_method_id"] = started.payment_method_id
    return StoredResponse.refusal(error, instance="/v1/me/payment-methods", request_id=started.request_id)


def processing_response(started: BeginPaymentMethod) -> StoredResponse:
    """202: it has begun, and its outcome is not known yet."""
    return StoredResponse.of(
        202, {"id": started.payment_method_id, "provider": started.provider, "status": PaymentMethodState.SAVING.shown}
    )


_EXPIRE_UNANSWERED = text("""
INSERT INTO payment_methods (id, user_id, provider, state, token, key_digest, reason, retryable)
VALUES (:payment_method_id, :user_id, :provider, 'failed', :method, :key_digest, 'unavailable', true)
ON CONFLICT (id) DO NOTHING RETURNING id
""")


def expire_unanswered(connection: Connection, command: BeginPaymentMethod) -> bool:
    """Closes a card to save that no worker has answered, before it begins. False: it has begun and continues."""
    values = command.model_dump(include={"payment_method_id", "user_id", "provider", "method", "key_digest"})
    return connection.execute(_EXPIRE_UNANSWERED, values).first() is not None


def restarts(connection: Connection, key_digest: str) -> int:
    """How many attempts with that key ended retryably."""
    return int(
        connection.execute(
            text("SELECT count(*) FROM payment_methods WHERE key_digest = :key_digest AND retryable"),
            {"key_digest": key_digest},
        ).scalar_one()
    )


_BEGUN = text("""
SELECT p.*, coalesce(k.fingerprint, '') AS fingerprint
FROM payment_methods p LEFT JOIN kept_answers k ON k.key_digest = p.key_digest
WHERE p.id = :payment_method_id AND p.state IN ('saving', 'requires_action')
""")
NO_TIME = 1.0  # seconds


def read_begun(connection: Connection, payment_method_id: str) -> BeginPaymentMethod | None:
    """The workflow's input for a restart; None if the card's saving has ended."""
    row = connection.execute(_BEGUN, {"payment_method_id": payment_method_id}).mappings().first()
    if row is None:
        return None
    return BeginPaymentMethod(
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
