"""API keys: shown once, with no scopes that their creator has not, revoked at once."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from activities.gateways.secrets import token_digest
from api import paging
from api.auth import API_KEY_PREFIX, UsersWriter
from api.fields import Id
from api.paging import Cursor, Limit
from api.schemas.base import Body, Line
from api.schemas.responses import Out, Problem
from api.services import Shop
from api.timestamps import Moment
from models.accounts.access import Scope
from models.db.repositories.accounts import api_keys as repository
from models.db.repositories.delivery import audit
from models.errors import Forbidden, InvalidRequest, NotFound
from models.ids import new_id

router = APIRouter(
    prefix="/v1/api-keys",
    tags=["staff"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 422)},
)

HINT_LENGTH = 4


class NewKey(Body):
    name: Annotated[Line, Field(description="which machine it is for")]
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))]
    expires_at: Moment | None = None


class ApiKeyOut(Out):
    id: str
    name: str
    hint: str
    scopes: list[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None


class NewKeyOut(ApiKeyOut):
    key: str


class ApiKeyPage(Out):
    items: list[ApiKeyOut]
    next_cursor: str | None


@router.post("", status_code=201, response_model=NewKeyOut)
def create_api_key(shop: Shop, caller: UsersWriter, body: NewKey) -> JSONResponse:
    """`key` is shown here only. 403 for scopes that the creator has not."""
    wider = [scope for scope in body.scopes if not caller.has(scope)]
    if wider:
        raise Forbidden(f"You don't have {', '.join(wider)} to give")
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise InvalidRequest.at("/expires_at", "is in the past")
    key = API_KEY_PREFIX + secrets.token_urlsafe(32)
    with shop.database.transaction() as connection:
        made = repository.create(
            connection,
            new_id("key"),
            name=body.name,
            hint=key[-HINT_LENGTH:],
            digest=token_digest(key),
            scopes=sorted(set(body.scopes)),
            created_by=caller.user_id,
            expires_at=body.expires_at,
        )
        audit.append(connection, caller, "api_key.created", made.id, scopes=made.scopes)
    answer = NewKeyOut(**made.view(), key=key)
    return JSONResponse(answer.model_dump(mode="json"), status_code=201)


@router.get("", response_model=ApiKeyPage)
def list_api_keys(shop: Shop, caller: UsersWriter, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """Valid and expired keys, newest first; `hint`: a key's last characters."""
    before = paging.decode(cursor, str)[0] if cursor is not None else None
    with shop.database.autocommit() as connection:
        found = repository.page(connection, before=before, limit=limit + 1)
    next_cursor = paging.encode(found[limit - 1].id) if len(found) > limit else None
    shown = [ApiKeyOut(**key.view()).model_dump(mode="json") for key in found[:limit]]
    return JSONResponse(paging.page(shown, next_cursor))


@router.delete("/{key_id}", status_code=204)
def revoke_api_key(shop: Shop, caller: UsersWriter, key_id: Id) -> Response:
    """Takes effect at once in every process: each request checks its key in the database."""
    with shop.database.transaction() as connection:
        if not repository.revoke(connection, key_id):
            raise NotFound("There is no such key")
        audit.append(connection, caller, "api_key.revoked", key_id)
    return Response(status_code=204)
