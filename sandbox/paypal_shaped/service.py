"""PayPal as one service under `/paypal`: access tokens, routes, request ids and PayPal's answers."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from sandbox.config import SandboxConfig
from sandbox.exchange import Call, Request, Response, ScriptedOutcome
from sandbox.paypal_shaped import authorisations, disputes, orders, refunds, reporting
from sandbox.paypal_shaped.account import Account, Ask
from sandbox.paypal_shaped.errors import BadRequest, Missing, PayPalError, Scripted, Unauthenticated
from sandbox.paypal_shaped.keys import Keys
from sandbox.paypal_shaped.notifications import Verifier
from sandbox.store import Row

Handler = Callable[[Account, Ask], tuple[int, Row]]
ROOT = "/paypal"
TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 - a path
TOKEN_LIVES = 32_400  # seconds
_DECLINE = frozenset({"decline"})
_REFUND = frozenset({"refund_status"})


@dataclass(frozen=True)
class Endpoint:
    """One route: its handler, the kind of object that its id names, and the scripted outcomes that apply to it."""

    handle: Handler
    kind: str = ""
    bends: frozenset[str] = frozenset()


def _endpoints(verifier: Verifier) -> dict[str, Endpoint]:
    return {
        "POST /v2/checkout/orders": Endpoint(orders.create),
        "GET /v2/checkout/orders/*": Endpoint(orders.retrieve, "order"),
        "POST /v2/checkout/orders/*/authorize": Endpoint(orders.authorise, "order", _DECLINE),
        "GET /v2/payments/authorizations/*": Endpoint(authorisations.retrieve, "authorization"),
        "POST /v2/payments/authorizations/*/capture": Endpoint(authorisations.capture, "authorization", _DECLINE),
        "POST /v2/payments/authorizations/*/void": Endpoint(authorisations.void, "authorization"),
        "POST /v2/payments/authorizations/*/reauthorize": Endpoint(authorisations.reauthorise, "authorization"),
        "GET /v2/payments/captures/*": Endpoint(refunds.retrieve_capture, "capture"),
        "POST /v2/payments/captures/*/refund": Endpoint(refunds.create, "capture", _REFUND),
        "GET /v2/payments/refunds/*": Endpoint(refunds.retrieve, "refund"),
        "GET /v1/customer/disputes/*": Endpoint(disputes.retrieve, "dispute"),
        "GET /v1/reporting/transactions": Endpoint(reporting.search),
        "POST /v1/notifications/verify-webhook-signature": Endpoint(verifier.verify),
    }


@dataclass(slots=True)
class PayPalCall(Call):
    """A call with its route and decoded parameters."""

    path: str = ""
    body: Row = field(default_factory=dict)
    malformed: bool = False
    endpoint: Endpoint | None = None
    id: str = ""


class PayPalService:
    """The provider under `/paypal`."""

    name = "paypal"

    def __init__(self, account: Account, config: SandboxConfig) -> None:
        self.account = account
        self.keys = Keys(account.store, account.clock)
        self._client = (config.paypal_client_id, config.paypal_client_secret)
        self._endpoints = _endpoints(Verifier(config.paypal_webhook_key, config.paypal_webhook_id))

    def read(self, request: Request) -> PayPalCall:
        """Decodes, routes, and finds the call's object."""
        path = request.path.removeprefix(ROOT)
        endpoint, name = self._route(request.method, path)
        body, malformed = _decode(request, path)
        return PayPalCall(
            service=self.name,
            request=request,
            params=body or dict(parse_qsl(request.query)),
            metadata=self._metadata(endpoint, name, body),
            idempotency_key=request.headers.get("paypal-request-id") if request.method == "POST" else None,
            bends=endpoint.bends if endpoint else frozenset(),
            path=path,
            body=body,
            malformed=malformed,
            endpoint=endpoint,
            id=name,
        )

    def _route(self, method: str, path: str) -> tuple[Endpoint | None, str]:
        parts = path.strip("/").split("/")
        exact = self._endpoints.get(f"{method} {path}")
        if exact or len(parts) < 4:
            return exact, ""
        name, parts[3] = parts[3], "*"
        return self._endpoints.get(f"{method} /{'/'.join(parts)}"), name

    def _metadata(self, endpoint: Endpoint | None, name: str, body: Row) -> dict[str, str]:
        """The ids in the order that the call is about, by PayPal's names and by the shop's.

        PayPal has no metadata: the cart is the `reference_id`, the checkout and its attempt are the `custom_id`.
        """
        unit: Any = None
        if endpoint and endpoint.kind:
            row = self.account.find(endpoint.kind, name) or {}
            order = self.account.find("order", row.get("_order", name))
            unit = order["_unit"] if order else None
        elif isinstance(body.get("purchase_units"), list) and body["purchase_units"]:
            unit = body["purchase_units"][0]
        return shop_ids(unit) if isinstance(unit, dict) else {}

    def begin(self, call: Call) -> Response | None:
        """Authenticate, and look the request id up."""
        assert isinstance(call, PayPalCall)
        if call.path == TOKEN_PATH:
            return None
        try:
            self._authenticate(call.request)
            if call.idempotency_key is None:
                return None
            return self.keys.claim(call.path, call.idempotency_key, call.body)
        except PayPalError as error:
            return _answer(error.status, error.body)

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Validates and executes; only a success is stored for the request id."""
        assert isinstance(call, PayPalCall)
        try:
            status, body = self._act(call, bend)
        except PayPalError as error:
            return _answer(error.status, error.body)
        answer = _answer(status, body)
        if call.idempotency_key:
            self.keys.save(call.path, call.idempotency_key, call.body, answer)
        return answer

    def _act(self, call: PayPalCall, bend: ScriptedOutcome | None) -> tuple[int, Row]:
        if call.path == TOKEN_PATH and call.request.method == "POST":
            return 200, self._token(call.request)
        if call.endpoint is None:
            raise Missing()
        if call.malformed:
            raise BadRequest("MALFORMED_REQUEST_JSON", "The request JSON is not well formed.")
        request = call.request
        query = dict(parse_qsl(request.query))
        ask = Ask(call.id, call.body, query, request.base_url, call.idempotency_key, bend, request.body)
        return call.endpoint.handle(self.account, ask)

    def _token(self, request: Request) -> Row:
        """POST /v1/oauth2/token, grant `client_credentials`."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = base64.b64encode(":".join(self._client).encode()).decode()
        if scheme.lower() != "basic" or not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Unauthenticated("INVALID_CLIENT", "Client Authentication failed")
        if dict(request.pairs()).get("grant_type") != "client_credentials":
            raise BadRequest("UNSUPPORTED_GRANT_TYPE")
        until = int(self.account.now + TOKEN_LIVES)
        return {
            "scope": "https://uri.paypal.com/services/payments",
            "access_token": f"A21AA.{until}.{self._seal(until)}",
            "token_type": "Bearer",
            "app_id": "APP-SANDBOX",
            "expires_in": TOKEN_LIVES,
            "nonce": self.account.time(),
        }

    def _seal(self, until: int) -> str:
        return hmac.new(self._client[1].encode(), str(until).encode(), hashlib.sha256).hexdigest()

    def _authenticate(self, request: Request) -> None:
        """Raises Unauthenticated."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        parts = token.split(".")
        if scheme.lower() != "bearer" or len(parts) != 3 or not parts[1].isdigit():
            raise Unauthenticated("INVALID_TOKEN")
        if parts[2] != self._seal(int(parts[1])) or int(parts[1]) <= self.account.now:
            raise Unauthenticated("INVALID_TOKEN", "Token signature verification failed, or it has expired.")

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status in PayPal's error format."""
        error = Scripted(status)
        return _answer(status, error.body)

    def remember(self, call: Call, answer: Response) -> None:
        """Stores nothing: PayPal gives a repeat the latest state, not an old failure."""

    def end(self, call: Call) -> None:
        """Free the request id for repeats."""
        assert isinstance(call, PayPalCall)
        if call.idempotency_key:
            self.keys.release(call.path, call.idempotency_key)


def shop_ids(unit: Row) -> dict[str, str]:
    """A purchase unit's own ids, and the shop's ids in them."""
    own = {name: str(unit[name]) for name in ("reference_id", "custom_id", "invoice_id") if unit.get(name)}
    checkout, _, attempt = own.get("custom_id", "").partition(":")
    ours = {"cart_id": own.get("reference_id", ""), "checkout_id": checkout, "attempt": attempt}
    return {**own, **{name: value for name, value in ours.items() if value}}


def _decode(request: Request, path: str) -> tuple[Row, bool]:
    """The JSON body, and whether it could not be parsed."""
    if not request.body or path == TOKEN_PATH:
        return {}, False
    try:
        body = json.loads(request.body)
    except ValueError:
        return {}, True
    return (body, False) if isinstance(body, dict) else ({}, True)


def _answer(status: int, body: Row) -> Response:
    debug = body.get("debug_id") or hashlib.sha256(json.dumps(body).encode()).hexdigest()[:13]
    headers = {"content-type": "application/json", "paypal-debug-id": str(debug)}
    return Response(status, json.dumps(body).encode(), headers)
