"""The carrier under `/carrier`, and its webhooks.

| call | answer |
| --- | --- |
| `POST /carrier/rates` `{from, to, weight_grams?, lines?}` | `{rates: [{service, price, days}]}` |
| `POST /carrier/labels` `{from, to, service?, reference, weight_grams?, lines?}`, Idempotency-Key | 201, the label |
| `GET /carrier/labels?reference=` · `/carrier/labels/{id}` · `/carrier/labels/{id}/document` | labels · one · text |
| `POST /carrier/labels/{id}/void` | the label; 409 once the parcel is on its way |
| `GET /carrier/tracking/{number}` | `{tracking_number, carrier, status, eta, events: [{id, status, location, at}]}` |

`Authorization: Bearer ck_…`. Refusals are `{"error": {"code", "message"}}`. A repeated Idempotency-Key gets its first
answer, also where that was a 500; with another body it is a 422, while the first one runs a 409.
"""

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs

from sandbox.carrier.parcels import CarrierError, Parcels
from sandbox.clock import Clock
from sandbox.exchange import Call, Request, Response, ScriptedOutcome, as_json
from sandbox.store import Row, Store
from sandbox.stripe_shaped.errors import KeyInUse, StripeError
from sandbox.stripe_shaped.idempotency import Keys, fingerprint
from sandbox.webhooks import Webhooks

WEBHOOK_PATH = "/v1/webhooks/carrier/sandbox"
_LABEL = re.compile(r"/carrier/labels/(?P<id>[^/]+)(?P<rest>/void|/document)?")
_TRACKING = re.compile(r"/carrier/tracking/(?P<number>[^/]+)")


class CarrierService:
    """One carrier that sells labels and reports every parcel by webhook."""

    name = "carrier"

    def __init__(self, store: Store, clock: Clock, webhooks: Webhooks) -> None:
        self.parcels = Parcels(store, clock)
        self.keys = Keys(store, clock, "carrier_keys")
        self._clock = clock
        self._webhooks = webhooks

    def read(self, request: Request) -> Call:
        """Decodes; the metadata is the shop's reference or the tracking number that the call is about."""
        try:
            body = json.loads(request.body or b"{}")
        except ValueError:
            body = None
        params = body if isinstance(body, dict) else {}
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        return Call(self.name, request, params, self._metadata(request, params), idempotency_key=key)

    def _metadata(self, request: Request, params: Row) -> dict[str, str]:
        found = {"reference": params.get("reference")}
        if tracking := _TRACKING.fullmatch(request.path):
            found["tracking_number"] = tracking["number"]
        if label := _LABEL.fullmatch(request.path):
            held = [one for one in self.parcels.labels() if one["id"] == label["id"]]
            found["reference"] = held[0]["reference"] if held else None
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def begin(self, call: Call) -> Response | None:
        """Authenticate, and look the idempotency key up."""
        if call.request.method == "GET" and call.request.path.endswith("/document"):
            return None  # opened in a browser, by the unguessable id of the label
        scheme, _, key = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.startswith("ck_"):
            return _refusal(CarrierError(401, "unauthenticated", "The API key is missing or unknown"))
        if call.idempotency_key is None:
            return None
        try:
            return self.keys.claim(call.idempotency_key, _print(call))
        except KeyInUse as error:
            return _refusal(CarrierError(409, "key_in_use", str(error)))
        except StripeError as error:
            return _refusal(CarrierError(422, "key_reused", str(error)))

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Executes; the response is stored for the key."""
        try:
            answer = self._act(call)
        except CarrierError as error:
            answer = _refusal(error)
        self.remember(call, answer)
        return answer

    def _act(self, call: Call) -> Response:
        request = call.request
        route = f"{request.method} {request.path}"
        if route == "POST /carrier/rates":
            return as_json(200, self.parcels.rates(call.params))
        if route == "POST /carrier/labels":
            return as_json(201, self.parcels.buy(call.params, request.base_url))
        if route == "GET /carrier/labels":
            (reference,) = parse_qs(request.query).get("reference", [None])[:1]
            return as_json(200, {"labels": self.parcels.labels(reference)})
        if request.method == "GET" and (tracking := _TRACKING.fullmatch(request.path)):
            return as_json(200, self.parcels.track(tracking["number"]))
        if label := _LABEL.fullmatch(request.path):
            return self._of_label(request.method, label["id"], label["rest"] or "")
        raise CarrierError(404, "unknown_url", f"There is no {route}")

    def _of_label(self, method: str, label_id: str, rest: str) -> Response:
        ways: dict[tuple[str, str], Callable[[], Response]] = {
            ("GET", ""): lambda: as_json(200, self.parcels.label(label_id)),
            ("POST", "/void"): lambda: as_json(200, self.parcels.void(label_id)),
            ("GET", "/document"): lambda: Response(
                200, self.parcels.document(label_id).encode(), {"content-type": "text/plain; charset=utf-8"}
            ),
        }
        if (method, rest) not in ways:
            raise CarrierError(405, "method_not_allowed", f"{method} is not for this")
        return ways[method, rest]()

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status in the carrier's error format."""
        return _refusal(CarrierError(status, "scripted", f"A script of the sandbox answers {status} here."))

    def remember(self, call: Call, answer: Response) -> None:
        """Stores the response for the key, a 500 too; a 429 comes before the key is looked at."""
        if call.idempotency_key and answer.status != 429:
            self.keys.save(call.idempotency_key, _print(call), answer)

    def end(self, call: Call) -> None:
        """Free the key for repeats."""
        if call.idempotency_key:
            self.keys.release(call.idempotency_key)

    def happen(self, number: str, scan: Row) -> Row:
        """Records an event of a parcel and sends its webhook. Raises CarrierError."""
        event = self.parcels.happen(number, scan)
        body = {
            "id": event.pop("id"),
            "type": f"parcel.{event['status']}",
            "timestamp": self._clock.iso(),
            "data": event,
        }
        self._webhooks.emit(self.name, f"carrier/{number}", WEBHOOK_PATH, json.dumps(body))
        return {**event, "id": body["id"]}


def forge(body: str) -> str:
    """A forged event, which says that the parcel was delivered."""
    event = json.loads(body)
    return json.dumps({**event, "id": f"{event['id']}f", "data": {**event["data"], "status": "delivered"}})


def _print(call: Call) -> str:
    return fingerprint(call.request.method, call.request.path, call.params)


def _refusal(error: CarrierError) -> Response:
    return as_json(error.status, error.body)
