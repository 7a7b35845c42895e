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
from api.auth import Caller, Person
from api.passwords import checked_password
from api.schemas.base import Body, Line
from api.schemas.responses import Accepted, Problem, SignedIn
from api.services import Services, Shop
from api.sessions import From
from models.accounts.access import Principal
from models.accounts.accounts import LinkPurpose, NoticeKind, RequestKind, address_range
from models.base import Storable
from models.db.repositories.accounts import account_requests, links, notices, sessions, users
from models.db.repositories.accounts.links import StoredLink
from models.db.repositories.accounts.sessions import Origin
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit
from models.db.repositories.orders import claims
from models.errors import Forbidden, Gone, InvalidCredentials, InvalidRequest

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


class ConfirmIn(Body):
    token: Token
    password: NewlyChosen | None = None


class ResetIn(Body):
    token: Token
    new_password: NewlyChosen


class EmailChange(Body):
    email: Line
    password: Secret


@router.post("/v1/auth/register", status_code=202, response_model=Accepted)
async def register(shop: Shop, origin: From, body: RegisterIn) -> JSONResponse:
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
        asked_from=address_range(origin.address),
        waited_seconds=waited,
    )
    return _accepted("verification_sent")


@router.post("/v1/auth/email-verification", status_code=202, response_model=Accepted)
def request_verification(shop: Shop, body: AddressGiven) -> JSONResponse:
    """Sends another mail if the address waits for its verification; the earlier link becomes invalid."""
    _submit(shop, RequestKind.EMAIL_VERIFICATION, checked_email(body.email))
    return _accepted("verification_sent")


@router.post(
    "/v1/auth/email-verification/confirm",
    response_model=SignedIn | Accepted,
    responses={403: {"model": Problem}, 410: {"model": Problem}, 422: {"model": Problem}},
)
async def confirm_email(shop: Shop, origin: From, caller: Caller, body: ConfirmIn) -> JSONResponse:
    """Verifies the address: the account begins, or has its new address. Signs in as a login does.

    Whoever reads the mail need not be who asked for it. So what was typed with the request comes into force only from
    the network that it was typed in (IPv4 /24, IPv6 /64). Elsewhere a new account needs a `password`, which replaces
    the one that was typed (422 `/password` without), and a change of address the session that asked for it (403). The
    link stays valid after either. With a second factor, a change of address does not sign in: the response is
    `{"status": "confirmed"}` then.
    """
    digest = token_digest(body.token)
    chosen = await _chosen_password(shop, digest, body.password)
    return JSONResponse(await run_in_threadpool(_confirm, shop, digest, origin, caller, chosen))


async def _chosen_password(shop: Services, digest: bytes, password: str | None) -> str | None:
    """The hash of the password given with the link, if any."""
    if password is None:
        return None
    link = await run_in_threadpool(_live_link, shop, digest)
    return await shop.passwords.hash(checked_password(shop, password, "/password", link.email, link.name or ""))


def _live_link(shop: Services, digest: bytes) -> StoredLink:
    with shop.database.autocommit() as connection:
        return links.find(connection, digest, LinkPurpose.EMAIL_VERIFICATION)


def _confirm(
    shop: Services, digest: bytes, origin: Origin, caller: Principal | None, chosen: str | None
) -> dict[str, Any]:
    with shop.database.transaction() as connection:
        link = links.use(connection, digest, LinkPurpose.EMAIL_VERIFICATION)
        user = _owner(connection, link)
        here = link.asked_from is None or link.asked_from == address_range(origin.address)
        if user.verified:
            if not here and (caller is None or caller.user_id != user.id):
                raise Forbidden("Sign in where you asked for the new address, and follow the link there")
            return _change_address(shop, connection, link, user, origin)
        if not here and chosen is None:
            raise InvalidRequest.at("/password", "is needed where the link is not opened in the network of the request")
        return _begin_account(shop, connection, link, user, origin, chosen)


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
    await run_in_threadpool(_ask_for_change, shop, person, confirmed, email, origin)
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
    shop: Services, connection: Connection, link: StoredLink, user: User, origin: Origin, chosen: str | None
) -> dict[str, Any]:
    password_hash = chosen or link.password_hash
    if link.name is None or password_hash is None:
        raise Gone()
    users.verify(connection, user.id, email=link.email, name=link.name, password_hash=password_hash)
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


def _ask_for_change(shop: Services, person: Principal, confirmed: User, email: str, origin: Origin) -> None:
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
            asked_from=address_range(origin.address),
            lifetime_seconds=shop.settings.email_verification_seconds,
            mails_per_hour=shop.settings.account_mails_per_hour,
        )
        if link is None:
            return
        notices.queue(connection, user.id, NoticeKind.ADDRESS_CHANGE_REQUESTED)
        audit.append(connection, person, "address.change_requested", user.id)
