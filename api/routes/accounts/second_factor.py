"""Second factors: propose, confirm by a first code, remove with password and code."""

from __future__ import annotations

from typing import Annotated

import pyotp
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from api import second_factor
from api.auth import Person
from api.routes.accounts.sessions import Password
from api.schemas.base import Body
from api.schemas.responses import Out, Problem
from api.services import Services, Shop
from api.sessions import From
from api.throttle import Attempt
from models.accounts.access import STAFF, Principal
from models.base import Storable
from models.db.repositories.accounts import second_factors, users
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.errors import Conflict, InvalidCredentials, InvalidRequest, NotFound

router = APIRouter(
    prefix="/v1/me/totp",
    tags=["accounts"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422, 429)},
)

Code = Annotated[
    Storable,
    StringConstraints(strict=True, min_length=6, max_length=40),
    Field(description="six digits", examples=["123456"]),
]


class CodeIn(Body):
    code: Code


class RemovalIn(Body):
    password: Annotated[Password | None, Field(description="of an account that has one")] = None
    code: Annotated[Code, Field(description="six digits, or a recovery code")]


class ProposedOut(Out):
    secret: str
    uri: str


class RecoveryCodesOut(Out):
    recovery_codes: list[str]


@router.post("", status_code=201, response_model=ProposedOut)
def propose_second_factor(shop: Shop, caller: Person) -> JSONResponse:
    """A secret for an authenticator, not in force until a first code confirms it; a newer one replaces it."""
    secret = pyotp.random_base32()
    with shop.database.transaction() as connection:
        user = _found(users.read_user(connection, caller.user_id))
        if not second_factors.propose(connection, user.id, shop.vault.seal(secret)):
            raise Conflict("A second factor is in force: remove it first")
    uri = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=shop.settings.shop_name)
    return JSONResponse({"secret": secret, "uri": uri}, status_code=201)


@router.post("/confirm", response_model=RecoveryCodesOut)
async def confirm_second_factor(shop: Shop, caller: Person, origin: From, body: CodeIn) -> JSONResponse:
    """Puts the second factor in force and returns the recovery codes once. The session gets its role's scopes."""
    user = await run_in_threadpool(_account, shop, caller)
    if user.second_factor:
        raise Conflict("A second factor is in force already")
    async with shop.attempts.one(user.email, origin.address) as attempt:
        codes = await run_in_threadpool(_confirm, shop, caller, body.code)
        await attempt.uncount()
    return JSONResponse({"recovery_codes": codes})


@router.delete("", status_code=204)
async def remove_second_factor(shop: Shop, caller: Person, origin: From, body: RemovalIn) -> Response:
    """Needs a code, and the password if the account has one. In production staff must set up another."""
    user = await run_in_threadpool(_account, shop, caller)
    if not user.second_factor:
        raise NotFound("There is no second factor")
    async with shop.attempts.one(user.email, origin.address) as attempt:
        if user.password_hash is not None:
            user = await attempt.check(body.password or "")
        await run_in_threadpool(_remove, shop, caller, attempt, user.password_hash, body.code)
    return Response(status_code=204)


def _account(shop: Services, caller: Principal) -> User:
    with shop.database.autocommit() as connection:
        return _found(users.read_user(connection, caller.user_id))


def _confirm(shop: Services, caller: Principal, code: str) -> list[str]:
    with shop.database.transaction() as connection:
        user = _found(users.lock_user(connection, caller.user_id))
        if user.second_factor:
            raise Conflict("A second factor is in force already")
        if not second_factor.check_proposed(shop, connection, user.id, code):
            raise InvalidRequest.at("/code", "is not what the authenticator shows now")
        codes, digests = second_factor.new_recovery_codes(shop, user.id)
        second_factors.confirm(connection, user.id, digests)
        if caller.session_id is not None:
            second_factors.lift(connection, user.id, caller.session_id)
        audit.append(connection, caller, "second_factor.enrolled", user.id)
    return codes


def _remove(shop: Services, caller: Principal, attempt: Attempt, checked: str | None, code: str) -> None:
    """`checked`: the hash that the given password was verified against; it may have been changed meanwhile."""
    with shop.database.transaction() as connection:
        user = _found(users.lock_user(connection, caller.user_id))
        if attempt.spent or user.password_hash != checked:
            raise InvalidCredentials()
        if not second_factor.check_code(shop, connection, user.id, code):
            raise InvalidCredentials()
        second_factors.remove(connection, user.id, to_be_replaced=shop.settings.production and user.role in STAFF)
        attempt.forget(connection)
        audit.append(connection, caller, "second_factor.removed", user.id)


def _found(user: User | None) -> User:
    if user is None:
        raise NotFound("There is no such account")
    return user
