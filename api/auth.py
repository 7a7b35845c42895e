"""Authentication and authorisation: bearer tokens for users and machines, cart tokens for guests; deny by default."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext

from activities.gateways.secrets import token_digest
from api.services import Services, Shop
from models.accounts.access import Principal, Scope
from models.checkout.carts import Cart
from models.db.repositories.accounts import sessions
from models.errors import Forbidden, NotFound, Unauthenticated

API_KEY_PREFIX = "hf_live_"

CartToken = Annotated[str | None, Header(alias="X-Cart-Token", max_length=200)]


async def principal(request: Request, shop: Shop) -> Principal | None:
    """The caller, or None for a guest. An invalid token, or one of an ended session, is a 401 and never a guest."""
    caller = await _principal(request, shop)
    if caller is not None:
        request.scope["caller"] = caller.user_id  # for the access log
    return caller


async def _principal(request: Request, shop: Shop) -> Principal | None:
    authorization = request.headers.get("authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The Authorization header must be: Bearer <access token or API key>")
    if token.startswith(API_KEY_PREFIX):
        return await run_in_threadpool(_machine, shop, token)
    claimed = shop.tokens.check(token)
    if claimed.session_id is not None:
        return await run_in_threadpool(_signed_in, shop, claimed.session_id)
    if shop.settings.production:
        raise Unauthenticated("The token belongs to no session")
    return claimed  # a token of `holdfast token`


def _signed_in(shop: Services, session_id: str) -> Principal:
    with shop.database.autocommit() as connection:
        found = sessions.principal_of(connection, session_id)
    if found is None:
        raise Unauthenticated("The session has ended: sign in again")
    return found


def _machine(shop: Services, key: str) -> Principal:
    with shop.database.autocommit() as connection:
        found = sessions.principal_of_key(connection, token_digest(key))
    if found is None:
        raise Unauthenticated("The API key is not valid")
    return found


Caller = Annotated[Principal | None, Depends(principal)]


def signed_in(caller: Caller) -> Principal:
    """A dependency: the signed-in user, for routes about their own data. 401 for guests, 403 for API keys."""
    if caller is None:
        raise Unauthenticated()
    if caller.role is None:
        raise Forbidden("This is for people, not for API keys")
    return caller


Person = Annotated[Principal, Depends(signed_in)]


def requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency: the caller, if it has that scope. 401 for guests, 403 for others."""

    async def check(caller: Caller) -> Principal:
        if caller is None:
            raise Unauthenticated()
        if not caller.has(scope):
            waits = caller.granted is not None and caller.role is not None
            raise Forbidden(
                "Set up a second factor first: POST /v1/me/totp" if waits else f"This needs the scope {scope}"
            )
        return caller

    _SCOPES[check] = scope
    return check


_SCOPES: dict[Callable[..., Any], Scope] = {}  # by the dependencies that `requires` has returned

OrdersReader = Annotated[Principal, Depends(requires(Scope.ORDERS_READ))]
Support = Annotated[Principal, Depends(requires(Scope.ORDERS_WRITE))]
Warehouse = Annotated[Principal, Depends(requires(Scope.FULFILMENT_WRITE))]
UsersWriter = Annotated[Principal, Depends(requires(Scope.USERS_WRITE))]
OpsReader = Annotated[Principal, Depends(requires(Scope.OPS_READ))]


class Declared(NamedTuple):
    """What a route requires of its caller."""

    scope: Scope | None
    person: bool

    @property
    def signed_in(self) -> bool:
        return self.scope is not None or self.person


def declared(route: RouteContext) -> Declared:
    """Read from the route's dependencies, so that the OpenAPI document can't differ from the check."""
    calls = set(_calls(getattr(route, "dependant", None)))
    return Declared(next((_SCOPES[call] for call in calls if call in _SCOPES), None), signed_in in calls)


def _calls(dependant: Dependant | None) -> Iterator[Callable[..., Any]]:
    for needed in dependant.dependencies if dependant else ():
        if needed.call is not None:
            yield needed.call
        yield from _calls(needed)


def new_cart_token() -> tuple[str, bytes]:
    """A guest's secret of 256 bits, and its digest for the database."""
    token = secrets.token_urlsafe(32)
    return token, token_digest(token)


def owns_cart(caller: Principal | None, cart_token: str | None, customer_id: str | None, digest: bytes | None) -> bool:
    """A customer's cart belongs to the customer; a guest's cart to every holder of its token."""
    if customer_id is not None:
        return caller is not None and caller.user_id == customer_id
    return cart_token is not None and digest is not None and hmac.compare_digest(token_digest(cart_token), digest)


def own_cart(found: tuple[Cart, bytes | None] | None, caller: Principal | None, cart_token: str | None) -> Cart:
    """The cart, if it is this caller's. Raises NotFound for another's, so that its existence is not disclosed."""
    if found is None or found[0].merged_into or not owns_cart(caller, cart_token, found[0].customer_id, found[1]):
        raise NotFound("There is no such cart")
    return found[0]


def audience(caller: Principal | None, cart_token: str | None) -> str:
    """The namespace of an Idempotency-Key: the same key of another caller is another key."""
    if caller is not None:
        return f"user:{caller.user_id}"
    return f"guest:{token_digest(cart_token).hex()}" if cart_token else "anyone"
