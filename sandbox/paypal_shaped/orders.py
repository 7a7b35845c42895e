"""Orders v2 with intent AUTHORIZE: created, approved by the payer, authorised once.

Source: developer.paypal.com/docs/api/orders/v2. The shop can't cancel an order; an unapproved one expires.
"""

from typing import Any
from urllib.parse import quote

from sandbox.paypal_shaped import authorisations
from sandbox.paypal_shaped.account import Account, Ask, shown
from sandbox.paypal_shaped.errors import BadRequest, Missing, PayPalError
from sandbox.paypal_shaped.money import read_amount, write_amount
from sandbox.store import Row

LIVES = 3 * 3600  # seconds, from its creation and again from its approval
_CREATE = {"intent", "purchase_units", "payment_source"}
_UNIT = {"reference_id", "custom_id", "invoice_id", "amount", "description"}
_LONGEST = {"reference_id": 256, "custom_id": 255, "invoice_id": 127, "description": 127}
_WAITING = ("CREATED", "PAYER_ACTION_REQUIRED")


def create(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/checkout/orders."""
    body = ask.body
    only(body, _CREATE)
    if body.get("intent") != "AUTHORIZE":
        raise BadRequest("INVALID_PARAMETER_VALUE", "This sandbox knows only intent AUTHORIZE.", "/intent")
    units = body.get("purchase_units")
    if not isinstance(units, list) or len(units) != 1 or not isinstance(units[0], dict):
        raise BadRequest("MISSING_REQUIRED_PARAMETER", "Exactly one purchase unit.", "/purchase_units")
    unit = units[0]
    only(unit, _UNIT)
    for name, longest in _LONGEST.items():
        if not isinstance(unit.get(name, ""), str) or len(unit.get(name, "")) > longest:
            raise BadRequest("INVALID_STRING_LENGTH", field=f"/purchase_units/0/{name}")
    amount, currency = read_amount(unit.get("amount"), "/purchase_units/0/amount")
    context = _experience(body.get("payment_source"))
    if context is not None and ask.request_id is None:
        raise BadRequest("PAYPAL_REQUEST_ID_REQUIRED", "A PayPal-Request-Id is required with a payment source.")
    order = account.new(
        "order",
        status="CREATED" if context is None else "PAYER_ACTION_REQUIRED",
        intent="AUTHORIZE",
        _unit={"reference_id": "default", **unit, "amount": write_amount(amount, currency)},
        _amount=amount,
        _currency=currency,
        _return_url=(context or {}).get("return_url"),
        _cancel_url=(context or {}).get("cancel_url"),
        _page=f"{ask.base_url}/checkoutnow",
    )
    return 201, render(account, account.save(order))


def _experience(source: Any) -> Row | None:
    if source is None:
        return None
    if not isinstance(source, dict) or set(source) != {"paypal"} or not isinstance(source["paypal"], dict):
        raise BadRequest("INVALID_PARAMETER_VALUE", "This sandbox pays with `paypal` only.", "/payment_source")
    context = source["paypal"].get("experience_context", {})
    for name in ("return_url", "cancel_url"):
        if name in context and "://" not in str(context[name]):
            raise BadRequest("INVALID_PARAMETER_SYNTAX", field=f"/payment_source/paypal/experience_context/{name}")
    return dict(context)


def only(body: Row, names: set[str]) -> None:
    """Raises BadRequest for an unknown field; the original would ignore it."""
    unknown = sorted(set(body) - names)
    if unknown:
        raise BadRequest("INVALID_PARAMETER_SYNTAX", "There is no such parameter.", f"/{unknown[0]}")


def alive(account: Account, name: str) -> Row:
    """The order, unless it has expired. Raises Missing."""
    order = account.get("order", name)
    if order["status"] not in ("COMPLETED", "VOIDED") and account.now > order["_at"] + LIVES:
        raise Missing()
    return order


def retrieve(account: Account, ask: Ask) -> tuple[int, Row]:
    """GET /v2/checkout/orders/{id}."""
    return 200, render(account, alive(account, ask.id))


def authorise(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/checkout/orders/{id}/authorize: authorises the money, once."""
    only(ask.body, set())
    order = alive(account, ask.id)
    if order["status"] == "COMPLETED":
        raise PayPalError("ORDER_ALREADY_AUTHORIZED", "Order already authorized.")
    if order["status"] != "APPROVED":
        raise PayPalError("ORDER_NOT_APPROVED", "Payer has not yet approved the Order for payment.")
    if ask.bend is not None and ask.bend.code:
        order["status"] = "PAYER_ACTION_REQUIRED"  # the payer could choose another instrument
        account.save(order)
        raise PayPalError(
            "INSTRUMENT_DECLINED" if ask.bend.code == "card_declined" else ask.bend.code.upper(),
            "The instrument presented was either declined by the processor or bank, or it can't be used.",
        )
    order["status"] = "COMPLETED"
    account.save(order)
    authorisations.open_for(account, order, order["_amount"])
    return 201, render(account, order)


def approve(account: Account, name: str, result: str) -> Row:
    """Acts as the payer at PayPal's page: `success`, or anything else to go back without paying.

    The original leaves an abandoned order as it is until it expires; here it is VOIDED, and the shop gets a webhook.
    """
    order = alive(account, name)
    if order["status"] not in _WAITING:
        raise PayPalError("ORDER_NOT_WAITING", f"The order is {order['status']}.")
    order["status"] = "APPROVED" if result == "success" else "VOIDED"
    order["_at"] = account.now
    if result == "success":
        order["payer"] = {"payer_id": "PAYER0SANDBOX", "email_address": "payer@example.com"}
    account.save(order)
    account.emit(f"CHECKOUT.ORDER.{order['status']}", "checkout-order", render(account, order), order["id"])
    return order


def render(account: Account, order: Row) -> Row:
    """The order with all objects that belong to it."""
    payments = {
        f"{kind}s": [shown(row) for row in account.of(kind, "_order", order["id"])]
        for kind in ("authorization", "capture", "refund")
    }
    unit = {**order["_unit"], "payments": {kind: rows for kind, rows in payments.items() if rows}}
    links = [{"href": f"/v2/checkout/orders/{order['id']}", "rel": "self", "method": "GET"}]
    if order["status"] in _WAITING:
        page = f"{order['_page']}?token={quote(order['id'])}"
        rel = "approve" if order["status"] == "CREATED" else "payer-action"
        links.append({"href": page, "rel": rel, "method": "GET"})
    return {**shown(order), "purchase_units": [unit], "links": links}
