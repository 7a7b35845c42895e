"""Sign-in with Google and Facebook, through Authlib: authorization URLs, and identities from their codes.

OpenID Connect's code flow with PKCE at both; security follows RFC 9700. Google by its discovery document; Facebook,
which has none for this flow, by its "OIDC Code Flow with PKCE" and "Manually Build a Login Flow".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from models.accounts.identities import Identity, ProviderName
from models.errors import SignInRefused, SignInUnavailable
from runtime.settings import Settings

GOOGLE = "https://accounts.google.com"
FACEBOOK = "https://www.facebook.com"
FACEBOOK_GRAPH = "https://graph.facebook.com/v23.0"
FACEBOOK_DIALOG = "https://www.facebook.com/v23.0"

KEPT_SECONDS = 3600.0  # cache of discovery documents and keys
RETRY_SECONDS = 60.0
LEEWAY_SECONDS = 30  # between the provider's clock and ours
TIMEOUT = (2.0, 5.0)  # to connect, to answer
AT_ONCE = 4
WAITING = 40  # calls beyond are refused, so that a provider that hangs doesn't keep sign-ins waiting for minutes

log = structlog.get_logger()

T = TypeVar("T")
Json = dict[str, Any]


class _Provider:
    """Raises SignInRefused for an invalid sign-in, SignInUnavailable when the provider doesn't answer."""

    name: ProviderName
    real_issuer: str
    scope = "openid email profile"

    def __init__(self, client_id: str, client_secret: str, redirect_uri: str, base: str) -> None:
        self.client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._base = base  # empty: the real provider
        self.issuer = base or self.real_issuer
        self._cached: dict[str, tuple[float, Json]] = {}

    def metadata(self) -> Json:
        """The fields of RFC 8414 that are used here, and `issuers`."""
        raise NotImplementedError

    def identity(self, session: OAuth2Session, claims: Json) -> Identity:
        """The identity that validated claims name."""
        raise NotImplementedError

    def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        url, _ = self._session().create_authorization_url(
            self.metadata()["authorization_endpoint"], state=state, code_verifier=verifier, nonce=nonce
        )
        return str(url)

    def identify(self, code: str, nonce: str, verifier: str) -> Identity:
        metadata = self.metadata()
        session = self._session()
        try:
            token = session.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except OAuthError as error:
            if error.error in ("invalid_client", "unauthorized_client", "server_error", "temporarily_unavailable"):
                raise SignInUnavailable("The provider does not accept us") from error
            raise SignInRefused("The provider does not accept this sign-in") from error
        claims = self._checked(token, nonce, metadata)
        return self.identity(session, claims)

    def _checked(self, token: Json, nonce: str, metadata: Json) -> Json:
        """Validates the ID token's signature, issuer, audience, times and nonce; returns its claims."""
        registry = JWSRegistry(algorithms=["RS256"], strict_check_header=False)
        options = {
            "iss": {"essential": True, "values": metadata["issuers"]},
            "aud": {"essential": True, "value": self.client_id},
        }
        context = {"nonce": nonce, "client_id": self.client_id, "access_token": token.get("access_token")}
        try:
            try:
                decoded = jwt.decode(token["id_token"], self._keys(metadata), registry=registry)
            except InvalidKeyIdError:  # the provider has rotated its keys
                decoded = jwt.decode(token["id_token"], self._keys(metadata, afresh=True), registry=registry)
            claims = CodeIDToken(decoded.claims, decoded.header, options, context)
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SignInRefused("The provider's ID token is not valid") from error
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= 255 and subject.isprintable()):
            raise SignInRefused("The provider's ID token has no usable subject")
        return dict(claims)

    def _keys(self, metadata: Json, *, afresh: bool = False) -> KeySet:
        keys: Any = self._get(metadata["jwks_uri"], afresh=afresh)
        return KeySet.import_key_set(keys)

    def _get(self, url: str, *, afresh: bool = False) -> Json:
        """The document, cached for KEPT_SECONDS; the cached one also while the provider doesn't answer."""
        until, known = self._cached.get(url, (0.0, None))
        if known is None or afresh or time.monotonic() > until:
            try:
                known, lifetime = _json(requests.get(url, timeout=TIMEOUT, allow_redirects=False)), KEPT_SECONDS
            except (requests.RequestException, ValueError):
                if known is None or afresh:
                    raise
                lifetime = RETRY_SECONDS
            self._cached[url] = (time.monotonic() + lifetime, known)
        return known

    def _session(self) -> OAuth2Session:
        return OAuth2Session(
            self.client_id,
            self._client_secret,
            token_endpoint_auth_method="client_secret_post",  # noqa: S106  a method
            scope=self.scope,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )


