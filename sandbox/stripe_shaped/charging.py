"""Charges, declines, challenges, captures and releases of intents."""

from typing import NoReturn

from sandbox.store import Row
from sandbox.stripe_shaped import cards, disputes, payment_methods
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import CardDeclined, StripeError
from sandbox.stripe_shaped.money import processing_fee
from sandbox.stripe_shaped.shapes import render

AUTHORISATION_HOLDS = 7 * 86_400  # seconds until an uncaptured payment expires


def attempt(account: Account, intent: Row, ask: Ask) -> None:
    """Confirms an intent that has a payment method: charges it, declines it, or asks for 3-D Secure.

    Raises CardDeclined; what the decline changed is kept.
    """
    params = ask.params
    method = payment_methods.usable(account, intent["payment_method"], intent.get("customer"))
    intent["payment_method"] = method["id"]
    intent["_off_session"] = params.get("off_session", False)
    scripted = ask.bend.code if ask.bend else None
    if scripted:
        decline(account, intent, method, "generic_decline" if scripted == "card_declined" else scripted)
    if _needs_authentication(intent, method):
        if intent["_off_session"] or params.get("error_on_requires_action"):
            decline(account, intent, method, "authentication_required")
        require_action(account, intent, params.get("return_url"), ask.base_url)
    else:
        charge(account, intent, method)


def _needs_authentication(intent: Row, method: Row) -> bool:
    asked = intent.get("payment_method_options", {}).get("card", {}).get("request_three_d_secure")
    return cards.named(method["_card"]).authenticate or asked == "challenge"


def require_action(account: Account, intent: Row, return_url: str | None, base_url: str) -> None:
    """Asks for a challenge: by redirect when the shop gave a return URL, else by Stripe's SDK."""
    intent["status"] = "requires_action"
    intent["last_payment_error"] = None
    intent["_return_url"] = return_url
    page = f"{base_url}/3ds/{intent['id']}"
    if return_url:
        redirect = {"return_url": return_url, "url": page}
        intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": redirect}
    else:
        sdk = {"type": "three_d_secure_redirect", "stripe_js": page}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
    account.save(intent)
    account.emit(f"{intent['object']}.requires_action", intent)


def charge(account: Account, intent: Row, method: Row) -> None:
    """Authorise the intent's amount, and capture it unless capture is manual. Raises CardDeclined."""
    card = cards.named(method["_card"])
    if card.decline:
        decline(account, intent, method, card.decline)
    if intent.get("setup_future_usage") and intent.get("customer") and not method.get("customer"):
        payment_methods.attach_to(account, method, intent["customer"])
    method["_spent"] = True
    account.save(method)
    taken = _new_charge(account, intent, method, None)
    options = intent.get("payment_method_options", {}).get("card", {})
    manual = "manual" in (intent["capture_method"], options.get("capture_method"))
    intent.update(latest_charge=taken["id"], next_action=None, last_payment_error=None)
    if manual:
        intent.update(status="requires_capture", amount_capturable=intent["amount"])
    else:
        _settle(account, intent, taken, intent["amount"])
        intent["status"] = "succeeded"
    account.save(taken)
    account.save(intent)
    account.emit("charge.succeeded", taken)
    state = "amount_capturable_updated" if manual else "succeeded"
    account.emit(f"payment_intent.{state}", intent)
    if card.dispute and not manual:
        disputes.open_dispute(account, taken)


def _new_charge(account: Account, intent: Row, method: Row, decline_code: str | None) -> Row:
    multicapture = intent.get("payment_method_options", {}).get("card", {}).get("request_multicapture")
    code, message = cards.error_of(decline_code) if decline_code else (None, None)
    facts = payment_methods.evidence(
        method, decline_code, multicapture == "if_available", account.now + AUTHORISATION_HOLDS
    )
    return account.new(
        "charge",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=method["billing_details"],
        captured=False,
        currency=intent["currency"],
        customer=intent.get("customer"),
        description=intent.get("description"),
        failure_code=code,
        failure_message=message,
        metadata=dict(intent["metadata"]),
        paid=decline_code is None,
        payment_intent=intent["id"],
        payment_method=method["id"],
        status="failed" if decline_code else "succeeded",
        _card=method["_card"],
        **facts,
    )


