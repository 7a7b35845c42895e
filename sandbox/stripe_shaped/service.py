"""Stripe as one service: authentication, routes, idempotency and Stripe's responses."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.exchange import Call, Request, Response, ScriptedOutcome, nest
from sandbox.store import Row
from sandbox.stripe_shaped import (
    customers,
    disputes,
    parameters,
    payment_intents,
    payment_methods,
    records,
    refunds,
    setup_intents,
)
from sandbox.stripe_shaped.account import API_VERSION, KINDS, Account, Ask
from sandbox.stripe_shaped.errors import Scripted, StripeError, Unauthenticated, UnknownUrl
from sandbox.stripe_shaped.idempotency import Keys, fingerprint
from sandbox.stripe_shaped.listing import expand
from sandbox.stripe_shaped.schema import Schema

Handler = Callable[[Account, Ask], Row]
_DECLINE = frozenset({"decline"})
_REFUND = frozenset({"refund_status"})


@dataclass(frozen=True)
class Endpoint:
    """One route: its handler, its parameters, and the scripted outcomes that apply to it."""

    handle: Handler
    schema: Schema
    bends: frozenset[str] = frozenset()


_ENDPOINTS = {
    "POST payment_intents": Endpoint(payment_intents.create, parameters.PAYMENT_INTENT_CREATE, _DECLINE),
    "GET payment_intents": Endpoint(payment_intents.list_all, parameters.PAYMENT_INTENT_LIST),
    "GET payment_intents/search": Endpoint(payment_intents.search, parameters.SEARCH),
    "GET payment_intents/*": Endpoint(payment_intents.retrieve, parameters.PAYMENT_INTENT_RETRIEVE),
    "POST payment_intents/*": Endpoint(payment_intents.update, parameters.PAYMENT_INTENT_UPDATE),
    "POST payment_intents/*/confirm": Endpoint(payment_intents.confirm, parameters.PAYMENT_INTENT_CONFIRM, _DECLINE),
    "POST payment_intents/*/capture": Endpoint(payment_intents.capture, parameters.PAYMENT_INTENT_CAPTURE, _DECLINE),
    "POST payment_intents/*/cancel": Endpoint(payment_intents.cancel, parameters.PAYMENT_INTENT_CANCEL),
    "POST setup_intents": Endpoint(setup_intents.create, parameters.SETUP_INTENT_CREATE, _DECLINE),
    "GET setup_intents": Endpoint(setup_intents.list_all, parameters.SETUP_INTENT_LIST),
    "GET setup_intents/*": Endpoint(setup_intents.retrieve, parameters.PAYMENT_INTENT_RETRIEVE),
    "POST setup_intents/*": Endpoint(setup_intents.update, parameters.SETUP_INTENT_UPDATE),
    "POST setup_intents/*/confirm": Endpoint(setup_intents.confirm, parameters.SETUP_INTENT_CONFIRM, _DECLINE),
    "POST setup_intents/*/cancel": Endpoint(setup_intents.cancel, parameters.SETUP_INTENT_CANCEL),
    "POST customers": Endpoint(customers.create, parameters.CUSTOMER_CREATE),
    "GET customers": Endpoint(customers.list_all, parameters.CUSTOMER_LIST),
    "GET customers/search": Endpoint(customers.search, parameters.SEARCH),
    "GET customers/*": Endpoint(customers.retrieve, parameters.NOTHING),
    "POST customers/*": Endpoint(customers.update, parameters.CUSTOMER_UPDATE),
    "DELETE customers/*": Endpoint(customers.delete, parameters.NOTHING),
    "GET customers/*/payment_methods": Endpoint(payment_methods.list_of_customer, parameters.PAYMENT_METHOD_LIST),
    "GET customers/*/payment_methods/*": Endpoint(payment_methods.retrieve_of_customer, parameters.NOTHING),
    "POST payment_methods": Endpoint(payment_methods.create, parameters.PAYMENT_METHOD_CREATE),
    "GET payment_methods": Endpoint(payment_methods.list_all, parameters.PAYMENT_METHOD_LIST),
    "GET payment_methods/*": Endpoint(payment_methods.retrieve, parameters.NOTHING),
    "POST payment_methods/*": Endpoint(payment_methods.update, parameters.PAYMENT_METHOD_UPDATE),
    "POST payment_methods/*/attach": Endpoint(payment_methods.attach, parameters.PAYMENT_METHOD_ATTACH),
    "POST payment_methods/*/detach": Endpoint(payment_methods.detach, parameters.NOTHING),
    "POST refunds": Endpoint(refunds.create, parameters.REFUND_CREATE, _REFUND),
    "GET refunds": Endpoint(refunds.list_all, parameters.BY_PAYMENT_LIST),
    "GET refunds/*": Endpoint(refunds.retrieve, parameters.NOTHING),
    "POST refunds/*": Endpoint(refunds.update, parameters.REFUND_UPDATE),
    "POST refunds/*/cancel": Endpoint(refunds.cancel, parameters.NOTHING),
    "GET charges": Endpoint(records.list_charges, parameters.CHARGE_LIST),
    "GET charges/*": Endpoint(records.retrieve_charge, parameters.NOTHING),
    "POST charges/*": Endpoint(records.update_charge, parameters.CHARGE_UPDATE),
    "GET disputes": Endpoint(disputes.list_all, parameters.BY_PAYMENT_LIST),
    "GET disputes/*": Endpoint(disputes.retrieve, parameters.NOTHING),
    "POST disputes/*": Endpoint(disputes.update, parameters.DISPUTE_UPDATE),
    "POST disputes/*/close": Endpoint(disputes.close, parameters.NOTHING),
    "GET events": Endpoint(records.list_events, parameters.EVENT_LIST),
    "GET events/*": Endpoint(records.retrieve_event, parameters.NOTHING),
    "GET balance_transactions": Endpoint(records.list_entries, parameters.BALANCE_LIST),
    "GET balance_transactions/*": Endpoint(records.retrieve_entry, parameters.NOTHING),
}


@dataclass(slots=True)
class StripeCall(Call):
    """A call with its route and decoded parameters."""

    raw: Row = field(default_factory=dict)
    endpoint: Endpoint | None = None
    ids: tuple[str, ...] = ()
    fingerprint: str = ""
    request_id: str = ""


class StripeService:
    """The provider under `/v1`."""

    name = "stripe"

    def __init__(self, account: Account) -> None:
        self.account = account
        self.keys = Keys(account.store, account.clock)

    def read(self, request: Request) -> StripeCall:
        """Decodes, routes, and finds the metadata that scripts match."""
        raw = nest(request.pairs())
        endpoint, ids = _route(request.method, request.path)
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        seen = endpoint.schema.glimpse(raw) if endpoint else raw
        return StripeCall(
            service=self.name,
            request=request,
            params=seen,
            metadata=self._metadata(request.method, ids, seen),
            idempotency_key=key,
            bends=_bends(endpoint, seen),
            raw=raw,
            endpoint=endpoint,
            ids=ids,
            fingerprint=fingerprint(request.method, request.path, raw) if key else "",
            request_id=f"req_{secrets.token_hex(7)}",
        )

    def _metadata(self, method: str, ids: tuple[str, ...], params: Row) -> dict[str, str]:
        """The call's metadata over that of the object which it changes, so that a script can match a capture."""
        given = params.get("metadata")
        own = {key: str(value) for key, value in given.items()} if isinstance(given, dict) else {}
        if method == "GET":
            return own
        target = ids[0] if ids else str(params.get("payment_intent") or params.get("charge") or "")
        row = self.account.find(KINDS.get(target.split("_", 1)[0], ""), target)
        return {**row.get("metadata", {}), **own} if row else own

    def begin(self, call: Call) -> Response | None:
        """Authenticate and look the idempotency key up."""
        assert isinstance(call, StripeCall)
        try:
            _authenticate(call.request)
            if call.idempotency_key is None:
                return None
            return self.keys.claim(call.idempotency_key, call.fingerprint)
        except StripeError as error:
            return self._answer(call, error.status, error.body)

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Validates and executes; the response is saved for the key unless validation failed."""
        assert isinstance(call, StripeCall)
        saved = True
        try:
            answer = self._answer(call, 200, self._act(call, bend))
        except StripeError as error:
            saved = error.saved
            answer = self._answer(call, error.status, error.body)
        if saved and call.idempotency_key:
            self.keys.save(call.idempotency_key, call.fingerprint, answer)
        return answer

    def _act(self, call: StripeCall, bend: ScriptedOutcome | None) -> Row:
        if call.endpoint is None:
            raise UnknownUrl(call.request.method, call.request.path)
        params = call.endpoint.schema.read(call.raw)
        paths = params.pop("expand", [])
        version = call.request.headers.get("stripe-version", API_VERSION)
        ask = Ask(call.ids, params, call.request.base_url, version, bend)
        self.account.request_id = call.request_id
        self.account.idempotency_key = call.idempotency_key
        try:
            return expand(self.account, call.endpoint.handle(self.account, ask), paths)
        finally:
            self.account.request_id = self.account.idempotency_key = None

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status as an `api_error` or, below 500, an `invalid_request_error`."""
        assert isinstance(call, StripeCall)
        error = Scripted(status)
        answer = self._answer(call, status, error.body)
        if status >= 500 and call.idempotency_key:
            answer.headers["stripe-should-retry"] = "false"  # a repeat would only get this response again
        return answer

    def remember(self, call: Call, answer: Response) -> None:
        """Save a scripted 500 for the key, as Stripe does; a 429 or its like comes before execution."""
        assert isinstance(call, StripeCall)
        if call.idempotency_key and answer.status >= 500:
            self.keys.save(call.idempotency_key, call.fingerprint, answer)

    def end(self, call: Call) -> None:
        """Free the key for repeats."""
        if call.idempotency_key:
            self.keys.release(call.idempotency_key)

    def _answer(self, call: StripeCall, status: int, body: Row) -> Response:
        headers = {
            "content-type": "application/json",
            "request-id": call.request_id,
            "stripe-version": call.request.headers.get("stripe-version", API_VERSION),
        }
        if call.idempotency_key:
            headers["idempotency-key"] = call.idempotency_key
        return Response(status, json.dumps(body).encode(), headers)


