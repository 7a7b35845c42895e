"""The merchant's account at PayPal: its objects and its events."""

import json
import secrets
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.clock import Clock
from sandbox.config import PAYPAL_EVENTS
from sandbox.exchange import ScriptedOutcome
from sandbox.paypal_shaped.errors import Missing
from sandbox.store import Row, Store
from sandbox.webhooks import Webhooks

WEBHOOK_PATH = "/v1/webhooks/paypal"
PARENTS = ("_order", "_authorization", "invoice_id")
KINDS = ("order", "authorization", "capture", "refund", "dispute")
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(slots=True)
class Ask:
    """One API request. `id`: from the path. `bend`: a scripted outcome that alters the effect."""

    id: str
    body: Row
    query: dict[str, str]
    base_url: str
    request_id: str | None = None
    bend: ScriptedOutcome | None = None
    raw: bytes = b""


@dataclass
class Account:
    """Handlers change rows and then `save` them; names that begin with `_` are the sandbox's own."""

    store: Store
    clock: Clock
    webhooks: Webhooks
    subscribed: frozenset[str] = PAYPAL_EVENTS
    _belonging: dict[tuple[str, str, str], dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in KINDS:
            for row in self.rows(kind):
                self._index(row)

    def reset(self) -> None:
        """Called after the store was emptied."""
        self._belonging.clear()

    def _index(self, row: Row) -> None:
        for parent in PARENTS:
            if row.get(parent):
                self._belonging.setdefault((row["_kind"], parent, row[parent]), {})[row["id"]] = None

    @property
    def now(self) -> float:
        return self.clock.now()

    def time(self, at: float | None = None) -> str:
        """RFC 3339 in UTC, to the second."""
        moment = datetime.fromtimestamp(self.now if at is None else at, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def new(self, kind: str, **fields: Any) -> Row:
        """A new object, not yet saved."""
        now = self.time()
        name = "".join(secrets.choice(_ALPHABET) for _ in range(17))
        return {"id": name, "create_time": now, "update_time": now, "_kind": kind, "_at": self.now, **fields}

    def save(self, row: Row) -> Row:
        """Keep a new or changed object."""
        row["update_time"] = self.time()
        self.store.put(f"paypal_{row['_kind']}", row["id"], row)
        self._index(row)
        return row

    def find(self, kind: str, name: str) -> Row | None:
        """One object, or None."""
        return self.store.get(f"paypal_{kind}", name)

    def get(self, kind: str, name: str) -> Row:
        """One object. Raises Missing."""
        row = self.find(kind, name)
        if row is None:
            raise Missing()
        return row

    def rows(self, kind: str) -> list[Row]:
        """All objects of a kind, oldest first."""
        return list(self.store.table(f"paypal_{kind}").values())

    def of(self, kind: str, parent: str, name: str) -> list[Row]:
        """The objects of a kind that belong to another, oldest first: `of("capture", "_order", "8AB…")`."""
        return [self.get(kind, found) for found in self._belonging.get((kind, parent, name), {})]

    def emit(self, event_type: str, resource_type: str, resource: Row, order_id: str) -> None:
        """Send an event about an object as it is now, if the shop's endpoint is subscribed.

        Events about one order travel in order: they share its lane.
        """
        if event_type not in self.subscribed:
            return
        event: Row = {
            "id": f"WH-{secrets.token_hex(9).upper()}-{secrets.token_hex(9).upper()}",
            "event_version": "1.0",
            "create_time": self.time(),
            "resource_type": resource_type,
            "resource_version": "2.0",
            "event_type": event_type,
            "summary": f"{event_type} for {resource.get('id') or resource.get('dispute_id')}",
            "resource": resource,
            "links": [],
        }
        self.webhooks.emit("paypal", f"paypal/{order_id}", WEBHOOK_PATH, json.dumps(event))


def shown(row: Row) -> Row:
    """An object without the sandbox's own fields."""
    return {name: value for name, value in row.items() if not name.startswith("_") and value is not None}


def related(**ids: str) -> Row:
    """The ids of related objects, as PayPal's `supplementary_data` has them."""
    return {"related_ids": ids}
