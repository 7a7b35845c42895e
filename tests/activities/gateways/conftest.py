"""Each payment provider as its buyers meet it, behind the one contract, on a sandbox of this session's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from activities.gateways.payments import PaymentGateway
from activities.gateways.paypal.payments import PayPalGateway
from activities.gateways.stripe.payments import StripeGateway
from models.money import Money
from models.payments.provider import AuthorisationRequest, ProviderPayment, ProviderPaymentStatus
from tests.sandbox.conftest import Sandbox, _http, _server, _shop, sandbox, shop

__all__ = ["Provider", "_http", "_server", "_shop", "sandbox", "shop"]  # fixtures that this folder uses too

PATIENCE = 0.4  # seconds that a gateway waits for an answer here


class Provider(Protocol):
    """What a test needs to know of a provider beside the contract."""

    gateway: PaymentGateway
    sandbox: Sandbox
    paths: dict[str, str]  # where an effect is asked for

    def start(self, amount: Money, metadata: dict[str, str], key: str) -> ProviderPayment:
        """A payment whose buyer has to agree first."""

    def agree(self, reference: str) -> None: ...

    def refuse(self, reference: str) -> None: ...

    def held(self, amount: Money, metadata: dict[str, str] | None = None) -> str:
        """The reference of an authorised payment."""

    def declined(self, amount: Money) -> ProviderPayment: ...

    def truth(self, reference: str) -> dict[str, int]:
        """received, refunded and still held, in minor units, as the provider has it."""


class OnStripe:
    paths = {
        "authorise": "/v1/payment_intents",
        "capture": "/v1/payment_intents",
        "cancel": "/v1/payment_intents",
        "refund": "/v1/refunds",
    }

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.gateway: PaymentGateway = StripeGateway(
            "sk_test_1", base=sandbox.url, webhook_secret="whsec_sandbox", timeout=PATIENCE
        )

    def close(self) -> None:
        return

    def start(self, amount: Money, metadata: dict[str, str], key: str) -> ProviderPayment:
        return self.gateway.authorise(AuthorisationRequest(amount, "pm_card_authenticationRequired", metadata, key))

    def agree(self, reference: str) -> None:
        self.sandbox.control(f"/stripe/payment_intents/{reference}/authenticate", {"result": "success"})

    def refuse(self, reference: str) -> None:
        self.sandbox.control(f"/stripe/payment_intents/{reference}/authenticate", {"result": "failure"})

    def held(self, amount: Money, metadata: dict[str, str] | None = None) -> str:
        payment = self.gateway.authorise(
            AuthorisationRequest(amount, "pm_card_visa", metadata or new_metadata(), uuid4().hex)
        )
        assert payment.state is ProviderPaymentStatus.AUTHORISED
        assert payment.reference
        return payment.reference

    def declined(self, amount: Money) -> ProviderPayment:
        return self.gateway.authorise(
            AuthorisationRequest(amount, "pm_card_visa_chargeDeclined", new_metadata(), uuid4().hex)
        )

    def truth(self, reference: str) -> dict[str, int]:
        (seen,) = [one for one in self.sandbox.seen("/stripe/payment_intents") if one["id"] == reference]
        return {
            "received": seen["amount_received"],
            "refunded": seen["amount_refunded"],
            "held": seen["amount_capturable"],
        }


class OnPayPal:
    paths = {
        "authorise": "/paypal/v2/checkout/orders",
        "capture": "/paypal/v2/payments/authorizations",
        "cancel": "/paypal/v2/payments/authorizations",
        "refund": "/paypal/v2/payments/captures",
    }

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._gateway = PayPalGateway(
            "sandbox-paypal",
            "sandbox-paypal-secret",
            base=f"{sandbox.url}/paypal",
            webhook_id="WH-SANDBOX",
            return_to="https://shop.example",
            timeout=PATIENCE,
        )
        self.gateway: PaymentGateway = self._gateway

    def close(self) -> None:
        self._gateway.close()

    def start(self, amount: Money, metadata: dict[str, str], key: str) -> ProviderPayment:
        return self.gateway.authorise(AuthorisationRequest(amount, "paypal", metadata, key))

    def agree(self, reference: str) -> None:
        self.sandbox.control(f"/paypal/orders/{reference}/approve", {"result": "success"})

    def refuse(self, reference: str) -> None:
        self.sandbox.control(f"/paypal/orders/{reference}/approve", {"result": "cancel"})

    def held(self, amount: Money, metadata: dict[str, str] | None = None) -> str:
        payment = self.start(amount, metadata or new_metadata(), uuid4().hex)
        assert payment.reference
        self.agree(payment.reference)
        assert self.gateway.complete(payment.reference, uuid4().hex).state is ProviderPaymentStatus.AUTHORISED
        return payment.reference

    def declined(self, amount: Money) -> ProviderPayment:
        payment = self.start(amount, new_metadata(), uuid4().hex)
        assert payment.reference
        self.agree(payment.reference)
        self.sandbox.script({"kind": "decline", "code": "card_declined"}, service="paypal")
        return self.gateway.complete(payment.reference, uuid4().hex)

    def truth(self, reference: str) -> dict[str, int]:
        (seen,) = [one for one in self.sandbox.seen("/paypal/orders") if one["id"] == reference]
        return {
            "received": seen["amount_received"],
            "refunded": seen["amount_refunded"],
            "held": seen["amount_capturable"],
        }


def new_metadata() -> dict[str, str]:
    return {"checkout_id": f"chk_{uuid4().hex}", "attempt": "1", "cart_id": f"cart_{uuid4().hex}"}


def lately() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def usd(amount: int) -> Money:
    return Money.of(amount, "USD")


@pytest.fixture(params=[OnStripe, OnPayPal], ids=["stripe", "paypal"])
def provider(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Any]:
    made = request.param(sandbox)
    yield made
    made.close()


@pytest.fixture
def paypal(sandbox: Sandbox) -> Iterator[OnPayPal]:
    made = OnPayPal(sandbox)
    yield made
    made.close()
