"""PayPal's webhooks, verified by a call to PayPal, and its list of movements.

Source: developer.paypal.com/api/rest/webhooks/rest (Verify webhook signature), /docs/api/transaction-search/v1 and its
transaction event codes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.gateways.paypal.client import Json, PayPalClient, PayPalRefused
from activities.gateways.paypal.shapes import DECIMALS, read_amount, refund_of, up
from models.errors import BadRequest, BadSignature, OutcomeUnknown, ProviderUnavailable
from models.payments.provider import (
    ForeignMovement,
    Movement,
    MovementKind,
    ProviderDispute,
    ProviderDisputeStatus,
    ProviderEvent,
)

# The events that the shop's webhook is subscribed to at PayPal: those that a workflow waits for.
EVENTS = frozenset(
    {
        "CHECKOUT.ORDER.APPROVED",
        "CHECKOUT.ORDER.VOIDED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.AUTHORIZATION.VOIDED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.DECLINED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.REFUND.FAILED",
        "CUSTOMER.DISPUTE.CREATED",
        "CUSTOMER.DISPUTE.UPDATED",
        "CUSTOMER.DISPUTE.RESOLVED",
    }
)
VERIFY = "/v1/notifications/verify-webhook-signature"
# PayPal delivers for three days; an older webhook is a replay.
STALE = timedelta(days=3, hours=1)
AHEAD = timedelta(minutes=5)
WINDOW = timedelta(days=31)
PAGE = 500
DENIED = "D"

_HEADERS = ("auth-algo", "cert-url", "transmission-id", "transmission-sig", "transmission-time")
_KINDS = {
    "T1300": MovementKind.AUTHORISATION,
    "T1301": MovementKind.AUTHORISATION,
    "T0006": MovementKind.CAPTURE,
    "T1107": MovementKind.REFUND,
    "T1106": MovementKind.DISPUTE,
    "T1201": MovementKind.DISPUTE,
    "T1202": MovementKind.DISPUTE_REVERSAL,
}
_OUTCOMES = {
    "RESOLVED_SELLER_FAVOUR": ProviderDisputeStatus.WON,
    "CANCELED_BY_BUYER": ProviderDisputeStatus.WON,
    "RESOLVED_BUYER_FAVOUR": ProviderDisputeStatus.LOST,
    "RESOLVED_WITH_PAYOUT": ProviderDisputeStatus.WON,  # PayPal itself pays the buyer
    "ACCEPTED": ProviderDisputeStatus.LOST,
}


def read(client: PayPalClient, body: bytes, headers: Mapping[str, str], webhook_id: str) -> ProviderEvent:
    """Raises BadSignature, BadRequest (no event) or ProviderUnavailable (not verified: PayPal delivers it again)."""
    fields = {name.replace("-", "_"): headers.get(f"paypal-{name}", "") for name in _HEADERS}
    if not all(fields.values()) or _stale(fields["transmission_time"]):
        raise BadSignature()
    try:
        event = json.loads(body)
        body.decode()
    except ValueError as error:
        raise BadRequest("The body is not JSON") from error
    if not isinstance(event, dict):
        raise BadRequest("The body is not an event")
    # The event is sent exactly as received: serialised again, it would have another checksum.
    request = json.dumps({**fields, "webhook_id": webhook_id})[:-1].encode() + b', "webhook_event": ' + body + b"}"
    try:
        answer = client.post_raw(VERIFY, request)
    except PayPalRefused as error:
        raise BadSignature() from error
    if answer.get("verification_status") != "SUCCESS":
        raise BadSignature()
    return _event(client, event)


def _stale(text: str) -> bool:
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return True
    return not -AHEAD < age < STALE


def _event(client: PayPalClient, event: Json) -> ProviderEvent:
    try:
        kind, resource = str(event["event_type"]), dict(event["resource"])
        is_refund = kind in ("PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.FAILED", "PAYMENT.REFUND.PENDING")
        order = _order_of(client, resource)
        dispute = _dispute(resource, order) if kind.startswith("CUSTOMER.DISPUTE.") else None
        return ProviderEvent(
            id=event["id"],
            type=kind,
            subject=order,
            checkout_id=None if is_refund else _checkout_of(resource),
            refund=refund_of([resource], order) if is_refund else None,
            dispute=dispute,
        )
    except (ValueError, TypeError, LookupError, AttributeError, OutcomeUnknown) as error:  # or an unsupported currency
        raise BadRequest("The body is not an event") from error


def _order_of(client: PayPalClient, resource: Json) -> str | None:
    """The order of a resource; refunds and disputes name a capture, whose order PayPal knows.

    Raises ProviderUnavailable.
    """
    if "purchase_units" in resource:
        return str(resource["id"])
    if found := _related(resource):
        return found
    disputed = resource.get("disputed_transactions") or [{}]
    capture = up(resource) or disputed[0].get("seller_transaction_id")
    return _order_of_capture(client, capture) if capture else None


def _related(resource: Json) -> str | None:
    found = resource.get("supplementary_data", {}).get("related_ids", {}).get("order_id")
    return str(found) if found else None


def _order_of_capture(client: PayPalClient, capture: str) -> str | None:
    """None for a capture without an order."""
    try:
        return _related(client.call(lambda sdk: sdk.payments.get_captured_payment, {"capture_id": capture}))
    except PayPalRefused:
        return None
    except OutcomeUnknown as error:
        raise ProviderUnavailable(error.detail) from error


def _checkout_of(resource: Json) -> str | None:
    """The checkout's id in `custom_id` (`checkout:attempt`), whose place depends on the kind of resource."""
    held = resource.get("custom_id")
    if held is None and resource.get("purchase_units"):
        held = resource["purchase_units"][0].get("custom_id")
    if held is None and resource.get("disputed_transactions"):
        held = resource["disputed_transactions"][0].get("custom")
    return str(held).partition(":")[0] if held else None


