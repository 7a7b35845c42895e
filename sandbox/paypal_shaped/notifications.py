"""Webhooks as PayPal signs them, and the call that verifies them.

The signed text is PayPal's: `transmission id|time|webhook id|crc32 of the raw body` (developer.paypal.com/api/rest/
webhooks/rest/#verify-webhook-signature). The original signs it with RSA; this one with an HMAC of its own key, since
receivers verify it here.
"""

import base64
import hashlib
import hmac
import json
import re
import uuid
import zlib
from datetime import UTC, datetime
from typing import Any

from sandbox.paypal_shaped.account import Account, Ask
from sandbox.paypal_shaped.errors import BadRequest
from sandbox.store import Row

ALGORITHM = "SHA256withRSA"
_FIELDS = ("auth_algo", "cert_url", "transmission_id", "transmission_sig", "transmission_time", "webhook_id")
_EVENT = re.compile(rb'"webhook_event"\s*:\s*')


def signature(key: str, transmission: str, at: str, webhook_id: str, body: bytes) -> str:
    """Of one transmission, in base64."""
    text = f"{transmission}|{at}|{webhook_id}|{zlib.crc32(body)}"
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def headers(key: str, webhook_id: str, base_url: str, body: str) -> dict[str, str]:
    """PayPal's headers of one transmission, now: real time, since the receiver compares it with its own clock."""
    transmission = str(uuid.uuid4())
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "content-type": "application/json",
        "paypal-auth-algo": ALGORITHM,
        "paypal-cert-url": f"{base_url}/v1/notifications/certs/CERT-sandbox",
        "paypal-transmission-id": transmission,
        "paypal-transmission-sig": signature(key, transmission, at, webhook_id, body.encode()),
        "paypal-transmission-time": at,
    }


class Verifier:
    """POST /v1/notifications/verify-webhook-signature: SUCCESS only for what was signed here, to the byte."""

    def __init__(self, key: str, webhook_id: str) -> None:
        self._key = key
        self._webhook_id = webhook_id

    def verify(self, account: Account, ask: Ask) -> tuple[int, Row]:
        """Raises BadRequest when a field is missing."""
        for name in (*_FIELDS, "webhook_event"):
            if name not in ask.body:
                raise BadRequest("MISSING_REQUIRED_PARAMETER", field=f"/{name}")
        given: dict[str, str] = {name: str(ask.body[name]) for name in _FIELDS}
        wanted = signature(
            self._key, given["transmission_id"], given["transmission_time"], self._webhook_id, _raw_event(ask.raw)
        )
        right = given["webhook_id"] == self._webhook_id and given["auth_algo"] == ALGORITHM
        good = right and hmac.compare_digest(wanted, given["transmission_sig"])
        return 200, {"verification_status": "SUCCESS" if good else "FAILURE"}


def _raw_event(raw: bytes) -> bytes:
    """The exact bytes of the event in the request: parsed and serialised again, they would have another checksum."""
    found = _EVENT.search(raw)
    if found is None:
        return b""
    text = raw[found.end() :].decode("utf-8", "replace")
    _, end = json.JSONDecoder().raw_decode(text)
    return text[:end].encode()


def forge(body: str) -> str:
    """A forged event, which says that everything was paid."""
    event: Any = json.loads(body)
    event["id"] = f"WH-{uuid.uuid4().hex.upper()}"
    event["event_type"] = "PAYMENT.CAPTURE.COMPLETED"
    event["resource"]["status"] = "COMPLETED"
    return json.dumps(event)
