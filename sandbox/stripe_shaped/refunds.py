"""Refunds: never more than was captured, and not always at once."""

from sandbox.store import Row
from sandbox.stripe_shaped import cards
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.errors import BadParameter, StripeError
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.payment_methods import merged
from sandbox.stripe_shaped.shapes import render


def create(account: Account, ask: Ask) -> Row:
    """POST /v1/refunds, in full or in part.

    Succeeds at once unless a test card or a scripted `refund_status` makes it wait or fail.
    """
    params = ask.params
    taken = _charge_of(account, params)
    open_amount = taken["amount_captured"] - taken.get("_refunded", 0)
    if taken.get("disputed"):
        message = f"Charge {taken['id']} has been charged back; cannot issue a refund."
        raise StripeError(message, "charge_disputed")
    if open_amount == 0:
        raise StripeError(f"Charge {taken['id']} has already been refunded.", "charge_already_refunded")
    amount = params.get("amount", open_amount)
    if amount > open_amount:
        raise StripeError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({open_amount})",
            "amount_too_large",
            "amount",
        )
    refund = account.new(
        "refund",
        amount=amount,
        charge=taken["id"],
        currency=taken["currency"],
        instructions_email=params.get("instructions_email"),
        metadata=merged({}, params.get("metadata", {})),
        payment_intent=taken["payment_intent"],
        reason=params.get("reason"),
        destination_details={"card": {"reference_status": "pending", "type": "refund"}, "type": "card"},
    )
    _shift(account, taken, amount)
    _begin(account, refund, taken, (ask.bend and ask.bend.code) or cards.named(taken["_card"]).refund)
    return render(refund)


def _charge_of(account: Account, params: Row) -> Row:
    """The successful, captured charge that is to be refunded. Raises StripeError."""
    if params.get("payment_intent"):
        intent = account.get("payment_intent", params["payment_intent"], "payment_intent")
        charge_id = intent.get("latest_charge")
        if intent["amount_received"] == 0 or charge_id is None:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise StripeError(message, param="payment_intent")
        return account.get("charge", charge_id)
    if params.get("charge"):
        taken = account.get("charge", params["charge"], "charge")
        if not taken["captured"]:
            raise StripeError(f"Charge {taken['id']} has no captured amount to refund.", param="charge")
        return taken
    message = "One of the following params should be provided for this request: payment_intent or charge."
    raise BadParameter(message, "parameter_missing", "payment_intent")


def _shift(account: Account, taken: Row, amount: int) -> None:
    """Count an amount (negative: uncount it) as refunded on its charge and intent."""
    taken["amount_refunded"] += amount
    taken["_refunded"] = taken.get("_refunded", 0) + amount
    taken["refunded"] = taken["amount_refunded"] >= taken["amount"]
    account.save(taken)
    intent = account.get("payment_intent", taken["payment_intent"])
    intent["_amount_refunded"] += amount
    account.save(intent)


def _begin(account: Account, refund: Row, taken: Row, fate: str) -> None:
    """Starts a refund that will succeed, wait or fail; one that fails is pending first."""
    waiting = fate in ("pending", "requires_action")
    refund["status"] = fate if waiting else "succeeded"
    if fate == "failed":
        refund["status"] = "pending"
    if fate == "requires_action":
        email: Row = {"email": refund["instructions_email"] or "buyer@example.com", "email_sent": {}}
        refund["next_action"] = {"type": "display_details", "display_details": email}
    if waiting:
        refund["pending_reason"] = "processing" if fate == "pending" else None
    else:
        refund["balance_transaction"] = account.book("refund", refund, -refund["amount"], 0)
    account.save(refund)
    account.emit("refund.created", refund)
    account.emit("charge.refunded", taken)
    if fate == "failed":
        settle(account, refund, "failed")


def settle(account: Account, refund: Row, status: str, reason: str | None = None) -> Row:
    """Sets a refund to `succeeded` or `failed` (the money returns to the shop). Raises StripeError."""
    moves = {"pending": ("succeeded", "failed"), "requires_action": ("succeeded", "failed"), "succeeded": ("failed",)}
    if status not in moves.get(refund["status"], ()):
        raise StripeError(f"A refund with status {refund['status']} can't become {status}.")
    previous = refund["status"]
    refund.update(status=status, next_action=None, pending_reason=None)
    if status == "failed":
        _shift(account, account.get("charge", refund["charge"]), -refund["amount"])
        refund["failure_reason"] = reason or "expired_or_canceled_card"
        if refund.get("balance_transaction"):
            entry = account.book("refund_failure", refund, refund["amount"], 0)
            refund["failure_balance_transaction"] = entry
    elif not refund.get("balance_transaction"):
        refund["balance_transaction"] = account.book("refund", refund, -refund["amount"], 0)
    account.save(refund)
    account.emit("refund.updated", refund, status=previous)
    account.emit("charge.refund.updated", refund, status=previous)
    if status == "failed":
        account.emit("refund.failed", refund)
    return refund


def cancel(account: Account, ask: Ask) -> Row:
    """POST /v1/refunds/{id}/cancel: only one that waits for the buyer."""
    refund = account.get("refund", ask.id)
    if refund["status"] != "requires_action":
        raise StripeError("You can only cancel refunds with the status requires_action.")
    refund.update(status="canceled", next_action=None)
    _shift(account, account.get("charge", refund["charge"]), -refund["amount"])
    account.save(refund)
    account.emit("refund.updated", refund, status="requires_action")
    return render(refund)


def update(account: Account, ask: Ask) -> Row:
    """POST /v1/refunds/{id}."""
    refund = account.get("refund", ask.id)
    if "metadata" in ask.params:
        refund["metadata"] = merged(refund["metadata"], ask.params["metadata"])
    account.save(refund)
    account.emit("refund.updated", refund)
    return render(refund)


def retrieve(account: Account, ask: Ask) -> Row:
    """GET /v1/refunds/{id}."""
    return render(account.get("refund", ask.id))


def list_all(account: Account, ask: Ask) -> Row:
    """GET /v1/refunds, by charge and PaymentIntent."""
    return list_by_payment(account, ask, "refund")


def list_by_payment(account: Account, ask: Ask, kind: str) -> Row:
    """Objects that belong to a charge or a PaymentIntent, newest first."""
    wanted = {name: ask.params[name] for name in ("charge", "payment_intent") if name in ask.params}
    found = (row for row in account.newest(kind) if all(row.get(name) == value for name, value in wanted.items()))
    return page(found, ask.params, f"/v1/{kind}s")
