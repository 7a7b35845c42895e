"""Payments v2, authorisations: captured in full or in parts, voided, renewed; held for 3 days and valid for 29.

Source: developer.paypal.com/docs/api/payments/v2 and its list of errors. Never captures above what was authorised,
which the original allows to some sellers.
"""

from typing import Any

from sandbox.paypal_shaped.account import Account, Ask, related, shown
from sandbox.paypal_shaped.errors import BadRequest, PayPalError
from sandbox.paypal_shaped.money import processing_fee, read_amount, write_amount
from sandbox.store import Row

DAY = 86_400
HONOURED = 3 * DAY
VALID = 29 * DAY
CAPTURES = 10


def open_for(account: Account, order: Row, amount: int, born: float | None = None) -> Row:
    """A new authorisation of an order; `born`: the time of the first one, for a renewed one."""
    born = account.now if born is None else born
    unit = order["_unit"]
    row = account.new(
        "authorization",
        status="CREATED",
        amount=write_amount(amount, order["_currency"]),
        invoice_id=unit.get("invoice_id"),
        custom_id=unit.get("custom_id"),
        expiration_time=account.time(born + VALID),
        seller_protection={"status": "ELIGIBLE"},
        supplementary_data=related(order_id=order["id"]),
        _order=order["id"],
        _amount=amount,
        _currency=order["_currency"],
        _captured=0,
        _honoured_until=account.now + HONOURED,
        _born=born,
    )
    account.save(row)
    account.emit("PAYMENT.AUTHORIZATION.CREATED", "authorization", shown(row), order["id"])
    return row


def retrieve(account: Account, ask: Ask) -> tuple[int, Row]:
    """GET /v2/payments/authorizations/{id}."""
    return 200, shown(account.get("authorization", ask.id))


def _check_open(row: Row) -> None:
    if row["status"] == "VOIDED":
        expired = row.get("_expired")
        raise PayPalError("AUTHORIZATION_EXPIRED" if expired else "AUTHORIZATION_VOIDED")
    if row["status"] == "CAPTURED":
        raise PayPalError("AUTHORIZATION_ALREADY_CAPTURED", "Authorization has already been captured.")


def capture(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/payments/authorizations/{id}/capture, in full or in part."""
    row = account.get("authorization", ask.id)
    body = ask.body
    unknown = sorted(set(body) - {"amount", "invoice_id", "final_capture", "note_to_payer", "soft_descriptor"})
    if unknown:
        raise BadRequest("INVALID_PARAMETER_SYNTAX", field=f"/{unknown[0]}")
    _check_open(row)
    left = row["_amount"] - row["_captured"]
    amount, currency = read_amount(body["amount"], "/amount") if "amount" in body else (left, row["_currency"])
    if currency != row["_currency"]:
        raise PayPalError("AUTH_CAPTURE_CURRENCY_MISMATCH")
    if amount > left:
        raise PayPalError("MAX_CAPTURE_AMOUNT_EXCEEDED", "Capture amount exceeds allowable limit.")
    taken = account.of("capture", "_authorization", row["id"])
    if len(taken) >= CAPTURES:
        raise PayPalError("MAX_CAPTURE_COUNT_EXCEEDED")
    invoice = body.get("invoice_id") or row.get("invoice_id")
    if invoice and any(one["_took"] for one in account.of("capture", "invoice_id", invoice)):
        raise PayPalError("DUPLICATE_INVOICE_ID", "Requested invoice number has been previously captured.")
    declined = ask.bend.code.upper() if ask.bend and ask.bend.code else None
    if declined not in (None, "DECLINED"):
        raise PayPalError(str(declined), "The processor refused the capture.")
    made = _take(account, row, amount, invoice, bool(body.get("final_capture", False)), declined is None)
    return 201, shown(made)


def _take(account: Account, row: Row, amount: int, invoice: str | None, final: bool, took: bool) -> Row:
    currency = row["_currency"]
    fee = processing_fee(amount)
    made = account.new(
        "capture",
        status="COMPLETED" if took else "DECLINED",
        amount=write_amount(amount, currency),
        invoice_id=invoice,
        custom_id=row.get("custom_id"),
        final_capture=final,
        seller_receivable_breakdown={
            "gross_amount": write_amount(amount, currency),
            "paypal_fee": write_amount(fee, currency),
            "net_amount": write_amount(amount - fee, currency),
        },
        supplementary_data=related(order_id=row["_order"], authorization_id=row["id"]),
        _order=row["_order"],
        _authorization=row["id"],
        _amount=amount,
        _currency=currency,
        _refunded=0,
        _fee=fee,
        _took=took,
    )
    account.save(made)
    if took:
        row["_captured"] += amount
        done = final or row["_captured"] == row["_amount"]
        row["status"] = "CAPTURED" if done else "PARTIALLY_CAPTURED"
        account.save(row)
    account.emit(f"PAYMENT.CAPTURE.{made['status']}", "capture", shown(made), row["_order"])
    return made


def void(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/payments/authorizations/{id}/void: releases what is not captured to the payer."""
    row = account.get("authorization", ask.id)
    if row["status"] == "VOIDED":
        raise PayPalError("AUTHORIZATION_EXPIRED" if row.get("_expired") else "PREVIOUSLY_VOIDED")
    if row["status"] == "CAPTURED":
        raise PayPalError(
            "PREVIOUSLY_CAPTURED", "Authorization has been previously captured and hence cannot be voided."
        )
    _release(account, row)
    return 200, shown(row)


def _release(account: Account, row: Row, **marks: Any) -> None:
    row.update(status="VOIDED", _voided_at=account.now, **marks)
    account.save(row)
    account.emit("PAYMENT.AUTHORIZATION.VOIDED", "authorization", shown(row), row["_order"])


def reauthorise(account: Account, ask: Ask) -> tuple[int, Row]:
    """POST /v2/payments/authorizations/{id}/reauthorize: once, after the honour period; the old one is void."""
    row = account.get("authorization", ask.id)
    _check_open(row)
    if row["_captured"]:
        raise PayPalError("REAUTHORIZATION_NOT_SUPPORTED", "It has been captured in part.")
    if account.now < row["_honoured_until"]:
        raise PayPalError("REAUTHORIZATION_TOO_SOON", "Only after the honor period of three days.")
    amount, currency = row["_amount"], row["_currency"]
    if "amount" in ask.body:
        amount, currency = read_amount(ask.body["amount"], "/amount")
    if currency != row["_currency"]:
        raise PayPalError("AUTH_CURRENCY_MISMATCH")
    if amount > row["_amount"]:
        raise PayPalError("AUTHORIZATION_AMOUNT_EXCEEDED", "More than was authorized.")
    row.update(status="VOIDED", _voided_at=account.now)
    account.save(row)
    renewed = open_for(account, account.get("order", row["_order"]), amount, row["_born"])
    return 201, shown(renewed)


def expire(account: Account) -> None:
    """Void what has been authorised for longer than PayPal allows; what was captured of it stays."""
    for row in account.rows("authorization"):
        if row["status"] in ("CREATED", "PARTIALLY_CAPTURED") and row["_born"] + VALID <= account.now:
            _release(account, row, _expired=True)
