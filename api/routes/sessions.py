"""Signing in with a password and out again, and where somebody is signed in."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, StringConstraints

from api import sessions as signing_in
from api.addresses import Body, Line, checked_email
from api.schemas import Problem, SignedIn
from api.second_factor import check_code
from api.services import Services, Shop
from api.sessions import From
from api.throttle import Attempt
from models.base import Storable
from models.db.repositories import claims, users
from models.db.repositories.sessions import Origin
from models.db.repositories.users import User
from models.errors import InvalidCredentials, InvalidRequest, SecondFactorRequired
from models.passwords import normalised

router = APIRouter(tags=["accounts"], responses={401: {"model": Problem}})


def _text(value: str) -> str:
    value.encode()  # raises ValueError for lone surrogates, which can't be hashed
    return value


Password = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024), AfterValidator(_text)]
Code = Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=100)]


class LoginIn(Body):
    email: Line
    password: Password
    code: Code | None = None


@router.post("/v1/auth/login", response_model=SignedIn, responses={429: {"model": Problem}})
async def login(shop: Shop, origin: From, body: LoginIn) -> JSONResponse:
    """Wrong, unknown, not verified, disabled, to be reset: all the same answer, after the same time.

    `code`: of the authenticator, or a recovery code, for who has set one up (`second-factor-required` says so).
    """
    async with shop.attempts.one(_address(body.email), origin.address) as attempt:
        user = await attempt.check(body.password)
        if user.second_factor and body.code is None:
            await attempt.give_back()
            raise SecondFactorRequired()
        renewed = await _renewed(shop, user, body.password)
        answer = await run_in_threadpool(_sign_in, shop, attempt, user, origin, body.code, renewed)
    return JSONResponse(answer)


def _sign_in(
    shop: Services, attempt: Attempt, checked: User, origin: Origin, code: str | None, renewed: str | None
) -> dict[str, Any]:
    with shop.database.transaction() as connection:
        user = users.lock_user(connection, checked.id)
        # Whoever changed the password meanwhile has ended the sessions that there were.
        if user is None or not user.verified or user.disabled or _locks_of(user) != _locks_of(checked):
            raise InvalidCredentials()
        if user.second_factor and not (code and check_code(shop, connection, user.id, code)):
            raise InvalidCredentials()
        if renewed:
            users.renew_hash(connection, user.id, renewed)
        attempt.forget(connection)
        claims.claim_guest_orders(connection, user.id)
        return signing_in.start(shop, connection, user, origin, method="password", passed=user.second_factor)


def _locks_of(user: User) -> tuple[str | None, bool]:
    return user.password_hash, user.must_reset


async def _renewed(shop: Services, user: User, password: str) -> str | None:
    """A hash with today's parameters, where the one that is kept is from before."""
    if user.password_hash is None or not shop.passwords.outdated(user.password_hash):
        return None
    return await shop.passwords.hash(normalised(password))


def _address(given: str) -> str:
    """As registration stores it; what is no address is nobody's."""
    try:
        return checked_email(given)
    except InvalidRequest:
        return given
