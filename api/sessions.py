"""Starts a session after any kind of sign-in: one session, its first pair of tokens, one row in the audit log."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from activities.gateways.secrets import token_digest
from api.services import Services
from models.accounts.access import STAFF, Principal
from models.accounts.accounts import SecondFactor, SessionTokens
from models.db.repositories.accounts import sessions
from models.db.repositories.accounts.sessions import Origin
from models.db.repositories.accounts.users import User
from models.db.repositories.delivery import audit

if TYPE_CHECKING:
    from sqlalchemy import Connection


async def _origin(request: Request) -> Origin:
    return Origin(
        user_agent=request.headers.get("user-agent", "").encode("latin-1", "replace").decode("latin-1"),
        address=request.client.host if request.client else "",
    )


From = Annotated[Origin, Depends(_origin)]


def start(
    shop: Services, connection: Connection, user: User, origin: Origin, *, method: str, passed: bool = False
) -> dict[str, Any]:
    """The response to a sign-in, within the caller's transaction. `passed`: a second factor was checked.

    In production, staff without a second factor may sign in only to enrol: the session has no scopes.
    """
    second_factor = SecondFactor.PASSED if passed else SecondFactor.NONE
    if shop.settings.production and user.role in STAFF and not passed:
        second_factor = SecondFactor.PENDING
    refresh_token = secrets.token_urlsafe(32)
    session_id = sessions.begin(
        connection,
        user.id,
        method=method,
        second_factor=second_factor,
        origin=origin,
        refresh_digest=token_digest(refresh_token),
        seconds=shop.settings.refresh_token_seconds,
    )
    who = Principal(user_id=user.id, role=user.role, session_id=session_id)
    audit.append(connection, who, "session.started", user.id, session=session_id, method=method)
    return pair(shop, who, refresh_token) | {"user": user.view()}


def pair(shop: Services, who: Principal, refresh_token: str) -> dict[str, Any]:
    return SessionTokens(
        access_token=shop.tokens.issue(who), refresh_token=refresh_token, expires_in=int(shop.tokens.seconds)
    ).model_dump()
