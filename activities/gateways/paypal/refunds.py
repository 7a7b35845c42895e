"""Refunds at PayPal. PayPal refunds captures, so one refund of ours may have a part for each capture.

Source: developer.paypal.com/docs/api/payments/v2, "Refund captured payment". All parts carry our refund's id as
`custom_id`, and the order lists them at once, so a lost answer is resolved by reading the order. If one part fails, the
refund has failed; it reports what the other parts have refunded.
"""

from __future__ import annotations

from activities.gateways.paypal import shapes as shapes
from activities.gateways.paypal.client import Json, PayPalClient, PayPalRefused, order_of
from models.errors import OutcomeUnknown, RefundExceedsBalance
from models.money import Money
from models.payments.provider import ProviderRefund, ProviderRefundStatus

ROUNDS = 3
_EXCEEDS = ("REFUND_AMOUNT_EXCEEDED", "CAPTURE_FULLY_REFUNDED")


def refund_rest(client: PayPalClient, reference: str) -> None:
    """Refunds the rest of every capture."""
    order = _order(client, reference)
    for capture in shapes.captures_of(order):
        left = shapes.left_of(order, capture)
        if left:
            amount = Money.of(left, capture["amount"]["currency_code"])
            key = f"{capture['id']}:back:{left}"
            try:
                _refund(client, capture["id"], amount, None, key)
            except PayPalRefused as error:
                if error.issue not in _EXCEEDS:
                    raise OutcomeUnknown(f"PayPal refused the refund: {error.issue}") from error


def _order(client: PayPalClient, reference: str) -> Json:
    try:
        return order_of(client, reference)
    except PayPalRefused as error:
        raise OutcomeUnknown("PayPal does not know this order") from error


def refund(client: PayPalClient, reference: str, amount: Money, refund_id: str, key: str) -> ProviderRefund:
    """Refunds what is missing of `amount`, capture by capture.

    Every round reads the order again, so a lost answer or another refund does no harm.
    """
    for _ in range(ROUNDS):
        order = _order(client, reference)
        parts = shapes.refunds_of(order, refund_id)
        missing = amount.amount - sum(shapes.read_amount(part["amount"]).amount for part in parts)
        if missing <= 0:
            return shapes.refund_of(parts, reference)
        open_ = [(one["id"], shapes.left_of(order, one)) for one in shapes.captures_of(order)]
        left = sum(rest for _, rest in open_)
        if left < missing:
            if not parts:
                raise RefundExceedsBalance(left=Money.of(left, amount.currency).model_dump())
            found = shapes.refund_of(parts, reference)
            return shapes.failed(
                parts, found.model_copy(update={"state": ProviderRefundStatus.FAILED, "reason": "refunded_in_part"})
            )
        for capture, rest in open_:
            part = min(rest, missing)
            if not part:
                continue
            try:
                _refund(client, capture, Money.of(part, amount.currency), refund_id, f"{key}:{capture}:{part}")
            except PayPalRefused as error:
                if error.issue in _EXCEEDS:
                    break  # another refund was faster: the next round reads it
                refused = ProviderRefund(
                    state=ProviderRefundStatus.FAILED,
                    payment=reference,
                    amount=amount,
                    reason=error.code,
                    refund_id=refund_id,
                )
                return shapes.failed(shapes.refunds_of(_order(client, reference), refund_id), refused)
            missing -= part
    raise OutcomeUnknown("Other refunds of this payment are running")


def _refund(client: PayPalClient, capture: str, amount: Money, refund_id: str | None, key: str) -> Json:
    body: Json = {"amount": shapes.write_amount(amount)}
    if refund_id is not None:
        body.update(custom_id=refund_id, invoice_id=key)
    return client.call(
        lambda sdk: sdk.payments.refund_captured_payment,
        {"capture_id": capture, "body": body, "paypal_request_id": key},
    )


def retrieve(client: PayPalClient, reference: str) -> ProviderRefund:
    """`reference` has the ids of all parts. ABSENT if PayPal doesn't know one."""
    parts = []
    for name in reference.split(","):
        try:
            parts.append(client.call(lambda sdk: sdk.payments.get_refund, {"refund_id": name}))
        except PayPalRefused:
            return ProviderRefund(state=ProviderRefundStatus.ABSENT)
    return shapes.refund_of(parts, None)


def search(client: PayPalClient, reference: str, refund_id: str) -> ProviderRefund:
    """Reads the order, which lists all refunds at once."""
    parts = shapes.refunds_of(_order(client, reference), refund_id)
    return shapes.refund_of(parts, reference) if parts else ProviderRefund(state=ProviderRefundStatus.ABSENT)
