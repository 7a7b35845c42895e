"""Registration and mailed links: verify an address, reset a password, change the address.

The three calls that need no sign-in do the same work for every address, known or not: the outbox handles them later
(models/db/repositories/accounts/account_requests.py), and only the mailbox shows the result.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, StringConstraints

from activities.gateways.secrets import token_digest
from api import sessions as signing_in
from api.addresses import checked_email
from api.auth import Person
from api.passwords import checked_password
from api.schemas.base import Body, Line
from api.schemas.responses import Accepted, Problem, SignedIn
from api.services import Services, Shop
from api.sessions import From
from models.accounts.access import Principal
from models.accounts.accounts import LinkPurpose, NoticeKind, RequestKind
from models.base import Storable
from models.db.repositories.accounts import account_requests, links, notices, sessions, users
from models.db.repositories.accounts.links import StoredLink
from models.db.repositories.accounts.sessions import Origin
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.db.repositories.orders import claims
from models.errors import Gone, InvalidCredentials

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(tags=["accounts"])


def _text(value: str) -> str:
    value.encode()  # raises ValueError for lone surrogates
    return value


Secret = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024), AfterValidator(_text)]
NewlyChosen = Annotated[str, StringConstraints(strict=True, max_length=1024)]  # checked by api/passwords.py
Token = Annotated[Storable, StringConstraints(strict=True, min_length=1, max_length=200)]


class RegisterIn(Body):
    email: Line
    password: NewlyChosen
    name: Line


class AddressGiven(Body):
    email: Line


class TokenGiven(Body):
    token: Token


class ResetIn(Body):
    token: Token
    new_password: NewlyChosen


class EmailChange(Body):
    email: Line
    password: Secret


@router.post("/v1/auth/register", status_code=202, response_model=Accepted)
async def register(shop: Shop, body: RegisterIn) -> JSONResponse:
    """The account begins once its mailed link is used; the owner of a known address gets a mail that says so."""
    began = time.monotonic()
    email = checked_email(body.email)
    password = checked_password(shop, body.password, "/password", email, body.name)
    hashed = await shop.passwords.hash(password)
    waited = time.monotonic() - began
    await run_in_threadpool(
        _submit,
        shop,
        RequestKind.REGISTRATION,
        email,
        name=body.name,
        password_hash=hashed,
        waited_seconds=waited,
    )
    return _accepted("verification_sent")


@router.post("/v1/auth/email-verification", status_code=202, response_model=Accepted)
def request_verification(shop: Shop, body: AddressGiven) -> JSONResponse:
    """Sends another mail if the address waits for its verification; the earlier link becomes invalid."""
    _submit(shop, RequestKind.EMAIL_VERIFICATION, checked_email(body.email))
    return _accepted("verification_sent")


@router.post(
    "/v1/auth/email-verification/confirm", response_model=SignedIn | Accepted, responses={410: {"model": Problem}}
)
def confirm_email(shop: Shop, origin: From, body: TokenGiven) -> JSONResponse:
    """Verifies the address: the account begins, or has its new address. Signs in as a login does.

    With a second factor, a change of address does not sign in: the response is `{"status": "confirmed"}` then.
    """
    with shop.database.transaction() as connection:
        link = links.use(connection, token_digest(body.token), LinkPurpose.EMAIL_VERIFICATION)
        user = _owner(connection, link)
        change = _change_address if user.verified else _begin_account
        answer = change(shop, connection, link, user, origin)
    return JSONResponse(answer)


@router.post("/v1/auth/password-reset", status_code=202, response_model=Accepted)
def request_reset(shop: Shop, body: AddressGiven) -> JSONResponse:
    """Sends a link if a verified account has that address; an earlier link becomes invalid."""
    _submit(shop, RequestKind.PASSWORD_RESET, checked_email(body.email))
    return _accepted("reset_sent")


@router.post(
    "/v1/auth/password-reset/confirm",
    status_code=204,
    responses={410: {"model": Problem}, 422: {"model": Problem}},
)
async def confirm_reset(shop: Shop, body: ResetIn) -> Response:
    """Sets the password and ends every session; the owner is notified by mail."""
    digest = token_digest(body.token)
    user = await run_in_threadpool(_reader_of, shop, digest)
    password = checked_password(shop, body.new_password, "/new_password", user.email, user.name)
    hashed = await shop.passwords.hash(password)
    await run_in_threadpool(_reset, shop, digest, hashed)
    return Response(status_code=204)


@router.post(
    "/v1/me/email",
    status_code=202,
    response_model=Accepted,
    responses={401: {"model": Problem}, 429: {"model": Problem}},
)
async def change_email(shop: Shop, person: Person, origin: From, body: EmailChange) -> JSONResponse:
    """Takes effect when the new address is confirmed; the old one is notified now and then."""
    email = checked_email(body.email)
    confirmed = await shop.attempts.confirm(person.user_id, body.password, origin.address)
    await run_in_threadpool(_ask_for_change, shop, person, confirmed, email)
    return _accepted("verification_sent")


def _submit(shop: Services, kind: RequestKind, email: str, **more: Any) -> None:
    with shop.database.transaction() as connection:
        account_requests.submit(connection, kind, email, **more)


def _accepted(status: str) -> JSONResponse:
    return JSONResponse({"status": status}, status_code=202)


def _owner(connection: Connection, link: StoredLink) -> User:
    user = users.read_user(connection, link.user_id)
    if user is None or user.disabled:
        raise Gone()
    return user


def _begin_account(
    shop: Services, connection: Connection, link: StoredLink, user: User, origin: Origin
) -> dict[str, Any]:
    if link.name is None or link.password_hash is None:
        raise Gone()
    users.verify(connection, user.id, email=link.email, name=link.name, password_hash=link.password_hash)
    return _sign_in(shop, connection, user, origin, "account.verified")


def _change_address(
    shop: Services, connection: Connection, link: StoredLink, user: User, origin: Origin
) -> dict[str, Any]:
    """Invalidates all links mailed to the old address; its owner is notified of the change."""
    account_requests.release_address(connection, link.email)
    users.change_email(connection, user.id, link.email)
    links.end_live(connection, user.id, LinkPurpose.PASSWORD_RESET)
    notices.queue(connection, user.id, NoticeKind.ADDRESS_CHANGED, email=user.email)
    return _sign_in(shop, connection, user, origin, "address.changed")


def _sign_in(shop: Services, connection: Connection, before: User, origin: Origin, action: str) -> dict[str, Any]:
    claims.claim_guest_orders(connection, before.id)
    user = users.read_user(connection, before.id)
    assert user is not None
    audit.append(connection, Principal(user_id=user.id, role=user.role), action, user.id)
    if user.second_factor:
        return {"status": "confirmed"}
    return signing_in.start(shop, connection, user, origin, method="email")


def _reader_of(shop: Services, digest: bytes) -> User:
    with shop.database.autocommit() as connection:
        return _owner(connection, links.find(connection, digest, LinkPurpose.PASSWORD_RESET))


def _reset(shop: Services, digest: bytes, hashed: str) -> None:
    """Ends everything that the old password gave: all sessions, and a pending change of address."""
    with shop.database.transaction() as connection:
        user = _owner(connection, links.use(connection, digest, LinkPurpose.PASSWORD_RESET))
        users.set_password(connection, user.id, hashed)
        sessions.end_all(connection, user.id, "password_reset")
        audit.append(connection, Principal(user_id=user.id, role=user.role), "password.reset", user.id)


def _ask_for_change(shop: Services, person: Principal, confirmed: User, email: str) -> None:
    with shop.database.transaction() as connection:
        user = users.lock_user(connection, confirmed.id)
        if user is None or user.password_hash != confirmed.password_hash or user.must_reset:
            raise InvalidCredentials()
        link = links.create(
            connection,
            shop.vault.link_digest,
            purpose=LinkPurpose.EMAIL_VERIFICATION,
            user_id=user.id,
            email=email,
            lifetime_seconds=shop.settings.email_verification_seconds,
            mails_per_hour=shop.settings.account_mails_per_hour,
        )
        if link is None:
            return
        notices.queue(connection, user.id, NoticeKind.ADDRESS_CHANGE_REQUESTED)
        audit.append(connection, person, "address.change_requested", user.id)
