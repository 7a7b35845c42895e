"""The configured payment providers, by name."""

from __future__ import annotations

from activities.gateways.circuit_breaker import guarded
from activities.gateways.payments import PaymentGateway
from activities.gateways.paypal.payments import PayPalGateway
from activities.gateways.stripe.payments import StripeGateway
from runtime.settings import Settings


def payment_gateways(settings: Settings) -> dict[str, PaymentGateway]:
    """Call once per process: each gateway has a circuit breaker. Without a client id PayPal is off."""
    gateways: dict[str, PaymentGateway] = {
        StripeGateway.name: StripeGateway(
            settings.stripe_api_key.get_secret_value(),
            base=settings.stripe_base,
            webhook_secret=settings.stripe_webhook_secret.get_secret_value(),
        )
    }
    if settings.paypal_client_id:
        gateways[PayPalGateway.name] = PayPalGateway(
            settings.paypal_client_id,
            settings.paypal_client_secret.get_secret_value(),
            base=settings.paypal_base,
            webhook_id=settings.paypal_webhook_id,
            return_to=settings.storefront_url,
        )
    return guarded(gateways)
