"""Staff: list, invite by mail, accept an invitation, change role or disable."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from activities.gateways.secrets import token_digest
from api import paging
from api import sessions as signing_in
from api.addresses import checked_email
from api.auth import UsersWriter
from api.fields import Id
from api.paging import Cursor, Limit
from api.passwords import checked_password
from api.routes.accounts.registration import NewlyChosen, Token
from api.routes.accounts.sessions import Code
from api.schemas.base import Body, Line
from api.schemas.responses import Accepted, Out, Problem, SignedIn
from api.second_factor import check_code
from api.services import Services, Shop
from api.sessions import From
from models.accounts.access import SCOPES, STAFF, Principal, Role
from models.db.repositories.accounts import staff as repository
from models.db.repositories.accounts.sessions import Origin
from models.db.repositories.delivery import audit
from models.db.repositories.orders import claims
from models.errors import Forbidden, InvalidCredentials, InvalidRequest, SecondFactorRequired

router = APIRouter(tags=["staff"])

REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (401, 403, 404, 409, 422, 429)}


class InvitationIn(Body):
    email: Line
    role: Annotated[Role, Field(strict=False, description="of the staff")]


class AcceptanceIn(Body):
    """`name` and `password` for a new account; an existing one keeps its own. `code`: of its second factor."""

    token: Token
    name: Line | None = None
    password: NewlyChosen | None = None
    code: Code | None = None


class StaffChange(Body):
    role: Annotated[Role | None, Field(strict=False)] = None
    disabled: bool | None = None


class StaffOut(Out):
    id: str
    email: str
    name: str
    role: Role
    second_factor: bool
    disabled: bool
    created_at: datetime


class StaffPage(Out):
    items: list[StaffOut]
    next_cursor: str | None


class InvitationOut(Out):
    id: str
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


class InvitationPage(Out):
    items: list[InvitationOut]
    next_cursor: str | None


@router.get("/v1/staff", response_model=StaffPage, responses={400: {"model": Problem}, **REFUSALS})
def list_staff(shop: Shop, caller: UsersWriter, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """Users with another role than `customer`, disabled ones too."""
    after = paging.decode(cursor, str)[0] if cursor is not None else ""
    with shop.database.autocommit() as connection:
        found = repository.page(connection, after=after, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].id) if len(found) > limit else None
    shown = [StaffOut(**member.view()).model_dump(mode="json") for member in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))


@router.post("/v1/staff/invitations", status_code=202, response_model=Accepted, responses=REFUSALS)
def invite(shop: Shop, caller: UsersWriter, body: InvitationIn) -> JSONResponse:
    """Mails a link that replaces an earlier one. 403 for scopes that the inviter has not."""
    if body.role not in STAFF:
        raise InvalidRequest.at("/role", "is not a role of the staff")
    _may_give(caller, body.role)
    with shop.database.transaction() as connection:
        repository.invite(
            connection,
            caller,
            shop.vault.link_digest,
            email=checked_email(body.email),
            role=body.role,
            lifetime_seconds=shop.settings.invitation_seconds,
            mails_per_hour=shop.settings.account_mails_per_hour,
        )
    return JSONResponse({"status": "invitation_sent"}, status_code=202)


@router.get("/v1/staff/invitations", response_model=InvitationPage, responses={400: {"model": Problem}, **REFUSALS})
def list_invitations(shop: Shop, caller: UsersWriter, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """Invitations that can still be accepted."""
    after = paging.decode(cursor, str)[0] if cursor is not None else ""
    with shop.database.autocommit() as connection:
        found = repository.invitations(connection, after=after, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].id) if len(found) > limit else None
    shown = [InvitationOut.model_validate(one.view()).model_dump(mode="json") for one in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))


@router.delete("/v1/staff/invitations/{invitation_id}", status_code=204, responses=REFUSALS)
def withdraw_invitation(shop: Shop, caller: UsersWriter, invitation_id: Id) -> Response:
    """Invalidates its link."""
    with shop.database.transaction() as connection:
        repository.withdraw(connection, caller, invitation_id)
    return Response(status_code=204)


@router.post(
    "/v1/auth/invitations/accept",
    response_model=SignedIn,
    responses={status: {"model": Problem} for status in (401, 410, 422, 429)},
)
async def accept_invitation(shop: Shop, origin: From, body: AcceptanceIn) -> JSONResponse:
    """Makes the user staff and signs them in; earlier sessions end. The link can be used once."""
    digest = token_digest(body.token)
    user = await run_in_threadpool(_invited, shop, digest)
    if user.second_factor:
        if body.code is None:
            raise SecondFactorRequired()
        async with shop.attempts.one(user.email, origin.address) as attempt:
            if attempt.spent:
                raise InvalidCredentials()
            answer = await run_in_threadpool(_join, shop, digest, body, None, origin)
            await attempt.uncount()
        return JSONResponse(answer)
    hashed = None
    if not user.verified:
        if body.name is None or body.password is None:
            missing = [name for name in ("name", "password") if getattr(body, name) is None]
            errors = [{"pointer": f"/{name}", "detail": "is required of who is new"} for name in missing]
            raise InvalidRequest(f"A new account needs: {', '.join(missing)}", errors=errors)
        password = checked_password(shop, body.password, "/password", user.email, body.name)
        hashed = await shop.passwords.hash(password)
    return JSONResponse(await run_in_threadpool(_join, shop, digest, body, hashed, origin))


@router.patch("/v1/staff/{user_id}", response_model=StaffOut, responses=REFUSALS)
def change_staff(shop: Shop, caller: UsersWriter, user_id: Id, body: StaffChange) -> JSONResponse:
    """A new role, or disabling, ends the user's sessions at once. 409 for the last admin."""
    if body.role is not None:
        _may_give(caller, body.role)
    with shop.database.transaction() as connection:
        member = repository.change(connection, caller, user_id, role=body.role, disabled=body.disabled)
    return JSONResponse(StaffOut(**member.view()).model_dump(mode="json"))


def _may_give(caller: Principal, role: Role) -> None:
    wider = sorted(SCOPES[role] - caller.scopes)
    if wider:
        raise Forbidden(f"You don't have {', '.join(wider)} to give")


def _invited(shop: Services, digest: bytes) -> Any:
    with shop.database.autocommit() as connection:
        return repository.invited(connection, digest)


def _join(shop: Services, digest: bytes, body: AcceptanceIn, hashed: str | None, origin: Origin) -> dict[str, Any]:
    with shop.database.transaction() as connection:
        user = repository.join(connection, digest, name=body.name, password_hash=hashed)
        if user.second_factor and not (body.code and check_code(shop, connection, user.id, body.code)):
            raise InvalidCredentials()
        claims.claim_guest_orders(connection, user.id)
        audit.append(connection, Principal(user_id=user.id, role=user.role), "staff.joined", user.id, role=user.role)
        return signing_in.start(shop, connection, user, origin, method="invitation", passed=user.second_factor)
