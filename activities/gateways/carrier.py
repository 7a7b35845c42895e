"""The parcel carrier: rates, labels, tracking, and webhooks that are signed by Standard Webhooks.

Its HTTP API is the sandbox's (sandbox/carrier/service.py); a real carrier needs an adapter with that API.
Labels carry an Idempotency-Key and our reference: an unknown outcome is searched by it before a retry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout
from standardwebhooks import Webhook, WebhookVerificationError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from models.errors import (
    BadRequest,
    BadSignature,
    HoldfastError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
)
from models.orders.parcels import CARRIER_STATUSES, CarrierEvent, Label, Rate, Stop
from runtime.settings import Settings
from runtime.tracing import trace_context

Json = dict[str, Any]


class CarrierGateway:
    """One carrier; answers within `timeout` seconds.

    Raises ProviderUnavailable (nothing happened), OutcomeUnknown, or InvalidRequest (refused for good).
    """

    name = "sandbox"

    def __init__(self, api_key: str, *, base: str, webhook_secret: str, timeout: float = 4.0) -> None:
        self._base = base.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._timeout = (1.0, timeout)
        self._http = requests.Session()
        self._webhook = Webhook(webhook_secret)

    @classmethod
    def of(cls, settings: Settings) -> CarrierGateway | None:
        """None if the settings name no carrier."""
        if not settings.carrier_base:
            return None
        return cls(
            settings.carrier_api_key.get_secret_value(),
            base=settings.carrier_base,
            webhook_secret=settings.carrier_webhook_secret.get_secret_value(),
        )

    def close(self) -> None:
        self._http.close()

    def rates(self, sender: Stop, receiver: Stop) -> list[Rate]:
        """The rates of every service between the two, in the carrier's order."""
        found = self._call("POST", "/rates", {"from": _place(sender), "to": _place(receiver)})
        with _reading():
            return [Rate.model_validate(rate) for rate in found["rates"]]

    def buy_label(self, reference: str, service: str, sender: Stop, receiver: Stop, *, keys: Iterable[str]) -> Label:
        """Buys one label for `reference`: idempotent under the same sequence of keys (idempotency_keys.py)."""
        body = {"from": _place(sender), "to": _place(receiver), "service": service, "reference": reference}
        for key in keys:
            try:
                bought = self._call("POST", "/labels", body, key=key)
                with _reading():
                    return _label(bought)
            except OutcomeUnknown as error:
                if not error.extra.get("answered"):
                    raise
            held = self.search_label(reference)
            if held is not None:
                return held
        raise OutcomeUnknown("The carrier keeps answering with errors")

    def search_label(self, reference: str) -> Label | None:
        """The label that was bought under our reference and is not voided, or None."""
        found = self._call("GET", f"/labels?reference={quote(reference, safe='')}")
        with _reading():
            return next((_label(label) for label in found["labels"] if label["status"] == "purchased"), None)

    def void_label(self, label_id: str) -> None:
        """Idempotent. Raises InvalidRequest if the parcel is in transit."""
        self._call("POST", f"/labels/{quote(label_id, safe='')}/void", {})

    def track(self, tracking_number: str) -> list[CarrierEvent] | None:
        """The carrier events of a parcel, oldest first; None if the carrier doesn't know the number."""
        try:
            parcel = self._call("GET", f"/tracking/{quote(tracking_number, safe='')}")
        except NotFound:
            return None
        with _reading():
            return [
                carrier_event
                for event in parcel["events"]
                if (carrier_event := _event({**parcel, **event})) is not None
            ]

    def event(self, body: bytes, headers: Mapping[str, str]) -> CarrierEvent | None:
        """Verifies and reads a webhook; None if it is not a tracking event.

        Raises BadSignature unless the carrier signed exactly these bytes within five minutes; BadRequest for a
        signed body of another shape.
        """
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:  # not base64, not UTF-8, not in parts
            raise BadSignature() from error
        try:
            event = json.loads(body)
            if not str(event["type"]).startswith("parcel."):
                return None
            return _event({**event["data"], "id": event["id"]})
        except (ValueError, TypeError, KeyError) as error:
            raise BadRequest("The body is not a carrier's event") from error

    def _call(self, method: str, path: str, body: Json | None = None, *, key: str | None = None) -> Json:
        headers = {**self._headers, **(trace_context() or {}), **({"Idempotency-Key": key} if key else {})}
        try:
            answer = self._http.request(
                method, f"{self._base}/carrier{path}", json=body, headers=headers, timeout=self._timeout
            )
            if answer.status_code < 400:
                found = answer.json()
                if isinstance(found, dict):
                    return found
        except requests.RequestException as error:
            raise (ProviderUnavailable() if _never_sent(error) else OutcomeUnknown()) from error
        raise _domain_error_of(answer)


@contextmanager
def _reading() -> Iterator[None]:
    """An answer of another shape leaves the outcome unknown."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise OutcomeUnknown("The carrier's answer can't be read") from error


def _domain_error_of(answer: requests.Response) -> HoldfastError:
    status = answer.status_code
    if status in (401, 403, 429):
        return ProviderUnavailable(f"The carrier answered {status}")
    if status == 404:
        return NotFound("The carrier answered 404")
    if _code(answer) == "key_in_use":
        return OutcomeUnknown("An earlier request with this key is still running at the carrier")
    if 400 <= status < 500:
        return InvalidRequest(f"The carrier refused it: {_code(answer)}")
    return OutcomeUnknown(f"The carrier answered {status}", answered=True)


def _code(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])[:100]
    except (ValueError, TypeError, KeyError):
        return str(answer.status_code)


def _never_sent(error: requests.RequestException) -> bool:
    """True when no connection was made, so not a byte of the request left."""
    if isinstance(error, ConnectTimeout):
        return True
    if isinstance(error, RequestsConnectionError) and error.args:
        reason = error.args[0].reason if isinstance(error.args[0], MaxRetryError) else error.args[0]
        return isinstance(reason, NewConnectionError)
    return False


def _place(stop: Stop) -> Json:
    return stop.model_dump(exclude_none=True)


def _label(found: Json) -> Label:
    return Label(
        id=found["id"],
        carrier=found["carrier"],
        tracking_number=found["tracking_number"],
        url=found["label_url"],
        eta=_moment(found.get("eta")),
    )


def _event(found: Json) -> CarrierEvent | None:
    """None for a status that is not about transit. Raises ValueError (pydantic's is one), TypeError, KeyError."""
    if found["status"] not in CARRIER_STATUSES:
        return None
    location = found.get("location")
    return CarrierEvent(
        id=found["id"],
        tracking_number=found["tracking_number"],
        carrier=found.get("carrier"),
        status=found["status"],
        at=_moment(found["at"]),
        location=None if location is None else str(location)[:200],
        eta=_moment(found.get("eta")),
    )


def _moment(text: Any) -> datetime | None:
    """Raises ValueError."""
    if text is None:
        return None
    moment = datetime.fromisoformat(str(text))
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error
