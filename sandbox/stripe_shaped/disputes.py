"""Disputes: the buyer's bank takes the money back, and the shop may submit evidence."""

from typing import Any

from sandbox.store import Row
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import StripeError
from sandbox.stripe_shaped.payment_methods import merged
from sandbox.stripe_shaped.refunds import list_by_payment
from sandbox.stripe_shaped.shapes import render

FEE = 1_500  # minor units kept for every dispute
ANSWER_WITHIN = 9 * 86_400  # seconds


def open_dispute(account: Account, taken: Row, reason: str = "fraudulent") -> Row:
    """Disputes what was captured and not refunded: the amount and a fee leave the balance."""
    amount = taken["amount_captured"] - taken.get("_refunded", 0)
    dispute = account.new(
        "dispute",
        amount=amount,
        charge=taken["id"],
        currency=taken["currency"],
        evidence_details={
            "due_by": account.now + ANSWER_WITHIN,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=False,
        metadata={},
        payment_intent=taken["payment_intent"],
        payment_method_details={"card": {"brand": "visa", "case_type": "chargeback"}, "type": "card"},
        reason=reason,
        status="needs_response",
    )
    _move(account, dispute, -amount, FEE)
    taken["disputed"] = True
    account.save(taken)
    account.save(dispute)
    account.emit("charge.dispute.created", dispute)
    account.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _move(account: Account, dispute: Row, amount: int, fee: int) -> None:
    entry: Any = account.get("balance_transaction", account.book("adjustment", dispute, amount, fee))
    dispute["balance_transactions"] = [*dispute.get("balance_transactions", []), render(entry)]


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/disputes/{id}. Evidence `winning_evidence` or `losing_evidence` decides it, as documented."""
    dispute = _open(account, ask)
    params = ask.params
    if "metadata" in params:
        dispute["metadata"] = merged(dispute["metadata"], params["metadata"])
    evidence = params.get("evidence") or {}
    dispute["evidence"] = {**dispute.get("evidence", {}), **evidence}
    details = dispute["evidence_details"] = {**dispute["evidence_details"]}
    details["has_evidence"] = bool(dispute["evidence"])
    if params.get("submit", bool(evidence)):
        details["submission_count"] += 1
        dispute["status"] = "under_review"
    account.save(dispute)
    account.emit("charge.dispute.updated", dispute)
    verdict = {"winning_evidence": "won", "losing_evidence": "lost"}.get(evidence.get("uncategorized_text", ""))
    if verdict:
        _end(account, dispute, verdict)
    return render(dispute)


def close(account: Account, ask: Ask) -> Row:
    """POST /v1/disputes/{id}/close: accept that it is lost."""
    dispute = _open(account, ask)
    _end(account, dispute, "lost")
    return render(dispute)


def _open(account: Account, ask: Ask) -> Row:
    dispute = account.get("dispute", ask.id)
    if dispute["status"] in ("won", "lost"):
        raise StripeError("This dispute is already closed")
    return dispute


def _end(account: Account, dispute: Row, status: str) -> None:
    dispute["status"] = status
    if status == "won":
        _move(account, dispute, dispute["amount"], 0)
        taken = account.get("charge", dispute["charge"])
        taken["disputed"] = False
        account.save(taken)
        account.emit("charge.dispute.funds_reinstated", dispute)
    account.save(dispute)
    account.emit("charge.dispute.closed", dispute)


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/disputes/{id}."""
    return render(account.get("dispute", ask.id))


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/disputes, by charge and PaymentIntent."""
    return list_by_payment(account, ask, "dispute")
