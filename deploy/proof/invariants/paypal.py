"""PayPal's records in the shape of Stripe's, so that the same invariants of money apply."""

from typing import Any

Row = dict[str, Any]

_HELD = {"CREATED": "requires_capture", "PARTIALLY_CAPTURED": "requires_capture", "CAPTURED": "succeeded"}


def as_intents(orders: list[Row]) -> list[Row]:
    """The sandbox's `/paypal/orders`. Unauthorised ones count as cancelled: only the shop could authorise them."""
    return [{**order, "status": _status(order)} for order in orders]


def _status(order: Row) -> str:
    held = order["paypal"]["purchase_units"][0].get("payments", {}).get("authorizations", [])
    return next((_HELD[one["status"]] for one in reversed(held) if one["status"] in _HELD), "canceled")


def as_refunds(refunds: list[Row]) -> list[Row]:
    """The sandbox's `/paypal/refunds`; the parts of one of our refunds, one for each capture, as one."""
    found: dict[str, Row] = {}
    for refund in refunds:
        ours = refund["paypal"].get("custom_id")
        status = {"COMPLETED": "succeeded", "PENDING": "pending"}.get(refund["status"], "failed")
        key = ours or refund["id"]
        if key in found:
            found[key]["id"] += f",{refund['id']}"
            found[key]["amount"] += refund["amount"]
            continue
        found[key] = {
            "id": refund["id"],
            "payment_intent": refund["order_id"],
            "amount": refund["amount"],
            "currency": refund["currency"],
            "status": status,
            "metadata": {"refund_id": ours} if ours else {},
        }
    return list(found.values())
