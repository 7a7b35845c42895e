"""Idempotency-Key for every route: the same key and body get the same bytes again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import Header, Request
from fastapi.responses import Response
from pydantic import BaseModel

from models.db.repositories.delivery import stored_responses
from models.db.session import Database
from models.delivery.stored_responses import StoredResponse
from models.errors import BadIdempotencyKey, HoldfastError, IdempotencyKeyRequired
from models.ids import digest_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", description="1 to 255 visible ASCII characters")]

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


class Key(NamedTuple):
    """`digest` of audience, route and key; `fingerprint` of the body. Both hex SHA-256."""

    digest: str
    fingerprint: str


def key_of(key: str | None, audience: str, route: str, body: BaseModel | dict[str, Any]) -> Key | None:
    """None without the header. Raises BadIdempotencyKey."""
    if key is None:
        return None
    if not _VISIBLE.fullmatch(key):
        raise BadIdempotencyKey()
    content = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return Key(digest_of(audience, route, key).hex(), hashlib.sha256(canonical.encode()).hexdigest())


def required(key: Key | None) -> Key:
    if key is None:
        raise IdempotencyKeyRequired()
    return key


def respond(request: Request, answer: StoredResponse, *, replayed: bool = False) -> Response:
    """The stored bytes as a response; a problem has its own media type."""
    problem = answer.status >= 400
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    if answer.status == 503:
        headers["Retry-After"] = "1"
    return Response(
        answer.body,
        status_code=answer.status,
        headers=headers,
        media_type="application/problem+json" if problem else "application/json",
    )


def problem_of(request: Request, error: HoldfastError) -> StoredResponse:
    """This request's problem, as a response that can be stored."""
    return StoredResponse.refusal(error, instance=request.url.path, request_id=request.scope["request_id"])


def store_problem(request: Request, database: Database, key: Key | None, error: HoldfastError) -> StoredResponse:
    """Stores the problem under the key, if its class is stored; otherwise raises the error."""
    if key is None or not error.stored:
        raise error
    answer = problem_of(request, error)
    with database.transaction() as connection:
        first = stored_responses.claim(connection, key.digest, key.fingerprint)
        if first is not None:  # a concurrent request with this key was refused first
            return first
        stored_responses.store(connection, key.digest, key.fingerprint, answer)
    return answer


def once(
    request: Request, database: Database, key: Key | None, work: Callable[[Connection], StoredResponse]
) -> Response:
    """Runs a command in one transaction and stores its response; a repeated key gets the stored response.

    A refusal rolls the transaction back and is stored if its class allows it. A concurrent request with the same key
    waits for the first.
    """
    try:
        with database.transaction() as connection:
            stored_response = stored_responses.claim(connection, key.digest, key.fingerprint) if key else None
            if stored_response is not None:
                return respond(request, stored_response, replayed=True)
            answer = work(connection)
            if key is not None:
                stored_responses.store(connection, key.digest, key.fingerprint, answer)
    except HoldfastError as error:
        answer = store_problem(request, database, key, error)
    return respond(request, answer)
