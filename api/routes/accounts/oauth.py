"""Sign-in with Google or Facebook: the OAuth code flow with PKCE, its state bound to the browser by a cookie."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import StringConstraints, ValidationError

from activities.gateways.secrets import token_digest
from api import sessions as signing_in
from api.addresses import checked_email
from api.schemas.base import Body
from api.schemas.responses import Problem, SignedIn
from api.second_factor import check_code
from api.services import Services, Shop
from api.sessions import From
from api.throttle import Attempt
from models.accounts.identities import Identity, ProviderName, SealedSignIn, SignInReturned, SignInStarted
from models.base import Storable
from models.db.repositories.accounts import identities
from models.db.repositories.accounts.sessions import Origin
from models.db.repositories.orders import claims
from models.errors import (
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    SecondFactorRequired,
    SignInExpired,
    SignInRefused,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(
    prefix="/v1/auth/oauth",
    tags=["accounts"],
    responses={code: {"model": Problem} for code in (400, 401, 403, 404, 503)},
)

CODE_SECONDS = 300  # time to open the authenticator
COOKIE = "holdfast_sign_in"

Provider = Annotated[str, Path(max_length=20, description="`google` or `facebook`")]
Given = Annotated[str | None, Query(max_length=4096)]
Sealed = TypeVar("Sealed", bound=SealedSignIn)


class ContinueIn(Body):
    continue_token: Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=4096)]
    code: Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=100)]


@router.get("/{provider}/authorize", status_code=302, response_class=Response)
async def authorize(shop: Shop, provider: Provider) -> Response:
    """Redirects the browser to the provider. State, nonce and verifier travel sealed in a cookie."""
    out = SignInStarted(
        provider=_named(shop, provider),
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(64),
        at=time.time(),
    )
    url = await shop.providers.authorization_url(out.provider, state=out.state, nonce=out.nonce, verifier=out.verifier)
    response = Response(status_code=302, headers={"Location": url})
    _set_cookie(shop, response, out.provider, _seal(shop, out), int(shop.settings.oauth_seconds))
    return response


@router.get("/{provider}/callback", response_model=SignedIn)
async def callback(
    request: Request,
    shop: Shop,
    origin: From,
    provider: Provider,
    state: Given = None,
    code: Given = None,
    error: Given = None,
    iss: Given = None,
) -> JSONResponse:
    """The provider redirects here. The response is that of a login.

    With a second factor: 401 `second-factor-required` with a `continue_token` for `/v1/auth/oauth/continue`.
    """
    name = _named(shop, provider)
    out = _brought_back(shop, name, request.cookies.get(_cookie(name)), state)
    if iss is not None and not shop.providers.issuer_is(name, iss):  # RFC 9207: another provider's answer
        raise SignInRefused("The answer is not this provider's")
    await run_in_threadpool(_spend, shop, out.state)
    if error is not None or not code:
        raise SignInRefused("The sign-in was cancelled" if error == "access_denied" else "The provider refused it")
    identity = await shop.providers.identify(name, code=code, nonce=out.nonce, verifier=out.verifier)
    answer = await run_in_threadpool(_sign_in, shop, _with_plain_address(identity), origin)
    response = JSONResponse(answer)
    _set_cookie(shop, response, name, "", 0)
    return response


@router.post("/continue", response_model=SignedIn, responses={429: {"model": Problem}})
async def continue_with_code(shop: Shop, origin: From, body: ContinueIn) -> JSONResponse:
    """The second step with a second factor: `code` of the authenticator, or a recovery code."""
    back = _open(shop, SignInReturned, body.continue_token, CODE_SECONDS)
    email = await run_in_threadpool(_address_of, shop, back.identity)
    async with shop.attempts.one(email, origin.address) as attempt:
        answer = await run_in_threadpool(_sign_in_with_code, shop, back, origin, body.code, attempt)
    return JSONResponse(answer)


def _sign_in(shop: Services, identity: Identity, origin: Origin) -> dict[str, Any]:
    """Finds or creates the account. Links nothing before the second factor was checked."""
    with shop.database.transaction() as connection:
        known = identities.account_of(connection, identity)
        if known is not None and known.disabled:
            raise SignInRefused("This account is closed")
        if known is not None and known.second_factor:
            back = SignInReturned(identity=identity, number=secrets.token_urlsafe(16), at=time.time())
            raise SecondFactorRequired(continue_token=_seal(shop, back), expires_in=CODE_SECONDS)
        return _complete(shop, connection, identity, origin, passed=False)


def _sign_in_with_code(
    shop: Services, back: SignInReturned, origin: Origin, code: str, attempt: Attempt
) -> dict[str, Any]:
    with shop.database.transaction() as connection:
        user = identities.account_of(connection, back.identity)
        if user is None or user.disabled or attempt.spent or not check_code(shop, connection, user.id, code):
            raise InvalidCredentials("The code is not right")
        if not identities.spend(connection, token_digest(back.number), CODE_SECONDS):
            raise SignInExpired()
        attempt.forget(connection)
        return _complete(shop, connection, back.identity, origin, passed=True)


def _complete(
    shop: Services, connection: Connection, identity: Identity, origin: Origin, *, passed: bool
) -> dict[str, Any]:
    user, change = identities.take(connection, identity)
    if user.disabled or user.second_factor != passed:
        raise SignInRefused("The account has changed meanwhile: begin again")
    claims.claim_guest_orders(connection, user.id)
    if change is not None:
        identities.append_to_audit(connection, user, change, identity)
    return signing_in.start(shop, connection, user, origin, method=identity.provider, passed=passed)


def _brought_back(shop: Services, name: ProviderName, sealed: str | None, state: str | None) -> SignInStarted:
    """The sealed cookie, if its state is this request's, of this provider and not expired. Raises SignInExpired."""
    if not sealed or not state:
        raise SignInExpired()
    out = _open(shop, SignInStarted, sealed, shop.settings.oauth_seconds)
    mine = hmac.compare_digest(out.state.encode(), state.encode("utf-8", "surrogatepass"))
    if out.provider is not name or not mine:
        raise SignInExpired()
    return out


