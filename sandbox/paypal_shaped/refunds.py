"""Payments v2, captures and their refunds: never more than was captured, and not always at once.

Source: developer.paypal.com/docs/api/payments/v2, "Refund captured payment".
"""

from sandbox.paypal_shaped.account import Account, Ask, related, shown
from sandbox.paypal_shaped.errors import BadRequest, PayPalError
from sandbox.paypal_shaped.money import read_amount, write_amount
from sandbox.store import Row

_FATES = {"succeeded": "COMPLETED", "pending": "PENDING", "requires_action": "PENDING", "failed": "FAILED"}


def retrieve_capture(account: Account, ask: Ask) -> tuple[int, Row]:
    """GET /v2/payments/captures/{id}."""
    return 200, shown(account.get("capture", ask.id))


def retrieve(account: Account, ask: Ask) -> tuple[int, Row]:
    """GET /v2/payments/refunds/{id}."""
    return 200, shown(account.get("refund", ask.id))


def create(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/payments/captures/{id}/refund, in full or in part."""
    taken = account.get("capture", ask.id)
    body = ask.body
    unknown = sorted(set(body) - {"amount", "invoice_id", "custom_id", "note_to_payer"})
    if unknown:
        raise BadRequest("INVALID_PARAMETER_SYNTAX", field=f"/{unknown[0]}")
    if not taken["_took"]:
        raise PayPalError("REFUND_NOT_ALLOWED", "Full refund refused: the capture was declined.")
    if taken.get("_disputed"):
        raise PayPalError("TRANSACTION_DISPUTED", "A refund can't be issued while the payment is disputed.")
    left = taken["_amount"] - taken["_refunded"]
    if left == 0:
        raise PayPalError("CAPTURE_FULLY_REFUNDED", "The capture has already been fully refunded.")
    amount, currency = read_amount(body["amount"], "/amount") if "amount" in body else (left, taken["_currency"])
    if currency != taken["_currency"]:
        raise PayPalError("REFUND_CAPTURE_CURRENCY_MISMATCH")
    if amount > left:
        raise PayPalError("REFUND_AMOUNT_EXCEEDED", "The refund amount must be less than or equal to what is left.")
    refund = account.new(
        "refund",
        amount=write_amount(amount, currency),
        invoice_id=body.get("invoice_id"),
        custom_id=body.get("custom_id"),
        note_to_payer=body.get("note_to_payer"),
        links=[{"href": f"/v2/payments/captures/{taken['id']}", "rel": "up", "method": "GET"}],
        supplementary_data=related(order_id=taken["_order"], capture_id=taken["id"]),
        _capture=taken["id"],
        _order=taken["_order"],
        _amount=amount,
        _currency=currency,
    )
    fate = _FATES[(ask.bend and ask.bend.code) or "succeeded"]
    refund["status"] = "PENDING" if fate == "FAILED" else fate  # one that fails was pending first
    _shift(account, taken, amount)
    account.save(refund)
    name = "PAYMENT.CAPTURE.REFUNDED" if refund["status"] == "COMPLETED" else "PAYMENT.REFUND.PENDING"
    account.emit(name, "refund", shown(refund), taken["_order"])
    answer = shown(refund)
    if fate == "FAILED":
        settle(account, refund, "failed")
    return 201, answer


def _shift(account: Account, taken: Row, amount: int) -> None:
    """Count an amount (negative: uncount it) as refunded."""
    taken["_refunded"] += amount
    left = taken["_amount"] - taken["_refunded"]
    taken["status"] = "REFUNDED" if left == 0 else "PARTIALLY_REFUNDED" if taken["_refunded"] else "COMPLETED"
    account.save(taken)


def settle(account: Account, refund: Row, status: str) -> Row:
    """Sets a pending refund to `succeeded` or `failed` (the money returns to the shop). Raises PayPalError."""
    if refund["status"] != "PENDING" or status not in ("succeeded", "failed"):
        raise PayPalError("REFUND_NOT_PENDING", f"A refund that is {refund['status']} can't become {status}.")
    refund["status"] = _FATES[status]
    if status == "failed":
        refund["status_details"] = {"reason": "ECHECK"}
        _shift(account, account.get("capture", refund["_capture"]), -refund["_amount"])
    account.save(refund)
    name = "PAYMENT.CAPTURE.REFUNDED" if status == "succeeded" else "PAYMENT.REFUND.FAILED"
    account.emit(name, "refund", shown(refund), refund["_order"])
    return refund
