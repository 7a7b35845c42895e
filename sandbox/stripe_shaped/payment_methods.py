"""PaymentMethods: made from Stripe's test names, attached to customers, and used under Stripe's rules."""

from sandbox.store import Row
from sandbox.stripe_shaped import cards
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import BadParameter, CardDeclined, Missing, StripeError
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.shapes import billing, card_details, outcome, render


def create(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_methods, from a test number or a `tok_…`."""
    return render(from_data(account, ask.params))


def from_data(account: Account, data: Row) -> Row:
    """Make and keep a payment method from `payment_method_data`. Raises BadParameter."""
    if data.get("type") != "card":
        raise BadParameter("This account accepts cards only.", param="type")
    card = data.get("card") or {}
    name, _ = cards.by_details(card.get("number"), card.get("token"))
    return _make(account, name, data, card.get("exp_month", 12), card.get("exp_year", 2034))


def _make(account: Account, name: str, data: Row, exp_month: int = 12, exp_year: int = 2034) -> Row:
    card = cards.named(name)
    method = account.new(
        "payment_method",
        type="card",
        billing_details=billing(data.get("billing_details")),
        card=card_details(card.brand, card.number, exp_month, exp_year),
        metadata=data.get("metadata") or {},
        _card=name,
    )
    return account.save(method)


def resolve(account: Account, name: str, param: str = "payment_method") -> Row:
    """The kept payment method `pm_…`, or a fresh one for a test name `pm_card_…`. Raises Missing."""
    if cards.by_name(name) is not None:
        return _make(account, name.removeprefix("pm_card_"), {})
    method = account.find("payment_method", name)
    if method is None:
        raise Missing("PaymentMethod", name, param)
    return method


def usable(account: Account, name: str, customer: str | None) -> Row:
    """Resolve a payment method for a payment by this customer. Raises StripeError when it isn't theirs."""
    method = resolve(account, name)
    owner = method.get("customer")
    if owner and customer is None:
        raise StripeError(
            "The payment method you provided is attached to a customer so for security purposes you must "
            "provide the customer in the request.",
            param="payment_method",
        )
    if owner and owner != customer:
        raise StripeError("The customer doesn't own the payment method that was provided.", param="payment_method")
    if method.get("_spent") and not owner:
        raise StripeError(
            "The provided PaymentMethod was previously used without Customer attachment or was detached from "
            "a Customer. It may not be used again. Attach it to a Customer first to use it multiple times.",
            param="payment_method",
        )
    return method


def attach(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_methods/{id}/attach. Cards that decline every charge are declined here too."""
    customer = account.get("customer", ask.params["customer"], "customer")
    return render(attach_to(account, resolve(account, ask.id), customer["id"]))


def attach_to(account: Account, method: Row, customer: str) -> Row:
    """Make a payment method the customer's. Raises CardDeclined, StripeError."""
    if method.get("customer") not in (None, customer):
        message = "The payment method you provided has already been attached to a customer."
        raise StripeError(message, param="payment_method")
    if method.get("_spent") and not method.get("customer"):
        raise StripeError(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from "
            "a Customer, and may not be used again."
        )
    card = cards.named(method["_card"])
    if card.decline and not card.attachable:
        code, message = cards.error_of(card.decline)
        raise CardDeclined(message, code, decline_code=card.decline, advice_code="try_again_later")
    method["customer"] = customer
    account.save(method)
    account.emit("payment_method.attached", method)
    return method


def detach(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_methods/{id}/detach: it can never be used again."""
    method = account.get("payment_method", ask.id)
    if not method.get("customer"):
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    previous = method["customer"]
    method["customer"] = None
    method["_spent"] = True
    customer = account.find("customer", previous)
    settings = (customer or {}).get("invoice_settings") or {}
    if customer is not None and settings.get("default_payment_method") == method["id"]:
        customer["invoice_settings"] = {**settings, "default_payment_method": None}
        account.save(customer)
    account.save(method)
    account.emit("payment_method.detached", method, customer=previous)
    return render(method)


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/payment_methods/{id}."""
    return render(account.get("payment_method", ask.id))


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/payment_methods/{id}."""
    method = account.get("payment_method", ask.id)
    params = ask.params
    if "billing_details" in params:
        method["billing_details"] = billing({**method["billing_details"], **params["billing_details"]})
    if "allow_redisplay" in params:
        method["allow_redisplay"] = params["allow_redisplay"]
    for name in ("exp_month", "exp_year"):
        if name in params.get("card", {}):
            method["card"] = {**method["card"], name: params["card"][name]}
    if "metadata" in params:
        method["metadata"] = merged(method["metadata"], params["metadata"])
    return render(account.save(method))


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/payment_methods?customer=…"""
    return _list_of(account, ask, ask.params.get("customer"))


def list_of_customer(account: Account, ask: Ask) -> Row:
    """GET /v1/customers/{id}/payment_methods."""
    return _list_of(account, ask, account.get("customer", ask.id)["id"])


def retrieve_of_customer(account: Account, ask: Ask) -> Row:
    """GET /v1/customers/{id}/payment_methods/{id}."""
    method = account.get("payment_method", ask.ids[1])
    if method.get("customer") != ask.id:
        raise Missing("payment_method", ask.ids[1])
    return render(method)


def _list_of(account: Account, ask: Ask, customer: str | None) -> Row:
    kind = ask.params.get("type", "card")
    found = (
        method
        for method in account.newest("payment_method")
        if customer and method.get("customer") == customer and method["type"] == kind
    )
    return page(found, ask.params, "/v1/payment_methods")


def merged(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Metadata after an update: an empty value unsets its key, an empty object all of them."""
    if not new:
        return {}
    return {key: value for key, value in {**old, **new}.items() if value != ""}


def evidence(method: Row, decline_code: str | None, request_multicapture: bool, capture_before: int) -> Row:
    """What a charge tells of the card that paid: `payment_method_details` and `outcome`."""
    card = method["card"]
    shown = {name: card[name] for name in ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint")}
    details = {
        **shown,
        "authorization_code": None if decline_code else "123456",
        "capture_before": capture_before,
        "extended_authorization": {"status": "disabled"},
        "funding": card["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "multicapture": {"status": "available" if request_multicapture else "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "overcapture": {"maximum_amount_capturable": 0, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    return {"payment_method_details": {"card": details, "type": "card"}, "outcome": outcome(decline_code)}
