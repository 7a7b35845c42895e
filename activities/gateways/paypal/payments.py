"""PayPal, through its own SDK: a payment is an order that the payer approves, one authorisation, and its captures.

The payment's reference is PayPal's order id; the order has everything else. Our ids are sent as `custom_id`
(`checkout:attempt`; of a refund, the refund) and `invoice_id`. Every effect has a PayPal-Request-Id; a repeated request
gets the result of the first one (developer.paypal.com/api/rest/reference/idempotency).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from activities.gateways.paypal import events, refunds
from activities.gateways.paypal import shapes as shapes
from activities.gateways.paypal.client import Json, PayPalClient, PayPalRefused, order_of
from models.errors import AuthorisationGone, CaptureRefused, OutcomeUnknown, PaymentMethodInvalid
from models.money import Money
from models.payments.provider import (
    AuthorisationRequest,
    ForeignMovement,
    Movement,
    ProviderEvent,
    ProviderPayment,
    ProviderPaymentStatus,
    ProviderRefund,
)

METHOD = "paypal"  # the buyer chooses the means of payment on PayPal's page
CLOCK_MARGIN = timedelta(minutes=5)

_GONE = {
    "AUTHORIZATION_EXPIRED": "authorisation_expired",
    "AUTHORIZATION_VOIDED": "authorisation_cancelled",
    "AUTHORIZATION_DENIED": "authorisation_cancelled",
    "NOT_FOUND": "authorisation_expired",
}


class PayPalGateway:
    """Thread-safe; PaymentGateway documents the methods."""

    name = "paypal"
    currencies = frozenset(shapes.DECIMALS)

    def __init__(
        self,
        client_id: str,
        secret: str,
        *,
        base: str = "",
        webhook_id: str = "",
        return_to: str = "",
        timeout: float = 2.5,
    ) -> None:
        self._client = PayPalClient(client_id, secret, base, timeout)
        self._webhook_id = webhook_id
        self._return_to = return_to.rstrip("/")

    def close(self) -> None:
        self._client.close()

    def authorise(self, request: AuthorisationRequest) -> ProviderPayment:
        """Creates an order for its payer to approve: always REQUIRES_ACTION; `complete` authorises it afterwards.

        Raises PaymentMethodInvalid for a saved method, a method to save or an off-session payment: none is supported.
        """
        value = shapes.write_amount(request.amount)
        if request.method != METHOD or request.customer is not None or request.save or request.off_session:
            raise _unusable(f'must be "{METHOD}", with the buyer there and nothing saved')
        ours = _custom_id(request.metadata)
        back = f"{self._return_to}/checkout/{request.metadata['checkout_id']}"
        body = {
            "intent": "AUTHORIZE",
            "purchase_units": [
                {
                    "reference_id": request.metadata.get("cart_id", "default"),
                    "custom_id": ours,
                    "invoice_id": ours,
                    "amount": value,
                }
            ],
            "payment_source": {
                "paypal": {
                    "experience_context": {
                        "return_url": back,
                        "cancel_url": f"{back}?cancelled=true",
                        "shipping_preference": "NO_SHIPPING",  # the cart has the address
                        "user_action": "PAY_NOW",
                    }
                }
            },
        }
        try:
            order = self._client.call(
                lambda sdk: sdk.orders.create_order, {"body": body, "paypal_request_id": request.key}
            )
        except PayPalRefused as error:
            raise _unusable(f"PayPal refused it: {error.issue}") from error
        except OutcomeUnknown as error:
            # An order without a redirected payer holds no money: if it stays unknown, another may be created.
            raise OutcomeUnknown(error.detail, answered=True) from error
        return shapes.payment_of(order)

    def complete(self, reference: str, key: str) -> ProviderPayment:
        """Authorises an approved order. A decline is a result; an order in another state is retrieved."""
        try:
            return shapes.payment_of(
                self._client.call(
                    lambda sdk: sdk.orders.authorize_order,
                    {"id": reference, "body": {}, "paypal_request_id": key},
                )
            )
        except PayPalRefused as error:
            if error.issue in ("ORDER_ALREADY_AUTHORIZED", "ORDER_NOT_APPROVED", "NOT_FOUND"):
                return self.retrieve(reference)
            return ProviderPayment(state=ProviderPaymentStatus.DECLINED, reference=reference, decline_code=error.code)

    def retrieve(self, reference: str) -> ProviderPayment:
        """CANCELLED also for an order that was not approved in time: PayPal no longer has it."""
        try:
            return shapes.payment_of(order_of(self._client, reference))
        except PayPalRefused:
            return ProviderPayment(
                state=ProviderPaymentStatus.CANCELLED, reference=reference, decline_code="approval_expired"
            )

    def search(self, metadata: dict[str, str], not_before: datetime) -> ProviderPayment:
        """Searches authorised orders only. An order whose id we didn't receive has no payer, so it holds no money, and
        a repeated request with the same key returns it.
        """
        ours = _custom_id(metadata)
        for info in events.transactions(self._client, not_before - CLOCK_MARGIN):
            if info.get("custom_field") == ours and info.get("paypal_reference_id_type") == "ODR":
                return self.retrieve(info["paypal_reference_id"])
        return ProviderPayment(state=ProviderPaymentStatus.ABSENT)

    def capture(self, reference: str, amount: int, *, final: bool, key: str) -> ProviderPayment:
        """PayPal honours an authorisation for three days. A capture declined later is retried once, reauthorised."""
        order = self._existing(reference)
        before = shapes.payment_of(order)
        assert before.amount is not None
        assert before.captured is not None
        if any(one.get("invoice_id") == key for one in shapes.captures_of(order)):
            return before
        held = shapes.authorisation_of(order)
        if held is None or before.state is ProviderPaymentStatus.CANCELLED:
            raise AuthorisationGone(decline_code="authorisation_cancelled")
        wanted = Money.of(amount, before.amount.currency)
        try:
            self._capture(held["id"], wanted, final, key)
        except CaptureRefused as error:
            renewed = None if before.captured.amount or not _may_renew(error) else self._renew(held["id"], key)
            if renewed is None:
                raise
            self._capture(renewed, wanted, final, f"{key}:renewed")
        captured = before.captured + wanted
        done = final or captured == before.amount
        state = ProviderPaymentStatus.CAPTURED if done else ProviderPaymentStatus.AUTHORISED
        return before.model_copy(update={"captured": captured, "state": state})

    def _existing(self, reference: str) -> Json:
        try:
            return order_of(self._client, reference)
        except PayPalRefused as error:
            raise AuthorisationGone(decline_code="authorisation_expired") from error

    def _capture(self, authorisation: str, amount: Money, final: bool, key: str) -> None:
        """Raises CaptureRefused or AuthorisationGone."""
        body = {"amount": shapes.write_amount(amount), "invoice_id": key, "final_capture": final}
        try:
            made = self._client.call(
                lambda sdk: sdk.payments.capture_authorized_payment,
                {"authorization_id": authorisation, "body": body, "paypal_request_id": key},
            )
        except PayPalRefused as error:
            if error.issue == "DUPLICATE_INVOICE_ID":  # captured under this key a moment ago
                raise OutcomeUnknown() from error
            if error.issue in _GONE:
                raise AuthorisationGone(decline_code=_GONE[error.issue]) from error
            raise CaptureRefused(f"PayPal refused the capture: {error.issue}", decline_code=error.code) from error
        if made["status"] in ("DECLINED", "FAILED"):
            reason = made.get("status_details", {}).get("reason", "declined")
            raise CaptureRefused("PayPal declined the capture", decline_code=str(reason).lower())

    def _renew(self, authorisation: str, key: str) -> str | None:
        """Reauthorises, which PayPal allows once, after three days. None where it doesn't."""
        try:
            renewed = self._client.call(
                lambda sdk: sdk.payments.reauthorize_payment,
                {"authorization_id": authorisation, "body": {}, "paypal_request_id": f"{key}:renew"},
            )
        except PayPalRefused:
            return None
        return str(renewed["id"])

    def cancel(self, reference: str) -> ProviderPayment:
        """Voids the authorisation. An order without one can't be cancelled at PayPal, and needn't be.

        Only `complete` could authorise it, which is not called after a cancellation; PayPal drops the order in hours.
        """
        try:
            order = order_of(self._client, reference)
        except PayPalRefused:
            return ProviderPayment(state=ProviderPaymentStatus.CANCELLED, reference=reference)
        held = shapes.authorisation_of(order)
        if held is None:
            return shapes.payment_of(order).model_copy(
                update={"state": ProviderPaymentStatus.CANCELLED, "next_action": None}
            )
        if held["status"] in ("CREATED", "PARTIALLY_CAPTURED", "PENDING"):
            with contextlib.suppress(PayPalRefused):  # captured, voided or expired meanwhile: see below
                self._client.call(
                    lambda sdk: sdk.payments.void_payment,
                    {"authorization_id": held["id"], "paypal_request_id": f"{held['id']}:void"},
                )
        return self.retrieve(reference)

    def refund_rest(self, reference: str) -> None:
        """Refunds the rest of every capture."""
        refunds.refund_rest(self._client, reference)

    def refund(self, reference: str, amount: Money, metadata: dict[str, str], key: str) -> ProviderRefund:
        """A refund of ours may have a part for each capture; its status is that of its slowest part."""
        return refunds.refund(self._client, reference, amount, metadata["refund_id"], key)

    def retrieve_refund(self, reference: str) -> ProviderRefund:
        """`reference` has the ids of all parts."""
        return refunds.retrieve(self._client, reference)

    def search_refund(self, reference: str, metadata: dict[str, str]) -> ProviderRefund:
        """Reads the order, which lists all refunds at once."""
        return refunds.search(self._client, reference, metadata["refund_id"])

    def event(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Verified by PayPal for exactly these bytes. Raises also ProviderUnavailable."""
        return events.read(self._client, body, headers, self._webhook_id)

    def list_movements(self, since: datetime) -> Iterator[Movement | ForeignMovement]:
        """PayPal's transaction search, which shows movements up to three hours late."""
        return events.list_movements(self._client, since)


def _custom_id(metadata: dict[str, str]) -> str:
    return f"{metadata['checkout_id']}:{metadata['attempt']}"


def _unusable(detail: str) -> PaymentMethodInvalid:
    return PaymentMethodInvalid(detail, errors=[{"pointer": "/payment/method", "detail": detail}])


def _may_renew(error: CaptureRefused) -> bool:
    """An issuer that declined may accept a new authorisation; one that is gone or captured can't be renewed."""
    return not isinstance(error, AuthorisationGone) and error.extra.get("decline_code") not in (
        "authorization_already_captured",
        "max_capture_amount_exceeded",
        "max_capture_count_exceeded",
    )