def _route(method: str, path: str) -> tuple[Endpoint | None, tuple[str, ...]]:
    """The endpoint of `/v1/…` and the ids in the path."""
    parts = path.removeprefix("/v1/").split("/")
    if parts[1:] == ["search"]:
        return _ENDPOINTS.get(f"{method} {parts[0]}/search"), ()
    pattern = "/".join("*" if place % 2 else part for place, part in enumerate(parts))
    return _ENDPOINTS.get(f"{method} {pattern}"), tuple(parts[1::2])


def _bends(endpoint: Endpoint | None, params: Row) -> frozenset[str]:
    """The scripted outcomes that apply; creating an intent without confirming it charges nothing."""
    if endpoint is None:
        return frozenset()
    creating = endpoint.handle in (payment_intents.create, setup_intents.create)
    return frozenset() if creating and params.get("confirm") is not True else endpoint.bends


def _authenticate(request: Request) -> None:
    """Accept any test secret key, as bearer or as basic user name. Raises Unauthenticated."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credentials = base64.b64decode(credentials).decode().partition(":")[0]
        except ValueError:
            credentials = ""
    if not credentials:
        raise Unauthenticated("You did not provide an API key.")
    if not credentials.startswith("sk_test_"):
        raise Unauthenticated(f"Invalid API Key provided: {credentials[:8]}****")
