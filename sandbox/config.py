"""Configuration of one sandbox process; every field has a default for development."""

from dataclasses import dataclass
from pathlib import Path

# Fixed test keys: they protect nothing, and every part of a local stack needs them.
SENDGRID_PRIVATE_KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdGsnFaZIKMWRW6PESYkzKoCzaN2cTozgzuNiFpWvIBqhRANCAASwcGT7"
    "+Mhy4qNm5ALejXtO2XAHQF1PFkLWo18PEGobiOUqDh6zuvkQ4ev1sx35NIc2w66AjxgiTkErZur0AGbf"
)

CARRIER_WEBHOOK_SECRET = "whsec_c2FuZGJveC1jYXJyaWVyLXdlYmhvb2stc2VjcmV0"  # noqa: S105 - a published test value

# The event types of a new endpoint; an account subscribes to fewer in the provider's dashboard.
STRIPE_EVENTS = frozenset(
    {
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "payment_intent.canceled",
        "payment_intent.payment_failed",
        "charge.captured",
        "charge.refunded",
        "charge.refund.updated",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "setup_intent.created",
        "setup_intent.requires_action",
        "setup_intent.succeeded",
        "setup_intent.setup_failed",
        "setup_intent.canceled",
    }
)
SENDGRID_EVENTS = frozenset({"processed", "delivered"})
PAYPAL_EVENTS = frozenset(
    {
        "CHECKOUT.ORDER.APPROVED",
        "CHECKOUT.ORDER.VOIDED",
        "PAYMENT.AUTHORIZATION.CREATED",
        "PAYMENT.AUTHORIZATION.VOIDED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.DECLINED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.REFUND.PENDING",
        "PAYMENT.REFUND.FAILED",
        "CUSTOMER.DISPUTE.CREATED",
        "CUSTOMER.DISPUTE.RESOLVED",
    }
)


@dataclass(frozen=True)
class SandboxConfig:
    """Settings of one sandbox process.

    `state`: SQLite file that survives a kill -9, or None for memory only. `webhook_target`: base URL of the shop's API.
    `sendgrid_private_key`: base64 DER PKCS8, prime256v1. `stripe_events`, `sendgrid_events`, `paypal_events`: the types
    that the shop's endpoints are subscribed to. `paypal_webhook_key`: PayPal's own signing key, which it does not
    share.
    """

    state: Path | None = None
    webhook_target: str = "http://127.0.0.1:8000"
    stripe_webhook_secret: str = "whsec_sandbox"  # noqa: S105 - a published test value
    sendgrid_private_key: str = SENDGRID_PRIVATE_KEY
    carrier_webhook_secret: str = CARRIER_WEBHOOK_SECRET
    twilio_auth_token: str = "sandbox"  # noqa: S105 - a published test value
    google_client_id: str = "sandbox-google"
    google_client_secret: str = "sandbox-google-secret"  # noqa: S105 - a published test value
    facebook_client_id: str = "sandbox-facebook"
    facebook_client_secret: str = "sandbox-facebook-secret"  # noqa: S105 - a published test value
    stripe_events: frozenset[str] = STRIPE_EVENTS
    sendgrid_events: frozenset[str] = SENDGRID_EVENTS
    paypal_client_id: str = "sandbox-paypal"
    paypal_client_secret: str = "sandbox-paypal-secret"  # noqa: S105 - a published test value
    paypal_webhook_id: str = "WH-SANDBOX"
    paypal_webhook_key: str = "sandbox-paypal-webhooks"
    paypal_events: frozenset[str] = PAYPAL_EVENTS