def _dispute(resource: Json, order: str | None) -> ProviderDispute:
    state = ProviderDisputeStatus.UNDER_REVIEW
    if resource["status"] in ("OPEN", "WAITING_FOR_SELLER_RESPONSE"):
        state = ProviderDisputeStatus.NEEDS_RESPONSE
    elif resource["status"] == "RESOLVED":
        outcome = resource.get("dispute_outcome", {}).get("outcome_code", "")
        state = _OUTCOMES.get(outcome, ProviderDisputeStatus.LOST)
    return ProviderDispute(
        reference=resource["dispute_id"],
        payment=order,
        amount=read_amount(resource["dispute_amount"]),
        state=state,
        reason=str(resource.get("reason", "general")).lower(),
    )


def transactions(client: PayPalClient, since: datetime) -> Iterator[Json]:
    """PayPal's transactions since then, listed in windows of the longest length that PayPal allows."""
    until = datetime.now(UTC) + AHEAD
    start = since.astimezone(UTC)
    while start < until:
        end = min(start + WINDOW, until)
        page = pages = 1
        while page <= pages:
            found = _page(client, start, end, page)
            for detail in found.get("transaction_details", []):
                yield detail["transaction_info"]
            pages = int(found.get("total_pages", 1))
            page += 1
        start = end


def _page(client: PayPalClient, start: datetime, end: datetime, number: int) -> Json:
    options: dict[str, Any] = {
        "start_date": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "end_date": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "page": number,
        "page_size": PAGE,
    }
    try:
        return client.call(lambda sdk: sdk.transaction_search.search_transactions, options)
    except PayPalRefused as error:
        raise OutcomeUnknown(f"PayPal refuses to list: {error.issue}") from error


def list_movements(client: PayPalClient, since: datetime) -> Iterator[Movement | ForeignMovement]:
    """Movements that succeeded or are pending. A denied refund is a refund and its failure: an earlier list may have
    shown it pending. Open authorisations come last.
    """
    seen = set()
    ended = set()
    held: dict[str, Movement] = {}
    orders: dict[str, str | None] = {}  # by authorisation and by capture
    for info in transactions(client, since):
        kind = _KINDS.get(info.get("transaction_event_code", ""))
        if info.get("transaction_event_code") in ("T0006", "T1302"):
            ended.add(info.get("paypal_reference_id"))
        denied = info.get("transaction_status") == DENIED
        if kind is None or (denied and kind is not MovementKind.REFUND) or info["transaction_id"] in seen:
            continue
        seen.add(info["transaction_id"])
        if (currency := info["transaction_amount"]["currency_code"]) not in DECIMALS:
            yield ForeignMovement(reference=info["transaction_id"], currency=currency)
            continue
        movement = _movement(kind, info, _payment(client, kind, info, orders))
        if kind is MovementKind.AUTHORISATION:
            held[movement.reference] = movement
        else:
            yield movement
        if denied:
            failure = {"kind": MovementKind.REFUND_FAILURE, "reference": f"{movement.reference}:denied"}
            yield movement.model_copy(update=failure)
    yield from (movement for name, movement in held.items() if name not in ended)


def _payment(client: PayPalClient, kind: MovementKind, info: Json, orders: dict[str, str | None]) -> str | None:
    """The order of the transaction; retrieved from PayPal where the list names only the preceding transaction."""
    name, before = str(info["transaction_id"]), str(info.get("paypal_reference_id", ""))
    found: str | None = None
    if info.get("paypal_reference_id_type") == "ODR":
        found = before
    elif before in orders:
        found = orders[before]
    else:
        found = _order_of_capture(client, name if kind is MovementKind.CAPTURE else before)
    orders[name] = found
    if kind is not MovementKind.CAPTURE:
        orders.setdefault(before, found)
    return found


def _movement(kind: MovementKind, info: Json, payment: str | None) -> Movement:
    held = info.get("custom_field")
    return Movement(
        kind=kind,
        reference=info["transaction_id"],
        payment=payment,
        amount=read_amount(info["transaction_amount"]),
        at=datetime.fromisoformat(info["transaction_initiation_date"]),
        checkout_id=held.partition(":")[0] if held and kind is not MovementKind.REFUND else None,
        refund_id=held if kind is MovementKind.REFUND else None,
        source=info["transaction_id"] if kind is MovementKind.REFUND else None,  # a dispute's id is not in the list
    )
