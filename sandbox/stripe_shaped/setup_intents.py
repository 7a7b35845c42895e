"""SetupIntents: a card is saved without being charged."""

import secrets
from typing import NoReturn

from sandbox.store import Row
from sandbox.stripe_shaped import cards, charging, payment_methods
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import CardDeclined, StripeError
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.payment_intents import refuse_types
from sandbox.stripe_shaped.shapes import render

_OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
_KEPT = ("automatic_payment_methods", "description", "on_behalf_of", "payment_method_options", "usage")


def create(account: Account, ask: Ask) -> Row:
    """POST /v1/setup_intents."""
    refuse_types(ask)
    params = ask.params
    if params.get("customer"):
        account.get("customer", params["customer"], "customer")
    intent = account.new(
        "setup_intent",
        customer=params.get("customer"),
        metadata=payment_methods.merged({}, params.get("metadata", {})),
        status="requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_hex(12)}"
    _keep(account, intent, ask)
    account.save(intent)
    account.emit("setup_intent.created", intent)
    if params.get("confirm"):
        _confirm(account, intent, ask)
    return render(intent)


def _keep(account: Account, intent: Row, ask: Ask) -> None:
    params = ask.params
    for name in _KEPT:
        if name in params:
            intent[name] = params[name]
    if "payment_method_data" in params:
        intent["payment_method"] = payment_methods.from_data(account, params["payment_method_data"])["id"]
    elif params.get("payment_method"):
        intent["payment_method"] = payment_methods.resolve(account, params["payment_method"])["id"]
    if intent.get("payment_method") and intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def confirm(account: Account, ask: Ask) -> Row:
    """POST /v1/setup_intents/{id}/confirm."""
    intent = _open_intent(account, ask, "confirm")
    _keep(account, intent, ask)
    account.save(intent)
    _confirm(account, intent, ask)
    return render(intent)


def _open_intent(account: Account, ask: Ask, doing: str) -> Row:
    intent = account.get("setup_intent", ask.id, "intent")
    if intent["status"] not in _OPEN:
        raise charging.unexpected_state(intent, doing)
    return intent


def _confirm(account: Account, intent: Row, ask: Ask) -> None:
    if not intent.get("payment_method"):
        message = "You cannot confirm this SetupIntent because it's missing a payment method."
        raise StripeError(message, "setup_intent_unexpected_state", setup_intent=render(intent))
    method = payment_methods.usable(account, intent["payment_method"], intent.get("customer"))
    card = cards.named(method["_card"])
    if ask.bend and ask.bend.code:
        _fail(account, intent, method, ask.bend.code)
    if card.decline and not card.attachable:
        _fail(account, intent, method, card.decline)
    if card.authenticate:
        charging.require_action(account, intent, ask.params.get("return_url"), ask.base_url)
    else:
        _succeed(account, intent, method)


def _succeed(account: Account, intent: Row, method: Row) -> None:
    if intent.get("customer"):
        payment_methods.attach_to(account, method, intent["customer"])
    intent.update(status="succeeded", next_action=None, last_setup_error=None)
    account.save(intent)
    account.emit("setup_intent.succeeded", intent)


def _fail(account: Account, intent: Row, method: Row, decline_code: str) -> NoReturn:
    """Refuse the card. Always raises CardDeclined."""
    code, message = cards.error_of(decline_code)
    error = {
        "code": code,
        "decline_code": decline_code,
        "message": message,
        "payment_method": render(method),
        "type": "card_error",
    }
    _reject(account, intent, error)
    raise CardDeclined(message, code, decline_code=decline_code, setup_intent=render(intent))


def _reject(account: Account, intent: Row, error: Row) -> None:
    intent.update(status="requires_payment_method", payment_method=None, next_action=None, last_setup_error=error)
    account.save(intent)
    account.emit("setup_intent.setup_failed", intent)


def authenticate(account: Account, intent: Row, succeeds: bool) -> Row:
    """Acts as the cardholder at the 3-D Secure page. Raises StripeError without an open challenge."""
    if intent["status"] != "requires_action":
        raise charging.unexpected_state(intent, "authenticate")
    method = account.get("payment_method", intent["payment_method"])
    if succeeds:
        _succeed(account, intent, method)
    else:
        message = "The latest attempt to set up the payment method has failed because authentication failed."
        error = {
            "code": "setup_intent_authentication_failure",
            "message": message,
            "payment_method": render(method),
            "type": "invalid_request_error",
        }
        _reject(account, intent, error)
    return intent


def cancel(account: Account, ask: Ask) -> Row:
    """POST /v1/setup_intents/{id}/cancel."""
    intent = _open_intent(account, ask, "cancel")
    reason = ask.params.get("cancellation_reason")
    intent.update(status="canceled", cancellation_reason=reason, next_action=None)
    account.save(intent)
    account.emit("setup_intent.canceled", intent)
    return render(intent)


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/setup_intents/{id}."""
    refuse_types(ask)
    intent = account.get("setup_intent", ask.id, "intent")
    params = ask.params
    if not set(params) <= {"metadata", "description"}:
        _open_intent(account, ask, "update")
    if params.get("customer"):
        intent["customer"] = account.get("customer", params["customer"], "customer")["id"]
    if "metadata" in params:
        intent["metadata"] = payment_methods.merged(intent["metadata"], params["metadata"])
    _keep(account, intent, ask)
    return render(account.save(intent))


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/setup_intents/{id}."""
    return render(account.get("setup_intent", ask.id, "intent"))


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/setup_intents."""
    wanted = {name: ask.params[name] for name in ("customer", "payment_method") if name in ask.params}
    found = (
        row for row in account.newest("setup_intent") if all(row.get(name) == value for name, value in wanted.items())
    )
    return page(found, ask.params, "/v1/setup_intents")
