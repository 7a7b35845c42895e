"""Reads PayPal's order as a payment: decimal strings, statuses, captures and refunds.

Source: developer.paypal.com/docs/api/orders/v2 and …/payments/v2; decimals: …/rest/reference/currency-codes.
"""

from __future__ import annotations

from typing import Any

from models.errors import OutcomeUnknown, PaymentMethodInvalid
from models.money import Money, parse_major
from models.payments.provider import ProviderPayment, ProviderPaymentStatus, ProviderRefund, ProviderRefundStatus

Json = dict[str, Any]

# PayPal takes no decimals for HUF, JPY and TWD, and doesn't support KWD. Of the shop's currencies:
DECIMALS = {"USD": 2, "EUR": 2, "JPY": 0}

_ORDERS = {
    "CREATED": ProviderPaymentStatus.REQUIRES_ACTION,
    "SAVED": ProviderPaymentStatus.REQUIRES_ACTION,
    "PAYER_ACTION_REQUIRED": ProviderPaymentStatus.REQUIRES_ACTION,
    "APPROVED": ProviderPaymentStatus.APPROVED,
    "VOIDED": ProviderPaymentStatus.CANCELLED,
}
_AUTHORISATIONS = {
    "CREATED": ProviderPaymentStatus.AUTHORISED,
    "PARTIALLY_CAPTURED": ProviderPaymentStatus.AUTHORISED,
    "CAPTURED": ProviderPaymentStatus.CAPTURED,
    "PENDING": ProviderPaymentStatus.PROCESSING,
    "DENIED": ProviderPaymentStatus.DECLINED,
    "VOIDED": ProviderPaymentStatus.CANCELLED,
    "EXPIRED": ProviderPaymentStatus.CANCELLED,
}
_TAKEN = ("COMPLETED", "PENDING", "PARTIALLY_REFUNDED", "REFUNDED")
_REFUNDS = {
    "COMPLETED": ProviderRefundStatus.SUCCEEDED,
    "PENDING": ProviderRefundStatus.PENDING,
    "FAILED": ProviderRefundStatus.FAILED,
    "CANCELLED": ProviderRefundStatus.CANCELLED,
}
_SLOWEST = (
    ProviderRefundStatus.PENDING,
    ProviderRefundStatus.FAILED,
    ProviderRefundStatus.CANCELLED,
    ProviderRefundStatus.SUCCEEDED,
)
_LIVE = ("COMPLETED", "PENDING")


def write_amount(amount: Money) -> Json:
    """`{"currency_code": "USD", "value": "19.90"}`. Raises PaymentMethodInvalid for an unsupported currency."""
    decimals = DECIMALS.get(amount.currency)
    if decimals is None:
        raise PaymentMethodInvalid(
            f"PayPal doesn't take {amount.currency}",
            errors=[{"pointer": "/payment/provider", "detail": f"doesn't take {amount.currency}"}],
        )
    digits = str(amount.amount).rjust(decimals + 1, "0")
    value = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return {"currency_code": amount.currency, "value": value}


def read_amount(found: Json) -> Money:
    """Raises OutcomeUnknown for a currency that the shop doesn't have, or an amount that can't be read."""
    try:
        currency = found["currency_code"]
        return Money.of(parse_major(found["value"].removeprefix("-"), currency), currency)
    except (KeyError, ValueError, AttributeError) as error:
        raise OutcomeUnknown("PayPal's amount can't be read") from error


def payment_of(order: Json) -> ProviderPayment:
    """The order as a payment."""
    held = authorisation_of(order)
    state = _ORDERS.get(order["status"], ProviderPaymentStatus.PROCESSING)
    if held is not None:
        state = _AUTHORISATIONS.get(held["status"], ProviderPaymentStatus.PROCESSING)
    amount = read_amount(_unit(order)["amount"])
    captured = sum(read_amount(one["amount"]).amount for one in captures_of(order))
    return ProviderPayment(
        state=state,
        reference=order["id"],
        amount=amount,
        captured=Money.of(captured, amount.currency),
        next_action=_next_action(order) if state is ProviderPaymentStatus.REQUIRES_ACTION else None,
        decline_code="approval_cancelled" if order["status"] == "VOIDED" else None,
    )


def _unit(order: Json) -> Json:
    unit: Json = order["purchase_units"][0]
    return unit


def _belonging(order: Json, kind: str) -> list[Json]:
    return list(_unit(order).get("payments", {}).get(kind, []))


def authorisation_of(order: Json) -> Json | None:
    """The current authorisation: the newest that is not voided, since a renewal adds one."""
    held = _belonging(order, "authorizations")
    return max(held, key=lambda one: (one["status"] != "VOIDED", one["create_time"])) if held else None


def captures_of(order: Json) -> list[Json]:
    """The captures that moved money, oldest first."""
    return [one for one in _belonging(order, "captures") if one["status"] in _TAKEN]


def refunds_of(order: Json, refund_id: str) -> list[Json]:
    """The parts of one refund of ours."""
    return [one for one in _belonging(order, "refunds") if one.get("custom_id") == refund_id]


def left_of(order: Json, capture: Json) -> int:
    """The part of a capture that is neither refunded nor pending to be, in minor units."""
    given = [one for one in _belonging(order, "refunds") if one["status"] in _LIVE and up(one) == capture["id"]]
    return read_amount(capture["amount"]).amount - sum(read_amount(one["amount"]).amount for one in given)


def up(refund: Json) -> str:
    """The capture that a refund belongs to."""
    links = (link["href"] for link in refund.get("links", []) if link.get("rel") == "up")
    return next(links, "").rstrip("/").rsplit("/", 1)[-1]


def refund_of(parts: list[Json], payment: str | None) -> ProviderRefund:
    """The refund of these parts, one per capture; its status is that of the slowest part."""
    states = [_REFUNDS.get(one["status"], ProviderRefundStatus.PENDING) for one in parts]
    state = next(state for state in _SLOWEST if state in states)
    reasons = [one["status_details"]["reason"] for one in parts if one.get("status_details", {}).get("reason")]
    found = ProviderRefund(
        state=state,
        reference=_names(parts),
        payment=payment,
        amount=_sum(parts),
        reason=str(reasons[0]).lower() if reasons else None,
        refund_id=parts[0].get("custom_id"),
    )
    return failed(parts, found) if state in (ProviderRefundStatus.FAILED, ProviderRefundStatus.CANCELLED) else found


def failed(parts: list[Json], found: ProviderRefund) -> ProviderRefund:
    """Adds what the completed parts have refunded."""
    given = [one for one in parts if one["status"] == "COMPLETED"]
    return found.model_copy(
        update={
            "refunded": _sum(given) if given else None,
            "refunded_reference": _names(given) if given else None,
        }
    )


def _names(parts: list[Json]) -> str:
    return ",".join(one["id"] for one in parts)


def _sum(parts: list[Json]) -> Money:
    amounts = [read_amount(one["amount"]) for one in parts]
    return Money.of(sum(amount.amount for amount in amounts), amounts[0].currency)


def _next_action(order: Json) -> Json:
    pages = [link["href"] for link in order.get("links", []) if link.get("rel") in ("payer-action", "approve")]
    return {"type": "redirect", "redirect_url": pages[0] if pages else ""}
