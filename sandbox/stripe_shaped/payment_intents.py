"""PaymentIntents: the endpoints, with the parameters that Stripe documents."""

import secrets

from sandbox.store import Row
from sandbox.stripe_shaped import charging, payment_methods
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import BadParameter, CardDeclined, StripeError
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.listing import search as search_all
from sandbox.stripe_shaped.money import check_amount, check_currency
from sandbox.stripe_shaped.shapes import render

CAPTURES = 50  # of one PaymentIntent; docs.stripe.com/payments/multicapture
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (*_CONFIRMABLE, "requires_capture", "processing")
_TYPES_REMOVED = "2026-09-30"  # the API version that removed `payment_method_types` from requests

# Parameters that are kept as they are given.
_KEPT = (
    "allowed_payment_method_types",
    "automatic_payment_methods",
    "capture_method",
    "confirmation_method",
    "description",
    "on_behalf_of",
    "payment_method_options",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor_suffix",
    "transfer_group",
)


def create(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_intents."""
    params = ask.params
    refuse_types(ask)
    currency = check_currency(params["currency"])
    _check_combination(params)
    if params.get("customer"):
        account.get("customer", params["customer"], "customer")
    intent = account.new(
        "payment_intent",
        amount=check_amount(params["amount"], currency),
        amount_capturable=0,
        amount_received=0,
        capture_method="automatic_async",
        currency=currency,
        customer=params.get("customer"),
        metadata={key: value for key, value in params.get("metadata", {}).items() if value != ""},
        status="requires_payment_method",
        _amount_refunded=0,
        _captures=0,
    )
    intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_hex(12)}"
    _keep(account, intent, ask)
    account.index(intent)
    account.save(intent)
    account.emit("payment_intent.created", intent)
    if params.get("confirm"):
        _confirm(account, intent, ask)
    return render(intent)


def refuse_types(ask: Ask) -> None:
    """Refuse `payment_method_types` where the caller's API version no longer has it."""
    if "payment_method_types" in ask.params and ask.api_version[:10] >= _TYPES_REMOVED:
        raise BadParameter(
            "payment_method_types is no longer supported; use allowed_payment_method_types or dynamic payment methods.",
            "payment_method_types_no_longer_supported",
            "payment_method_types",
        )


def _check_combination(params: Row) -> None:
    if not params.get("confirm"):
        for name in ("off_session", "return_url", "error_on_requires_action", "mandate_data"):
            if name in params:
                message = f"You can only set `{name}` when `confirm` is true."
                raise BadParameter(message, "parameter_unknown", name)
    if params.get("off_session") and params.get("setup_future_usage"):
        raise BadParameter("off_session can't be combined with setup_future_usage.", param="off_session")


def _keep(account: Account, intent: Row, ask: Ask) -> None:
    """Take over the parameters that only describe the intent, and its payment method."""
    params = ask.params
    for name in _KEPT:
        if name in params:
            intent[name] = None if params[name] == "" else params[name]
    if "payment_method_data" in params:
        intent["payment_method"] = payment_methods.from_data(account, params["payment_method_data"])["id"]
    elif params.get("payment_method"):
        method = payment_methods.usable(account, params["payment_method"], intent.get("customer"))
        intent["payment_method"] = method["id"]
    if intent.get("payment_method") and intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"


def confirm(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_intents/{id}/confirm."""
    refuse_types(ask)
    intent = account.get("payment_intent", ask.id, "intent")
    if intent["status"] not in _CONFIRMABLE:
        raise charging.unexpected_state(intent, "confirm")
    if ask.params.get("amount_to_confirm", intent["amount"]) != intent["amount"]:
        message = "The amount to confirm isn't the PaymentIntent's amount."
        raise StripeError(message, "payment_intent_amount_mismatch", "amount_to_confirm")
    _keep(account, intent, ask)
    account.save(intent)
    _confirm(account, intent, ask)
    return render(intent)


def _confirm(account: Account, intent: Row, ask: Ask) -> None:
    if not intent.get("payment_method"):
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the "
            "PaymentIntent with a payment method and then confirm it again.",
            "payment_intent_unexpected_state",
            payment_intent=render(intent),
        )
    charging.attempt(account, intent, ask)


def capture(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_intents/{id}/capture, in full, in part, or (multicapture) in several parts."""
    intent = account.get("payment_intent", ask.id, "intent")
    params = ask.params
    if intent["status"] != "requires_capture":
        raise charging.unexpected_state(intent, "capture")
    capturable: int = intent["amount_capturable"]
    amount: int = params.get("amount_to_capture", capturable)
    if amount > capturable:
        raise StripeError(
            f"The amount to capture is greater than the amount that can be captured ({capturable}).",
            "amount_too_large",
            "amount_to_capture",
        )
    final = params.get("final_capture", True)
    if not final:
        _check_multicapture(intent)
    if ask.bend and ask.bend.code:
        raise CardDeclined("The issuer refused the capture.", "card_declined", decline_code=ask.bend.code)
    if "metadata" in params:
        intent["metadata"] = payment_methods.merged(intent["metadata"], params["metadata"])
        account.index(intent)
    intent["_captures"] += 1
    charging.capture(account, intent, amount, final)
    return render(intent)


def _check_multicapture(intent: Row) -> None:
    options = intent.get("payment_method_options", {}).get("card", {})
    if options.get("request_multicapture") != "if_available":
        raise StripeError(
            "final_capture can only be false when multicapture is available: create the PaymentIntent with "
            "payment_method_options[card][request_multicapture]=if_available.",
            param="final_capture",
        )
    if intent["_captures"] + 1 >= CAPTURES:
        raise StripeError(f"A PaymentIntent can be captured {CAPTURES} times.", param="final_capture")


def cancel(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_intents/{id}/cancel."""
    intent = account.get("payment_intent", ask.id, "intent")
    if intent["status"] not in _CANCELABLE:
        raise charging.unexpected_state(intent, "cancel")
    charging.release(account, intent, ask.params.get("cancellation_reason"))
    return render(intent)


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_intents/{id}. Amount and currency can only change before it is authorised."""
    refuse_types(ask)
    intent = account.get("payment_intent", ask.id, "intent")
    params = ask.params
    always = {"metadata", "description", "receipt_email", "shipping", "transfer_group"}
    if intent["status"] not in _CONFIRMABLE and not set(params) <= always:
        raise charging.unexpected_state(intent, "update")
    if "currency" in params:
        intent["currency"] = check_currency(params["currency"])
    if "amount" in params:
        intent["amount"] = check_amount(params["amount"], intent["currency"])
    if params.get("customer"):
        intent["customer"] = account.get("customer", params["customer"], "customer")["id"]
    if "metadata" in params:
        intent["metadata"] = payment_methods.merged(intent["metadata"], params["metadata"])
    _keep(account, intent, ask)
    if intent["status"] == "requires_action":  # a changed payment has to be confirmed anew
        intent.update(status="requires_confirmation", next_action=None)
    account.index(intent)
    return render(account.save(intent))


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/payment_intents/{id}."""
    return render(account.get("payment_intent", ask.id, "intent"))


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/payment_intents, newest first, by customer and moment."""
    customer = ask.params.get("customer")
    rows = account.intents_of(customer) if customer else account.newest("payment_intent")
    return page((row for row in rows if customer in (None, row.get("customer"))), ask.params, "/v1/payment_intents")


def search(account: Account, ask: Ask) -> Row:
    """GET /v1/payment_intents/search."""
    return search_all(account, "payment_intent", ask.params)
