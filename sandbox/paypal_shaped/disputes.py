"""Disputes: the payer asks for their money back; source: developer.paypal.com/docs/api/customer-disputes/v1."""

from sandbox.paypal_shaped.account import Account, Ask, shown
from sandbox.paypal_shaped.errors import PayPalError
from sandbox.paypal_shaped.money import write_amount
from sandbox.store import Row

_OUTCOMES = {"won": "RESOLVED_SELLER_FAVOUR", "lost": "RESOLVED_BUYER_FAVOUR"}


def open_for(account: Account, taken: Row) -> Row:
    """Disputes what was captured and not refunded. Raises PayPalError when it is disputed already."""
    if taken.get("_disputed"):
        raise PayPalError("TRANSACTION_DISPUTED")
    amount = taken["_amount"] - taken["_refunded"]
    dispute = account.new(
        "dispute",
        reason="MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        status="WAITING_FOR_SELLER_RESPONSE",
        dispute_amount=write_amount(amount, taken["_currency"]),
        disputed_transactions=[
            {
                "seller_transaction_id": taken["id"],
                "custom": taken.get("custom_id"),
                "invoice_number": taken.get("invoice_id"),
            }
        ],
        _order=taken["_order"],
        _capture=taken["id"],
        _amount=amount,
        _currency=taken["_currency"],
    )
    dispute["dispute_id"] = f"PP-D-{dispute['id']}"
    taken["_disputed"] = True
    account.save(taken)
    account.save(dispute)
    account.emit("CUSTOMER.DISPUTE.CREATED", "dispute", shown(dispute), taken["_order"])
    return dispute


def settle(account: Account, dispute: Row, outcome: str) -> Row:
    """Decides it: `won` or `lost`. Raises PayPalError."""
    if dispute["status"] == "RESOLVED" or outcome not in _OUTCOMES:
        raise PayPalError("DISPUTE_NOT_OPEN", f"A dispute that is {dispute['status']} can't be {outcome}.")
    dispute.update(status="RESOLVED", dispute_outcome={"outcome_code": _OUTCOMES[outcome]}, _settled_at=account.now)
    if outcome == "won":
        taken = account.get("capture", dispute["_capture"])
        taken["_disputed"] = False
        account.save(taken)
    account.save(dispute)
    account.emit("CUSTOMER.DISPUTE.RESOLVED", "dispute", shown(dispute), dispute["_order"])
    return dispute


def retrieve(account: Account, ask: Ask) -> tuple[int, Row]:
    """GET /v1/customer/disputes/{id}."""
    return 200, shown(account.get("dispute", ask.id.removeprefix("PP-D-")))
