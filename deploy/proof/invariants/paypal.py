"""PayPal's truth in the shape of an intent, so that what holds of money holds of it wherever it is."""

from typing import Any

Row = dict[str, Any]

_HELD = {"CREATED": "requires_capture", "PARTIALLY_CAPTURED": "requires_capture", "CAPTURED": "succeeded"}


def as_intents(orders: list[Row]) -> list[Row]:
    """The sandbox's `/paypal/orders`. One that is not held is as good as cancelled: only the shop could hold it."""
    return [{**order, "status": _status(order)} for order in orders]


def _status(order: Row) -> str:
    held = order["paypal"]["purchase_units"][0].get("payments", {}).get("authorizations", [])
    return next((_HELD[one["status"]] for one in reversed(held) if one["status"] in _HELD), "canceled")


def as_refunds(refunds: list[Row]) -> list[Row]:
    """The sandbox's `/paypal/refunds`: those of one of ours, which may have a part for each capture, as one."""
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
