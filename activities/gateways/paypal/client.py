"""PayPal's own SDK with a configurable base URL, and its errors as domain errors.

Certain and unknown outcomes are distinguished here, for all calls. Source: developer.paypal.com/api/rest/responses and
/api/rest/reference/idempotency: a failed request may be repeated under its PayPal-Request-Id, and gets the response of
the request that succeeded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests
from apimatic_core.exceptions.auth_validation_exception import AuthValidationException
from paypalserversdk.configuration import Configuration, Server
from paypalserversdk.exceptions.api_exception import ApiException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.http.http_call_back import HttpCallBack
from paypalserversdk.models.o_auth_token import OAuthToken
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from models.errors import HoldfastError, OutcomeUnknown, ProviderUnavailable
from runtime.tracing import trace_context

LIVE = "https://api-m.paypal.com"
SKEW = 120  # seconds before its end that an access token is renewed
CONNECTIONS = 32

Json = dict[str, Any]


class PayPalRefused(Exception):
    """PayPal refused the request: nothing happened. `issue` is PayPal's (`ORDER_NOT_APPROVED`), or `NOT_FOUND`."""

    def __init__(self, issue: str) -> None:
        super().__init__(issue)
        self.issue = issue

    @property
    def code(self) -> str:
        """The issue as a decline code or reason, in lower case."""
        return self.issue.lower()


class _TokenRefused(Exception):
    """PayPal refused the access token."""


class _Configuration(Configuration):  # type: ignore[misc]
    """With any base URL; the SDK has only PayPal's two hosts."""

    def __init__(self, base: str, **settings: Any) -> None:
        self._base = base
        super().__init__(**settings)

    def get_base_uri(self, server: Server = Server.DEFAULT) -> str:
        return self._base


class _Traced(HttpCallBack):  # type: ignore[misc]
    """Sends the trace context (W3C Trace Context) with every request."""

    def on_before_request(self, request: Any) -> None:
        for name, value in (trace_context() or {}).items():
            request.add_header(name, value)

    def on_after_response(self, http_response: Any) -> None:
        return


class PayPalClient:
    """Thread-safe; every call answers within `timeout` seconds, plus one second to connect."""

    def __init__(self, client_id: str, secret: str, base: str, timeout: float) -> None:
        self._credentials = (client_id, secret)
        self._base = (base or LIVE).rstrip("/")
        self._timeout = (1.0, timeout)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._token = ""
        self._sdk = self._connect()

    def _connect(self) -> PaypalServersdkClient:
        return PaypalServersdkClient(
            config=_Configuration(
                self._base,
                http_client_instance=self._session,
                http_call_back=_Traced(),
                timeout=self._timeout,
                client_credentials_auth_credentials=ClientCredentialsAuthCredentials(
                    *self._credentials, o_auth_on_token_update=self._keep_token, o_auth_clock_skew=SKEW
                ),
            )
        )

    def _keep_token(self, token: OAuthToken | None) -> None:
        self._token = token.access_token if token else ""

    def close(self) -> None:
        self._session.close()

    def call(self, operation: Callable[[PaypalServersdkClient], Callable[[Json], Any]], options: Json) -> Json:
        """Calls an operation of the SDK, `lambda sdk: sdk.orders.get_order`; returns PayPal's JSON.

        Raises PayPalRefused, ProviderUnavailable (nothing happened) or OutcomeUnknown.
        """
        try:
            return self._send(operation, options)
        except _TokenRefused:
            self._sdk = self._connect()  # the token was revoked before it expired; nothing has happened
        try:
            return self._send(operation, options)
        except _TokenRefused as error:
            raise ProviderUnavailable("PayPal refuses its own access token") from error

    def _send(self, operation: Callable[[PaypalServersdkClient], Callable[[Json], Any]], options: Json) -> Json:
        self._authenticate()
        try:
            answer = operation(self._sdk)({"prefer": "return=representation", **options})
            return _parse(answer.text)
        except ApiException as error:
            raise _domain_error(error) from error
        except requests.RequestException as error:
            raise _connection_error(error) from error

    def _authenticate(self) -> None:
        """Runs before the effect, so a failure here certainly had none. Raises ProviderUnavailable."""
        try:
            if not self._sdk.oauth_2.is_valid():
                raise ProviderUnavailable("PayPal gives no access token")
        except (requests.RequestException, ApiException, AuthValidationException) as error:
            raise ProviderUnavailable("PayPal gives no access token") from error

    def post_raw(self, path: str, body: bytes) -> Json:
        """Posts what the SDK has no operation for, with its token. Raises PayPalRefused or ProviderUnavailable."""
        self._authenticate()
        try:
            answer = self._session.post(
                self._base + path,
                data=body,
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                    **(trace_context() or {}),
                },
                timeout=self._timeout,
            )
        except requests.RequestException as error:
            raise ProviderUnavailable() from error
        if answer.status_code == 401:
            self._sdk = self._connect()
        if answer.status_code in (400, 404, 422):
            raise PayPalRefused("INVALID_REQUEST")
        if answer.status_code >= 400:
            raise ProviderUnavailable(f"PayPal answered {answer.status_code}")
        return _parse(answer.text)


def order_of(client: PayPalClient, reference: str) -> Json:
    """PayPal's order, with its authorisations, captures and refunds. Raises as `call` does."""
    return client.call(lambda sdk: sdk.orders.get_order, {"id": reference})


def _parse(text: str) -> Json:
    try:
        found = json.loads(text) if text else {}
    except ValueError as error:
        raise OutcomeUnknown("PayPal's answer can't be read") from error
    return found if isinstance(found, dict) else {}


def _connection_error(error: requests.RequestException) -> HoldfastError:
    """ProviderUnavailable if no connection was made, so nothing was sent; else OutcomeUnknown."""
    reason: Any = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    never_sent = isinstance(reason, NewConnectionError | ConnectTimeoutError)
    return ProviderUnavailable() if never_sent else OutcomeUnknown()


def _domain_error(error: ApiException) -> Exception:
    status = error.response_code
    if status == 401:
        return _TokenRefused()
    if status in (403, 429):
        return ProviderUnavailable(f"PayPal answered {status}")
    if status == 409:
        return OutcomeUnknown("An earlier request with this id is still running at PayPal")
    if status >= 500:
        return OutcomeUnknown(f"PayPal answered {status}")
    return PayPalRefused("NOT_FOUND" if status == 404 else _issue(error))


def _issue(error: ApiException) -> str:
    try:
        body = json.loads(error.response.text)
        details = body.get("details") or [{}]
        return str(details[0].get("issue") or body.get("name") or "INVALID_REQUEST")[:100]
    except (ValueError, AttributeError, LookupError):
        return "INVALID_REQUEST"