def decline(account: Account, intent: Row, method: Row, decline_code: str) -> NoReturn:
    """Refuse the charge: the intent wants another payment method. Always raises CardDeclined."""
    code, message = cards.error_of(decline_code)
    failed = account.save(_new_charge(account, intent, method, decline_code))
    error: Row = {
        "advice_code": "try_again_later",
        "charge": failed["id"],
        "code": code,
        "decline_code": decline_code,
        "message": message,
        "payment_method": render(method),
        "type": "card_error",
    }
    intent.update(
        status="requires_payment_method",
        latest_charge=failed["id"],
        last_payment_error=error,
        next_action=None,
        payment_method=None,
    )
    account.save(intent)
    account.emit("charge.failed", failed)
    account.emit("payment_intent.payment_failed", intent)
    more = {key: value for key, value in error.items() if key not in ("code", "message", "type")}
    raise CardDeclined(message, code, payment_intent=render(intent), **more)


def authenticate(account: Account, intent: Row, succeeds: bool) -> Row:
    """Acts as the cardholder at the 3-D Secure page. Raises StripeError without an open challenge."""
    if intent["status"] != "requires_action":
        raise unexpected_state(intent, "authenticate")
    method = account.get("payment_method", intent["payment_method"])
    if succeeds:
        try:
            charge(account, intent, method)
        except CardDeclined:
            return intent  # authenticated and then declined: the intent carries the error
        return intent
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    error = {
        "code": "payment_intent_authentication_failure",
        "message": message,
        "payment_method": render(method),
        "type": "invalid_request_error",
    }
    intent.update(status="requires_payment_method", last_payment_error=error, next_action=None, payment_method=None)
    account.save(intent)
    account.emit("payment_intent.payment_failed", intent)
    return intent


def capture(account: Account, intent: Row, amount: int, final: bool) -> None:
    """Capture part or all of an authorisation; the final capture releases what is left."""
    taken = account.get("charge", intent["latest_charge"])
    _settle(account, intent, taken, amount)
    left = intent["amount_capturable"] - amount
    done = final or left == 0
    intent["amount_capturable"] = 0 if done else left
    if done:
        intent["status"] = "succeeded"
        taken["amount_refunded"] += left  # Stripe counts what it releases as refunded
    account.save(taken)
    account.save(intent)
    account.emit("charge.captured", taken)
    account.emit(f"payment_intent.{'succeeded' if done else 'amount_capturable_updated'}", intent)
    if done and cards.named(taken["_card"]).dispute:
        disputes.open_dispute(account, taken)


def _settle(account: Account, intent: Row, taken: Row, amount: int) -> None:
    """Book a captured amount on the charge, the intent and the balance."""
    entry = account.book("charge", taken, amount, processing_fee(amount))
    taken.update(captured=True, balance_transaction=entry)
    taken["amount_captured"] += amount
    intent["amount_received"] += amount


def release(account: Account, intent: Row, reason: str | None) -> None:
    """Cancels: nothing more will be charged, and the authorisation is released to the card."""
    if intent["status"] == "requires_capture":
        taken = account.get("charge", intent["latest_charge"])
        taken["amount_refunded"] += intent["amount_capturable"]
        taken["refunded"] = taken["amount_refunded"] == taken["amount"]
        account.save(taken)
        if taken["refunded"]:
            account.emit("charge.refunded", taken)
    intent.update(
        status="canceled",
        amount_capturable=0,
        canceled_at=account.now,
        cancellation_reason=reason,
        next_action=None,
    )
    account.save(intent)
    account.emit("payment_intent.canceled", intent)


def expire_authorisations(account: Account) -> None:
    """Cancel what has been authorised for a week without being captured."""
    for intent in account.rows("payment_intent"):
        if intent["status"] == "requires_capture":
            taken = account.get("charge", intent["latest_charge"])
            if taken["created"] + AUTHORISATION_HOLDS <= account.now:
                release(account, intent, "expired")


def unexpected_state(intent: Row, doing: str) -> StripeError:
    """The error for an action that the intent's status doesn't allow."""
    name = "PaymentIntent" if intent["object"] == "payment_intent" else "SetupIntent"
    return StripeError(
        f"You cannot {doing} this {name} because it has a status of {intent['status']}.",
        f"{intent['object']}_unexpected_state",
        None,
        **{intent["object"]: render(intent)},
    )