def _spend(shop: Services, state: str) -> None:
    """Uses the state up, before anything else is done with it."""
    with shop.database.autocommit() as connection:
        if not identities.spend(connection, token_digest(state), shop.settings.oauth_seconds):
            raise SignInExpired()


def _address_of(shop: Services, identity: Identity) -> str:
    """The account's address, by which guesses at its codes are counted."""
    with shop.database.autocommit() as connection:
        user = identities.account_of(connection, identity)
    if user is None:
        raise SignInExpired()
    return user.email


def _with_plain_address(identity: Identity) -> Identity:
    """Normalised as registration stores it; None for an invalid address."""
    try:
        email = checked_email(identity.email) if identity.email else None
    except InvalidRequest:
        email = None
    return identity.model_copy(update={"email": email, "email_verified": identity.email_verified and bool(email)})


def _named(shop: Services, provider: str) -> ProviderName:
    """The provider by name. Raises NotFound, also for one that is not configured."""
    name = next((known for known in ProviderName if known == provider), None)
    if name is None or not shop.providers.offers(name):
        raise NotFound("There is no such identity provider")
    return name


def _seal(shop: Services, what: SealedSignIn) -> str:
    kind = type(what).__name__
    return shop.vault.seal(f"{kind} {what.model_dump_json()}").decode()


def _open(shop: Services, kind: type[Sealed], sealed: str, seconds: float) -> Sealed:
    """Unseals a value of this kind, sealed less than `seconds` ago. Raises SignInExpired."""
    try:
        name, _, text = shop.vault.open(sealed.encode()).partition(" ")
        found = kind.model_validate_json(text) if name == kind.__name__ else None
    except (ValueError, ValidationError):
        found = None
    if found is None or not 0 <= time.time() - found.at < seconds:
        raise SignInExpired()
    return found


def _cookie(name: ProviderName) -> str:
    return f"{COOKIE}_{name}"


def _set_cookie(shop: Services, response: Response, name: ProviderName, value: str, seconds: int) -> None:
    """Lax: the provider's redirect is a cross-site navigation; no other cross-site request may send the cookie."""
    response.set_cookie(
        _cookie(name),
        value,
        max_age=seconds,
        path=f"/v1/auth/oauth/{name}",
        secure=shop.settings.storefront_url.startswith("https://"),
        httponly=True,
        samesite="lax",
    )
