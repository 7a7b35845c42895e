"""Sign-in by password, sign-out, and the list of sessions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, StringConstraints

from activities.gateways.secrets import token_digest
from api import paging
from api import sessions as signing_in
from api.addresses import checked_email
from api.auth import Person
from api.fields import Id
from api.idempotency import IdempotencyKey, key_of
from api.paging import Cursor, Limit
from api.passwords import checked_password
from api.schemas.base import Body, Line
from api.schemas.responses import Problem, SessionPage, SignedIn, TokenPair
from api.second_factor import check_code
from api.services import Services, Shop
from api.sessions import From
from api.throttle import Attempt
from models.accounts.access import Principal
from models.accounts.accounts import NoticeKind
from models.accounts.passwords import normalised
from models.base import Storable
from models.db.repositories.accounts import notices, sessions, users
from models.db.repositories.accounts.sessions import Origin, Reused
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.db.repositories.orders import claims
from models.errors import InvalidCredentials, InvalidRequest, NotFound, SecondFactorRequired, Unauthenticated

router = APIRouter(tags=["accounts"], responses={401: {"model": Problem}})


def _text(value: str) -> str:
    value.encode()  # raises ValueError for lone surrogates, which can't be hashed
    return value


Password = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024), AfterValidator(_text)]
NewlyChosen = Annotated[str, StringConstraints(strict=True, max_length=1024)]  # checked by api/passwords.py
Code = Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=100)]


class LoginIn(Body):
    email: Line
    password: Password
    code: Code | None = None


class RefreshIn(Body):
    refresh_token: Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=4096)]


class NewPassword(Body):
    password: Password
    new_password: NewlyChosen


@router.post("/v1/auth/login", response_model=SignedIn, responses={429: {"model": Problem}})
async def login(shop: Shop, origin: From, body: LoginIn) -> JSONResponse:
    """Wrong, unknown, unverified, disabled, to be reset: the same response, after the same work.

    `code`: of the authenticator, or a recovery code, for users with a second factor (`second-factor-required`).
    """
    async with shop.attempts.one(_address(body.email), origin.address) as attempt:
        user = await attempt.check(body.password)
        if user.second_factor and body.code is None:
            await attempt.uncount()
            raise SecondFactorRequired()
        renewed = await _renewed(shop, user, body.password)
        answer = await run_in_threadpool(_sign_in, shop, attempt, user, origin, body.code, renewed)
    return JSONResponse(answer)


@router.post("/v1/auth/refresh", response_model=TokenPair)
def refresh(shop: Shop, origin: From, body: RefreshIn, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """A new pair. A refresh token that was used before has been copied, so it ends its session.

    A client that may have to repeat the call sends an `Idempotency-Key`: the same call within 30 seconds, while the new
    token is unused, gets that token again.
    """
    key = key_of(idempotency_key, origin.user_agent, "/v1/auth/refresh", {})
    successor = shop.vault.token("refresh", body.refresh_token)  # derived, so a repeat gets the same token
    with shop.database.transaction() as connection:
        found = sessions.rotate(
            connection,
            token_digest(body.refresh_token),
            token_digest(successor),
            used_with=bytes.fromhex(key.digest) if key else None,
            seconds=shop.settings.refresh_token_seconds,
        )
        if isinstance(found, Reused):
            who = found.principal
            audit.append(connection, who, "session.ended", who.user_id, session=who.session_id, why="reuse")
    if not isinstance(found, Principal):
        raise Unauthenticated("The refresh token is not valid: sign in again")
    return JSONResponse(signing_in.pair(shop, found, successor))


@router.post("/v1/auth/logout", status_code=204)
def logout(shop: Shop, person: Person) -> Response:
    """Ends this session, at once and in every process."""
    if person.session_id is not None:
        _end(shop, person, person.session_id, "logout")
    return Response(status_code=204)


@router.get("/v1/me/sessions", response_model=SessionPage)
def list_sessions(shop: Shop, person: Person, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """The caller's sessions, newest first; `seen_at`: the last renewal."""
    (before,) = paging.decode(cursor, str) if cursor is not None else (None,)
    with shop.database.autocommit() as connection:
        found = sessions.list_live(connection, person.user_id, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].id) if len(found) > limit else None
    return JSONResponse(paging.page([session.view(person.session_id) for session in found[:limit]], next_cursor))


@router.delete("/v1/me/sessions/{session_id}", status_code=204, responses={404: {"model": Problem}})
def end_session(shop: Shop, person: Person, session_id: Id) -> Response:
    """Ends that session at once."""
    if not _end(shop, person, session_id, "ended_by_owner"):
        raise NotFound("You have no such session")
    return Response(status_code=204)


@router.put("/v1/me/password", status_code=204, responses={422: {"model": Problem}, 429: {"model": Problem}})
async def change_password(shop: Shop, person: Person, origin: From, body: NewPassword) -> Response:
    """Ends the user's other sessions and notifies them by mail. An account without a password uses a mailed reset."""
    user = await shop.attempts.confirm(person.user_id, body.password, origin.address)
    new = checked_password(shop, body.new_password, "/new_password", user.email, user.name)
    hashed = await shop.passwords.hash(new)
    await run_in_threadpool(_change_password, shop, person, user, hashed)
    return Response(status_code=204)


@router.get("/.well-known/jwks.json")
def public_keys(shop: Shop) -> JSONResponse:
    """The public keys of our access tokens (RFC 7517)."""
    return JSONResponse(shop.tokens.public_keys(), headers={"Cache-Control": "public, max-age=300"})


def _end(shop: Services, person: Principal, session_id: str, why: str) -> bool:
    with shop.database.transaction() as connection:
        ended = sessions.end(connection, person.user_id, session_id, why)
        if ended:
            audit.append(connection, person, "session.ended", person.user_id, session=session_id, why=why)
    return ended


def _change_password(shop: Services, person: Principal, confirmed: User, hashed: str) -> None:
    with shop.database.transaction() as connection:
        user = users.lock_user(connection, confirmed.id)
        if user is None or _locks_of(user) != _locks_of(confirmed):
            raise InvalidCredentials()
        users.set_password(connection, user.id, hashed)
        sessions.end_all(connection, user.id, "password_changed", besides=person.session_id)
        notices.queue(connection, user.id, NoticeKind.PASSWORD_CHANGED)
        audit.append(connection, person, "password.changed", user.id)


def _sign_in(
    shop: Services, attempt: Attempt, checked: User, origin: Origin, code: str | None, renewed: str | None
) -> dict[str, Any]:
    with shop.database.transaction() as connection:
        user = users.lock_user(connection, checked.id)
        # A concurrent change of the password has ended these sessions.
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
    """A hash with today's parameters, where the stored one has older ones."""
    if user.password_hash is None or not shop.passwords.outdated(user.password_hash):
        return None
    return await shop.passwords.hash(normalised(password))


def _address(given: str) -> str:
    """Normalised as registration stores it; an invalid address matches no account."""
    try:
        return checked_email(given)
    except InvalidRequest:
        return given