class _Google(_Provider):
    name = ProviderName.GOOGLE
    real_issuer = GOOGLE

    def metadata(self) -> Json:
        found = self._get(f"{self.issuer}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:  # OpenID Connect Discovery, 4.3
            raise SignInUnavailable("The provider's discovery document names another issuer")
        # Google documents both forms of its issuer, with and without the scheme.
        return {**found, "issuers": [self.issuer, self.issuer.removeprefix("https://")]}

    def identity(self, session: OAuth2Session, claims: Json) -> Identity:
        return _identity(
            self.name, claims["sub"], claims.get("email"), claims.get("email_verified") is True, claims.get("name")
        )


class _Facebook(_Provider):
    name = ProviderName.FACEBOOK
    real_issuer = FACEBOOK
    scope = "openid email public_profile"

    def metadata(self) -> Json:
        base = self._base
        return {
            "issuers": [self.issuer],
            "authorization_endpoint": f"{base or FACEBOOK_DIALOG}/dialog/oauth",
            "token_endpoint": f"{base or FACEBOOK_GRAPH}/oauth/access_token",
            "userinfo_endpoint": f"{base or FACEBOOK_GRAPH}/me",
            "jwks_uri": f"{base or FACEBOOK}/.well-known/oauth/openid/jwks/",
        }

    def identity(self, session: OAuth2Session, claims: Json) -> Identity:
        """Facebook has no `email_verified`: `/me` leaves out an address that it holds for invalid."""
        url = self.metadata()["userinfo_endpoint"]
        answer = session.get(url, params={"fields": "id,name,email"}, timeout=TIMEOUT, allow_redirects=False)
        profile = _json(answer)
        if profile.get("id") != claims["sub"]:
            raise SignInRefused("The provider's profile is not of the ID token's subject")
        return _identity(self.name, claims["sub"], profile.get("email"), "email" in profile, profile.get("name"))


class IdentityProviders:
    """The configured providers. Their calls have threads of their own: a provider that hangs blocks no other thread."""

    def __init__(self, providers: list[_Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._turns = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="identity")
        self._waiting = 0

    @classmethod
    def of(cls, settings: Settings) -> IdentityProviders:
        wanted = (
            (_Google, settings.google_client_id, settings.google_client_secret, settings.google_base),
            (_Facebook, settings.facebook_client_id, settings.facebook_client_secret, settings.facebook_base),
        )
        return cls(
            [
                kind(client_id, secret.get_secret_value(), redirect_uri(settings, kind.name), base)
                for kind, client_id, secret, base in wanted
                if client_id and secret.get_secret_value()
            ]
        )

    def close(self) -> None:
        self._turns.shutdown(wait=False, cancel_futures=True)

    def offers(self, name: ProviderName) -> bool:
        """Whether the provider is configured."""
        return name in self._providers

    def issuer_is(self, name: ProviderName, issuer: str) -> bool:
        """Whether the issuer of an authorization response (RFC 9207) is this provider."""
        return issuer == self._providers[name].issuer

    async def authorization_url(self, name: ProviderName, *, state: str, nonce: str, verifier: str) -> str:
        """The URL to redirect the browser to. Raises SignInUnavailable."""
        provider = self._providers[name]
        return await self._request(lambda: provider.authorization_url(state, nonce, verifier))

    async def identify(self, name: ProviderName, *, code: str, nonce: str, verifier: str) -> Identity:
        """Exchanges the code for an identity. Raises SignInRefused, SignInUnavailable."""
        provider = self._providers[name]
        return await self._request(lambda: provider.identify(code, nonce, verifier))

    async def _request(self, call: Callable[[], T]) -> T:
        if self._waiting >= WAITING:
            raise SignInUnavailable("Too many sign-ins are in progress at the provider")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._turns, call)
        except SignInRefused as error:
            log.warning("sign_in_refused", detail=error.detail, cause=type(error.__cause__).__name__)
            raise
        except (requests.RequestException, ValueError, KeyError) as error:
            raise SignInUnavailable("The provider does not answer as it should") from error
        finally:
            self._waiting -= 1


def redirect_uri(settings: Settings, name: ProviderName) -> str:
    """The exact URI that is registered at the provider; made of settings alone, never of a Host header."""
    return f"{settings.storefront_url}/v1/auth/oauth/{name}/callback"


def _json(answer: requests.Response) -> Json:
    answer.raise_for_status()
    found = answer.json()
    if answer.status_code != 200 or not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found


def _identity(provider: ProviderName, subject: str, email: Any, verified: bool, name: Any) -> Identity:
    email = email if isinstance(email, str) and email else None
    plain = "".join(c if c.isprintable() else " " for c in name) if isinstance(name, str) else ""
    return Identity(
        provider=provider,
        subject=subject,
        email=email,
        email_verified=verified and email is not None,
        name=" ".join(plain.split())[:200] or provider.title(),
    )
