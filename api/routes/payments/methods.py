"""Saved payment methods: provider tokens only, set up by a workflow with the bank's challenge."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from api import paging
from api.auth import Person
from api.commands import Command
from api.fields import Id
from api.idempotency import Key, respond
from api.paging import Cursor, Limit
from api.schemas.base import Body
from api.schemas.profiles import PaymentMethodOut, PaymentMethodPage
from api.schemas.responses import Problem
from api.services import Services, Shop
from models.accounts.access import Principal
from models.db.repositories.accounts import profiles
from models.db.repositories.delivery import stored_responses
from models.db.repositories.payments import method_saving
from models.db.repositories.payments import methods as repository
from models.db.repositories.payments.methods import MethodState
from models.delivery.stored_responses import CommandResponse, StoredResponse
from models.errors import BadCursor, NotFound, PaymentDeclined, SetupExpired
from models.ids import derived_id, new_id
from models.payments.methods import LIVE_SETUP, BeginPaymentMethod, PaymentMethodState

router = APIRouter(
    prefix="/v1/me/payment-methods",
    tags=["profile"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)},
)

PENDING: dict[int | str, dict[str, Any]] = {
    202: {"model": PaymentMethodOut},
    402: {"model": Problem},
    503: {"model": Problem},
}

_EARLIEST = (datetime(1970, 1, 1, tzinfo=UTC), "")
# The characters of providers' tokens; no personal data fits.
Token = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_]+$")]


class NewPaymentMethod(Body):
    provider: Literal["stripe"]
    method: Annotated[Token, Field(description="the provider's token; never a card number", examples=["pm_card_visa"])]


@router.get("", response_model=PaymentMethodPage)
def list_payment_methods(shop: Shop, caller: Person, limit: Limit = 20, cursor: Cursor = None) -> JSONResponse:
    """Saved methods, oldest first."""
    after = _EARLIEST
    if cursor is not None:
        at, payment_method_id = paging.decode(cursor, str, str)
        try:
            after = (datetime.fromisoformat(at).astimezone(UTC), payment_method_id)
        except (ValueError, OverflowError) as error:
            raise BadCursor() from error
    with shop.database.autocommit() as connection:
        found = repository.list_saved(connection, caller.user_id, after=after, limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    next_cursor = paging.encode(last["created_at"], last["id"]) if last else None
    return JSONResponse(paging.page(found[:limit], next_cursor))


@router.post("", status_code=201, response_model=PaymentMethodOut, responses=PENDING)
async def save_payment_method(
    request: Request, command: Command, shop: Shop, caller: Person, body: NewPaymentMethod
) -> Response:
    """Saves a card at the provider. 202 when the bank wants a challenge: then `next_action`, and `resume`."""
    key = command.key(caller, body)
    known = await run_in_threadpool(_prepare, shop, caller, key, body, request.scope["request_id"])
    if isinstance(known, StoredResponse):
        return respond(request, known, replayed=True)
    response = await shop.processes.save_payment_method(known)
    return respond(request, await run_in_threadpool(_answer, shop, known, response))


@router.post("/{payment_method_id}/resume", response_model=PaymentMethodOut, responses=PENDING)
async def resume_payment_method(request: Request, shop: Shop, caller: Person, payment_method_id: Id) -> Response:
    """Continues after the owner's action. The provider's webhook does the same; the first one counts."""
    method = await run_in_threadpool(_read, shop, caller, payment_method_id)
    if method.state in LIVE_SETUP:
        response = None
        with contextlib.suppress(NotFound):  # it has ended meanwhile
            response = await shop.processes.resume_setup(payment_method_id)
        if response is not None and response.body is not None:
            return respond(request, StoredResponse(status=response.status, body=response.body))
        method = await run_in_threadpool(_read, shop, caller, payment_method_id)
    if method.decline_code is not None:
        raise PaymentDeclined(decline_code=method.decline_code, payment_method_id=payment_method_id)
    if method.reason == SetupExpired.slug:
        raise SetupExpired(payment_method_id=payment_method_id)
    return JSONResponse(method.view, status_code=202 if method.state in LIVE_SETUP else 200)


@router.put("/{payment_method_id}/default", response_model=PaymentMethodOut)
def make_default(shop: Shop, caller: Person, payment_method_id: Id) -> JSONResponse:
    """Makes it the method that is offered first."""
    with shop.database.transaction() as connection:
        return JSONResponse(repository.make_default(connection, caller.user_id, payment_method_id))


@router.delete("/{payment_method_id}", status_code=204)
def remove_payment_method(shop: Shop, caller: Person, payment_method_id: Id) -> Response:
    """Removes it at once; the provider call is retried. The newest other method becomes the default."""
    with shop.database.transaction() as connection:
        repository.remove(connection, caller.user_id, payment_method_id)
    return Response(status_code=204)


def _prepare(
    shop: Services, caller: Principal, key: Key | None, body: NewPaymentMethod, request_id: str
) -> StoredResponse | BeginPaymentMethod:
    """The response stored under the key, or the command that begins the set-up."""
    payment_method_id = new_id("pm")
    with shop.database.autocommit() as connection:
        profiles.read_profile(connection, caller.user_id)
        if key is not None:
            stored = stored_responses.find(connection, key.digest, key.fingerprint)
            if stored is not None:
                return stored
            payment_method_id = derived_id("pm", key.digest, str(method_saving.restarts(connection, key.digest)))
    return BeginPaymentMethod(
        payment_method_id=payment_method_id,
        user_id=caller.user_id,
        provider=body.provider,
        method=body.method,
        key_digest=key.digest if key else None,
        fingerprint=key.fingerprint if key else "",
        request_id=request_id,
        payment_action_seconds=shop.settings.payment_action_seconds,
        payment_lookup_seconds=shop.settings.payment_lookup_seconds,
    )


def _answer(shop: Services, begin: BeginPaymentMethod, response: CommandResponse) -> StoredResponse:
    """The workflow's response, with the bytes that it stored in the database."""
    if response.body is not None:
        return StoredResponse(status=response.status, body=response.body)
    with shop.database.autocommit() as connection:
        if begin.key_digest is not None:
            stored = stored_responses.find(connection, begin.key_digest, begin.fingerprint)
            assert stored is not None, "an answer without bytes is stored with its key"
            return stored
        method = repository.read(connection, begin.user_id, begin.payment_method_id)
    saved = method.state is PaymentMethodState.SAVED  # it may be saved by now, though the workflow answered 202
    return StoredResponse.of(201 if saved else response.status, method.view)


def _read(shop: Services, caller: Principal, payment_method_id: str) -> MethodState:
    with shop.database.autocommit() as connection:
        return repository.read(connection, caller.user_id, payment_method_id)
