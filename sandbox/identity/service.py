"""The identity providers: a consent becomes a code, and a code becomes tokens, once.

Stricter than the originals: PKCE with S256, a state and a nonce are required, and a code used twice revokes its tokens
(RFC 6749, 4.1.2).
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from sandbox.clock import Clock
from sandbox.config import SandboxConfig
from sandbox.exchange import Call, Request, Response, ScriptedOutcome, as_json
from sandbox.identity.page import sign_in_page
from sandbox.identity.providers import PROVIDERS, Provider
from sandbox.identity.tokens import FORGERIES, LIVES, Signer
from sandbox.store import Row, Store

CODE_LIVES = 600  # seconds
_PATH = re.compile(r"/idp/(?P<provider>\w+)(?P<path>/.*)")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LOOPBACK = ("127.0.0.1", "localhost")
_ERROR = re.compile(r"[a-z_]+")


class SignInError(Exception):
    """A refused request: an OAuth error code and a description."""

    def __init__(self, code: str, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.code = code
        self.status = status


class IdentityService:
    """Google and Facebook; each accepts only its own codes."""

    name = "idp"

    def __init__(self, store: Store, clock: Clock, config: SandboxConfig) -> None:
        self._store = store
        self._clock = clock
        self._signer = Signer(store)
        self._shop = urlsplit(config.webhook_target).netloc
        self._clients = {
            "google": (config.google_client_id, config.google_client_secret),
            "facebook": (config.facebook_client_id, config.facebook_client_secret),
        }

    def read(self, request: Request) -> Call:
        """The metadata names the provider."""
        match = _PATH.fullmatch(request.path)
        return Call(self.name, request, dict(request.pairs()), {"provider": match["provider"]} if match else {})

    def begin(self, call: Call) -> Response | None:
        """Nothing is ever replayed."""
        return None

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Discovery, keys, the page, tokens, the person."""
        match = _PATH.fullmatch(call.request.path)
        provider = PROVIDERS.get(match["provider"]) if match else None
        if match is None or provider is None:
            return as_json(404, {"error": "not_found"})
        try:
            return self._route(provider, match["path"], call)
        except SignInError as error:
            return _error(provider, error)

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted status, with a body that is no OAuth error."""
        return Response(status, b"<html>out of order</html>", {"content-type": "text/html"})

    def remember(self, call: Call, answer: Response) -> None:
        """Stores nothing."""

    def end(self, call: Call) -> None:
        """Nothing to release."""

    def rotate_keys(self, provider: str) -> str:
        """Replaces the key at once; returns the new id."""
        return self._signer.rotate(_known(provider).name)

    def approve(self, provider: str, body: Row) -> str:
        """Acts as the user: returns the URL that the browser goes to. Raises SignInError for an invalid request."""
        known = _known(provider)
        asked = self._asked(known, dict(parse_qsl(urlsplit(str(body.get("authorize_url"))).query)))
        forge, error = body.get("forge"), body.get("error")
        if forge is not None and forge not in FORGERIES:
            raise SignInError("invalid_request", f"unknown forgery {forge!r}")
        if error is not None and not _ERROR.fullmatch(str(error)):
            raise SignInError("invalid_request", "error must be an OAuth error code")
        more = {"iss": body["iss"]} if "iss" in body else {}
        if error is not None:
            return _back(asked, {"error": error, **more})
        if not isinstance(body.get("subject"), str) or not body["subject"]:
            raise SignInError("invalid_request", "subject must name the person")
        person = {
            "subject": body["subject"],
            "email": body.get("email"),
            "email_verified": bool(body.get("email_verified", True)),
            "name": body.get("name") or "Ada Lovelace",
        }
        return _back(asked, {"code": self._new_code(known, asked, person, forge), **more})

    def _route(self, provider: Provider, path: str, call: Call) -> Response:
        method = call.request.method
        if provider.name == "google" and (method, path) == ("GET", "/.well-known/openid-configuration"):
            return as_json(200, self._discovery(provider, call.request))
        if (method, path) == ("GET", provider.keys):
            return as_json(200, self._signer.public_keys(provider.name), **{"cache-control": "public, max-age=300"})
        if path == provider.authorize and method in ("GET", "POST"):
            return self._authorize(provider, call.request)
        if path == provider.token and method in provider.token_methods:
            return self._token(provider, call)
        if (method, path) == ("GET", provider.userinfo):
            return self._userinfo(provider, call)
        return as_json(404, {"error": "not_found"})

    def _discovery(self, provider: Provider, request: Request) -> Row:
        base = _issuer(provider, request)
        return {
            "issuer": base,
            "authorization_endpoint": base + provider.authorize,
            "token_endpoint": base + provider.token,
            "userinfo_endpoint": base + provider.userinfo,
            "jwks_uri": base + provider.keys,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code"],
        }

    def _authorize(self, provider: Provider, request: Request) -> Response:
        query = dict(parse_qsl(request.query))
        asked = self._asked(provider, query)
        if request.method == "GET":
            page = sign_in_page(provider.name, asked["client_id"], f"{request.path}?{request.query}")
            return Response(200, page.encode(), {"content-type": "text/html; charset=utf-8"})
        form: dict[str, Any] = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        form["email_verified"] = form.get("email_verified") == "true"
        if form.pop("answer", "yes") != "yes":
            form["error"] = "access_denied"
        location = self.approve(provider.name, {**form, "authorize_url": f"{request.path}?{request.query}"})
        return Response(303, headers={"location": location})

    def _asked(self, provider: Provider, query: dict[str, str]) -> Row:
        """The client's request. An error is shown to the user and not redirected, since the address may be wrong."""
        if query.get("client_id") != self._clients[provider.name][0]:
            raise SignInError("invalid_client", "The OAuth client was not found.", 401)
        redirect = query.get("redirect_uri", "")
        parts = urlsplit(redirect)
        registered = parts.netloc == self._shop or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        if not registered or parts.path != f"/v1/auth/oauth/{provider.name}/callback" or parts.query or parts.fragment:
            raise SignInError("redirect_uri_mismatch", "The redirect URI is not among those registered.")
        if query.get("response_type") != "code":
            raise SignInError("unsupported_response_type", "Only response_type=code")
        if "openid" not in re.split("[ ,]", query.get("scope", "")):
            raise SignInError("invalid_scope", "The scope lacks openid")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
            raise SignInError("invalid_request", "PKCE with S256 is required")
        for name in ("state", "nonce"):
            if len(query.get(name, "")) < 16:
                raise SignInError("invalid_request", f"{name} is missing or short")
        return dict(query)

    def _new_code(self, provider: Provider, asked: Row, person: Row, forge: str | None) -> str:
        code = secrets.token_urlsafe(32)
        row = {
            "provider": provider.name,
            "redirect_uri": asked["redirect_uri"],
            "challenge": asked["code_challenge"],
            "nonce": asked["nonce"],
            "person": person,
            "forge": forge,
            "at": self._clock.now(),
            "access_token": None,
        }
        self._store.put("idp_codes", code, row)
        return code

    def _token(self, provider: Provider, call: Call) -> Response:
        params = call.params
        self._authenticate(provider, call)
        if params.get("grant_type", "authorization_code") != "authorization_code":
            raise SignInError("unsupported_grant_type", "Only authorization_code")
        row = self._store.get("idp_codes", params.get("code", ""))
        if row is None or row["provider"] != provider.name or self._clock.now() - row["at"] > CODE_LIVES:
            raise SignInError("invalid_grant", "Malformed auth code.")
        if row["access_token"] is not None:
            self._store.drop("idp_tokens", row["access_token"])
            raise SignInError("invalid_grant", "The code has been used.")
        if params.get("redirect_uri") != row["redirect_uri"]:
            raise SignInError("invalid_grant", "The redirect_uri is not the one that the code was asked with.")
        challenge = hashlib.sha256(params.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != row["challenge"]:
            raise SignInError("invalid_grant", "Invalid code verifier.")
        return as_json(200, self._tokens(provider, call.request, params["code"], row), **{"cache-control": "no-store"})

    def _tokens(self, provider: Provider, request: Request, code: str, row: Row) -> Row:
        access_token = f"ya29.{secrets.token_urlsafe(24)}"
        row["access_token"] = access_token
        self._store.put("idp_codes", code, row)
        person, forge = row["person"], row["forge"]
        shown = {**person, "subject": "somebody-else"} if forge == "subject" else person
        self._store.put("idp_tokens", access_token, {"provider": provider.name, "person": shown})
        now, client_id = int(self._clock.now()), self._clients[provider.name][0]
        claims = {
            "iss": _issuer(provider, request),
            "aud": client_id,
            "sub": person["subject"],
            "iat": now,
            "exp": now + LIVES,
            "nonce": row["nonce"],
            **({"azp": client_id} if provider.name == "google" else {"jti": secrets.token_urlsafe(8)}),
            **provider.claims(person),
        }
        id_token = self._signer.id_token(provider.name, claims, access_token, forge)
        tokens = {"access_token": access_token, "token_type": "Bearer", "expires_in": LIVES}
        return tokens if id_token is None else {**tokens, "id_token": id_token}

    def _authenticate(self, provider: Provider, call: Call) -> None:
        client_id, secret = self._clients[provider.name]
        scheme, _, encoded = call.request.headers.get("authorization", "").partition(" ")
        given = (call.params.get("client_id", ""), call.params.get("client_secret", ""))
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(encoded).decode().partition(":")
            except ValueError:
                name = password = ""
            given = (unquote(name), unquote(password))
        if not hmac.compare_digest("\n".join(given).encode(), f"{client_id}\n{secret}".encode()):
            raise SignInError("invalid_client", "Unauthorized", 401)

    def _userinfo(self, provider: Provider, call: Call) -> Response:
        scheme, _, token = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = call.params.get("access_token", "") if provider.name == "facebook" else ""
        row = self._store.get("idp_tokens", token)
        if row is None or row["provider"] != provider.name:
            raise SignInError("invalid_token", "Invalid OAuth access token", 401)
        fields = set(call.params.get("fields", "id,name").split(","))
        return as_json(200, provider.profile(row["person"], fields))


def _known(provider: str) -> Provider:
    if provider not in PROVIDERS:
        raise SignInError("not_found", f"unknown provider {provider!r}")
    return PROVIDERS[provider]


def _issuer(provider: Provider, request: Request) -> str:
    return f"{request.base_url}/idp/{provider.name}"


def _back(asked: Row, answer: Row) -> str:
    return f"{asked['redirect_uri']}?{urlencode({'state': asked['state'], **answer})}"


def _error(provider: Provider, error: SignInError) -> Response:
    if provider.name == "facebook":
        shown: Row = {"message": str(error), "type": "OAuthException", "code": 190 if error.status == 401 else 100}
        return Response(error.status, json.dumps({"error": shown}).encode(), {"content-type": "application/json"})
    return as_json(error.status, {"error": error.code, "error_description": str(error)})
