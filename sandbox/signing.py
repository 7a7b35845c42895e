"""Signatures of webhooks, as each provider documents them."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from standardwebhooks import Webhook


def stripe_headers(secret: str, body: str) -> dict[str, str]:
    """`Stripe-Signature: t=…,v1=…`, HMAC-SHA256 over `t.body`. Source: docs.stripe.com/webhooks#verify-manually."""
    at = int(time.time())  # real time: the receiver compares it with its own clock
    digest = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return {"content-type": "application/json; charset=utf-8", "stripe-signature": f"t={at},v1={digest}"}


def sendgrid_key(private_key: str) -> ec.EllipticCurvePrivateKey:
    """Read a base64 DER PKCS8 key (ValueError when it is none, TypeError when it isn't elliptic)."""
    key = load_der_private_key(base64.b64decode(private_key), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("SendGrid signs with an elliptic curve key")
    return key


def sendgrid_headers(key: ec.EllipticCurvePrivateKey, body: str) -> dict[str, str]:
    """ECDSA SHA-256 over timestamp + body. Source: twilio.com/docs/sendgrid, Event Webhook security features."""
    at = str(int(time.time()))
    signature = key.sign((at + body).encode(), ec.ECDSA(hashes.SHA256()))
    return {
        "content-type": "application/json",
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": at,
    }


def twilio_headers(token: str, url: str, body: str) -> dict[str, str]:
    """HMAC-SHA1 over the URL and the sorted form fields. Source: twilio.com/docs/usage/security."""
    fields = sorted(parse_qsl(body, keep_blank_values=True))
    text = url + "".join(name + value for name, value in fields)
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": base64.b64encode(digest).decode(),
    }


def standard_headers(secret: str, body: str) -> dict[str, str]:
    """Standard Webhooks' three headers; the event's own `id` is the message's. Source: standardwebhooks.com."""
    now = datetime.now(UTC)
    message_id = str(json.loads(body)["id"])
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }


def new_key() -> ec.EllipticCurvePrivateKey:
    """A random key, to forge with."""
    return ec.generate_private_key(ec.SECP256R1())
