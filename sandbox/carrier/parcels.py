"""The carrier's data: its labels, and every parcel's tracking events."""

import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.clock import Clock
from sandbox.store import Row, Store

NAME = "sandbox"
STATUSES = (
    "in_transit",
    "out_for_delivery",
    "delivered",
    "exception",
    "refused",
    "lost",
    "returned_to_sender",
)
CURRENCY = "USD"
# Of each service: days and minor units at home and abroad, and minor units for each kilogram begun after the first.
SERVICES = {
    "standard": {"home": (3, 590), "abroad": (7, 1990), "per_kg": 90},
    "express": {"home": (1, 1490), "abroad": (3, 3990), "per_kg": 190},
}
_COUNTRY = re.compile(r"[A-Z]{2}")
_LABEL_FIELDS = {"from", "to", "service", "reference", "weight_grams", "lines"}
_RATE_FIELDS = {"from", "to", "weight_grams", "lines"}


class CarrierError(Exception):
    """An error: `{"error": {"code": …, "message": …}}` with its HTTP status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message}}


class Parcels:
    """Labels by id, parcels by tracking number; a parcel with a label from elsewhere begins with its first event."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._labels = store.table("carrier_labels")
        self._parcels = store.table("carrier_parcels")

    def rates(self, ask: Row) -> Row:
        """Every service for this parcel, the cheapest first. Addresses need a `country` at least."""
        _only(ask, _RATE_FIELDS)
        return {"rates": [self._rate(service, ask) for service in SERVICES]}

    def buy(self, ask: Row, base_url: str) -> Row:
        """A label, ready to print; its parcel can be tracked at once. `reference` is the shop's own."""
        _only(ask, _LABEL_FIELDS)
        service = ask.get("service", "standard")
        if service not in SERVICES:
            raise CarrierError(422, "unknown_service", f"There is no service {service!r}: there are {list(SERVICES)}")
        reference = ask.get("reference")
        if not isinstance(reference, str) or not 1 <= len(reference) <= 100:
            raise CarrierError(422, "bad_reference", "reference must be a string of 1 to 100 characters")
        rate = self._rate(service, ask)
        label_id = f"lbl_{secrets.token_hex(12)}"
        number = f"SBX{secrets.randbelow(10**13):013d}"
        label: Row = {
            "id": label_id,
            "status": "purchased",
            "carrier": NAME,
            "service": service,
            "reference": reference,
            "tracking_number": number,
            "label_url": f"{base_url}/carrier/labels/{label_id}/document",
            "price": rate["price"],
            "eta": self._eta(rate["days"]),
            "created_at": self._clock.iso(),
            "_to": {key: ask["to"].get(key) for key in ("city", "region", "postal_code", "country")},
        }
        self._store.put("carrier_labels", label_id, label)
        self._store.put("carrier_parcels", number, _parcel(number, NAME, label["eta"]))
        return _public(label)

    def label(self, label_id: str) -> Row:
        return _public(self._label(label_id))

    def labels(self, reference: str | None = None) -> list[Row]:
        """Oldest first; with a reference, those that were bought under it, voided ones too."""
        return [_public(label) for label in self._labels.values() if reference in (None, label["reference"])]

    def document(self, label_id: str) -> str:
        """The label's document, as text."""
        label = self._label(label_id)
        to = " ".join(str(part) for part in label["_to"].values() if part)
        return (
            f"{label['carrier'].upper()} {label['service']}\n{label['tracking_number']}\n{to}\n{label['reference']}\n"
        )

    def void(self, label_id: str) -> Row:
        """Voids a label; idempotent. 409 once the parcel is on its way."""
        label = self._label(label_id)
        if self._parcels[label["tracking_number"]]["events"]:
            raise CarrierError(409, "label_in_use", "The parcel is on its way: its label can't be voided")
        label["status"] = "voided"
        self._store.put("carrier_labels", label_id, label)
        return _public(label)

    def track(self, number: str) -> Row:
        """The status of the newest scan, and all scans, oldest first."""
        parcel = self._parcels.get(number)
        if parcel is None:
            raise CarrierError(404, "unknown_parcel", f"Nothing is known about {number}")
        events = sorted(parcel["events"], key=lambda event: datetime.fromisoformat(event["at"]))
        status = events[-1]["status"] if events else "pre_transit"
        return {**parcel, "status": status, "events": events}

    def happen(self, number: str, scan: Row) -> Row:
        """Records an event and returns it. `at` may be in the past: scans reach the carrier late."""
        _only(scan, {"status", "location", "at", "carrier"})
        if scan.get("status") not in STATUSES:
            raise CarrierError(422, "unknown_status", f"status must be one of {list(STATUSES)}")
        if any(label["tracking_number"] == number and label["status"] == "voided" for label in self._labels.values()):
            raise CarrierError(409, "label_voided", "The label of that parcel was voided")
        carrier = scan.get("carrier")
        parcel = self._parcels.get(number) or _parcel(number, str(carrier) if carrier else None, self._eta(3))
        event = {
            "id": f"cev_{secrets.token_hex(12)}",
            "status": scan["status"],
            "location": scan.get("location"),
            "at": _moment(scan["at"]) if scan.get("at") is not None else self._clock.iso(),
        }
        parcel["events"].append(event)
        self._store.put("carrier_parcels", number, parcel)
        return {**event, "tracking_number": number, "carrier": parcel["carrier"], "eta": parcel["eta"]}

    def _label(self, label_id: str) -> Row:
        label = self._labels.get(label_id)
        if label is None:
            raise CarrierError(404, "unknown_label", f"There is no label {label_id}")
        return label

    def _rate(self, service: str, ask: Row) -> Row:
        sender, receiver = _place(ask, "from"), _place(ask, "to")
        weight = ask.get("weight_grams", 500)
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 < weight <= 30_000:
            raise CarrierError(422, "bad_weight", "weight_grams must be from 1 to 30000")
        terms: Any = SERVICES[service]
        days, base = terms["home" if sender["country"] == receiver["country"] else "abroad"]
        price = base + terms["per_kg"] * ((weight - 1) // 1000)
        return {"service": service, "price": {"amount": price, "currency": CURRENCY}, "days": days}

    def _eta(self, days: int) -> str:
        """The estimated delivery as a timestamp: that day's evening, UTC."""
        day = datetime.fromtimestamp(self._clock.now(), UTC).date() + timedelta(days=days)
        return f"{day.isoformat()}T18:00:00Z"


def _parcel(number: str, carrier: str | None, eta: str) -> Row:
    return {"tracking_number": number, "carrier": carrier, "eta": eta, "events": []}


def _only(body: Row, known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise CarrierError(422, "unknown_field", f"There is no field {unknown[0]!r}")


def _place(ask: Row, name: str) -> Row:
    place = ask.get(name)
    if not isinstance(place, dict) or not _COUNTRY.fullmatch(str(place.get("country"))):
        raise CarrierError(422, "bad_address", f"{name} must be an address with a country (ISO 3166-1 alpha-2)")
    return place


def _moment(text: Any) -> str:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise CarrierError(422, "bad_time", "at must be a moment in ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if key[0] != "_"}
