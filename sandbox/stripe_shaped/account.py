"""The merchant's account at the provider: its objects, its events, its money."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sandbox.clock import Clock
from sandbox.config import STRIPE_EVENTS
from sandbox.exchange import ScriptedOutcome
from sandbox.store import Row, Store
from sandbox.stripe_shaped.errors import Missing
from sandbox.stripe_shaped.money import convert
from sandbox.stripe_shaped.shapes import render
from sandbox.webhooks import Webhooks

API_VERSION = "2026-10-28.endive"
EVENTS_KEPT = 20_000  # `/v1/events` forgets the oldest beyond this (Stripe: after 30 days)
WEBHOOK_PATH = "/v1/webhooks/stripe"

PREFIXES = {
    "payment_intent": "pi",
    "setup_intent": "seti",
    "charge": "ch",
    "refund": "re",
    "customer": "cus",
    "payment_method": "pm",
    "dispute": "du",
    "balance_transaction": "txn",
    "event": "evt",
}
KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}


@dataclass(slots=True)
class Ask:
    """One validated API request. `ids`: from the path. `bend`: a scripted outcome that alters the effect."""

    ids: tuple[str, ...]
    params: Row
    base_url: str = ""
    api_version: str = API_VERSION
    bend: ScriptedOutcome | None = None

    @property
    def id(self) -> str:
        """The object that the path names."""
        return self.ids[0]


@dataclass
class Account:
    """All that one API key sees. Handlers change rows and then `save` them.

    `subscribed`: the event types sent to the shop's endpoint; every other is only listed at /v1/events.
    """

    store: Store
    clock: Clock
    webhooks: Webhooks
    subscribed: frozenset[str] = STRIPE_EVENTS
    request_id: str | None = None
    idempotency_key: str | None = None
    # Ids in order of creation; a dict serves as an ordered set.
    _by_customer: dict[str, dict[str, None]] = field(default_factory=dict)
    _by_metadata: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows("payment_intent"):
            self.index(row)

    def reset(self) -> None:
        """Follow the store, which has been cleared."""
        self._by_customer.clear()
        self._by_metadata.clear()

    @property
    def now(self) -> int:
        """Whole seconds since the epoch, by the provider's clock."""
        return int(self.clock.now())

    def new(self, kind: str, **fields: Any) -> Row:
        """A new object with its id and moment of creation; not kept before `save`."""
        object_id = f"{PREFIXES[kind]}_{secrets.token_hex(12)}"
        return {"id": object_id, "object": kind, "created": self.now, **fields}

    def rows(self, kind: str) -> list[Row]:
        """All objects of a kind, oldest first."""
        return list(self.store.table(kind).values())

    def newest(self, kind: str) -> Iterator[Row]:
        """All objects of a kind, newest first."""
        return reversed(self.store.table(kind).values())

    def find(self, kind: str, object_id: str) -> Row | None:
        """One object, or None."""
        return self.store.get(kind, object_id)

    def get(self, kind: str, object_id: str, param: str = "id") -> Row:
        """One object. Raises Missing."""
        row = self.store.get(kind, object_id)
        if row is None:
            raise Missing(kind, object_id, param)
        return row

    def save(self, row: Row) -> Row:
        """Keep a new or changed object."""
        self.store.put(row["object"], row["id"], row)
        return row

    def index(self, intent: Row) -> None:
        """Make a PaymentIntent findable by customer and metadata; call it when either has changed."""
        if intent.get("customer"):
            self._by_customer.setdefault(intent["customer"], {})[intent["id"]] = None
        for pair in intent["metadata"].items():
            self._by_metadata.setdefault(pair, {})[intent["id"]] = None

    def intents_of(self, customer: str) -> list[Row]:
        """A customer's PaymentIntents, newest first."""
        return [self.get("payment_intent", name) for name in reversed(self._by_customer.get(customer, {}))]

    def intents_with(self, key: str, value: str) -> list[Row]:
        """PaymentIntents that carry or once carried this metadata, newest first."""
        found = self._by_metadata.get((key, value), {})
        return [self.get("payment_intent", name) for name in reversed(found)]

    def emit(self, event_type: str, row: Row, **previous: Any) -> None:
        """Record an event about an object as it is now, and send it to the shop if it is subscribed.

        Events about one payment travel in order: they share the payment's lane.
        """
        data: Row = {"object": render(row)}
        if previous:
            data["previous_attributes"] = previous
        event = self.new("event", type=event_type)
        body = {
            **event,
            "api_version": API_VERSION,
            "data": data,
            "livemode": False,
            "pending_webhooks": int(event_type in self.subscribed),
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
        }
        event["_body"] = json.dumps(body)  # kept as text: an event never changes, and text is smaller
        self.save(event)
        if event_type in self.subscribed:
            lane = row.get("payment_intent") or row["id"]
            self.webhooks.emit("stripe", f"stripe/{lane}", WEBHOOK_PATH, event["_body"])
        events = self.store.table("event")
        if len(events) >= EVENTS_KEPT + 1_000:
            for key in list(islice(events, 1_000)):
                self.store.drop("event", key)

    def set_settlement_currency(self, currency: str | None, rates: dict[str, float]) -> None:
        """Settles charges of the currencies in `rates` in another one; None: each in its own, as at the start."""
        self.store.put("settings", "settlement", {"currency": currency, "rates": rates})

    def conversion_of(self, currency: str) -> tuple[str, float | None]:
        """The currency that a charge of `currency` is settled in, and the rate; no rate: it isn't converted."""
        held = self.store.get("settings", "settlement") or {"currency": None, "rates": {}}
        rate = held["rates"].get(currency)
        return (currency, None) if rate is None or held["currency"] == currency else (held["currency"], rate)

    def book(self, kind: str, source: Row, amount: int, fee: int) -> str:
        """Enter a balance transaction (signed minor units of the source's currency) and return its id.

        It is in the currency that the account settles in, with the rate of the conversion.
        """
        currency, rate = self.conversion_of(source["currency"])
        if rate is not None:
            amount, fee = (convert(value, source["currency"], currency, rate) for value in (amount, fee))
        entry = self.new(
            "balance_transaction",
            amount=amount,
            available_on=self.now + 2 * 86_400,
            currency=currency,
            exchange_rate=rate,
            fee=fee,
            fee_details=_fee_details(fee, currency),
            net=amount - fee,
            reporting_category="dispute" if source["object"] == "dispute" else kind,
            source=source["id"],
            status="pending",
            type=kind,
        )
        return str(self.save(entry)["id"])


def _fee_details(fee: int, currency: str) -> list[Row]:
    if not fee:
        return []
    detail = {"amount": fee, "application": None, "currency": currency, "description": "Stripe processing fees"}
    return [{**detail, "type": "stripe_fee"}]
