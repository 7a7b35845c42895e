"""What support does to an order: put it on hold and release it, write notes, send the confirmation again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api import paging
from api.addresses import Body, Line
from api.auth import OrdersReader, Support, audience
from api.fields import Id, Words
from api.idempotency import IdempotencyKey, key_of, once
from api.paging import Cursor, Limit
from api.routes.order_commands import asked_by
from api.schemas import NoteOut, NotePage, OrderOut, Problem
from api.services import Services, Shop
from models.access import Principal
from models.answers import Answer, rfc3339
from models.db.repositories import audit, order_commands
from models.db.repositories.order_commands import Note
from models.db.repositories.orders import StoredOrder, require_order
from models.order_commands import By

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(
    prefix="/v1/support/orders",
    tags=["support"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)},
)

Command = Callable[["Connection", str, By], StoredOrder]


class Because(Body):
    reason: Line | None = None


class NewNote(Body):
    text: Words


@router.post("/{order_id}/hold", response_model=OrderOut)
def hold_order(
    request: Request, shop: Shop, caller: Support, order_id: Id, body: Because, idempotency_key: IdempotencyKey = None
) -> Response:
    """Nothing leaves until it is released."""
    return _steer(request, shop, caller, order_id, body, idempotency_key, "hold", order_commands.hold)


@router.post("/{order_id}/release", response_model=OrderOut)
def release_order(
    request: Request,
    shop: Shop,
    caller: Support,
    order_id: Id,
    body: Because | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """It goes on where it was."""
    return _steer(
        request, shop, caller, order_id, body or Because(), idempotency_key, "release", order_commands.release
    )


@router.post("/{order_id}/resend-confirmation", status_code=202, response_model=OrderOut)
def resend_confirmation(
    request: Request, shop: Shop, caller: Support, order_id: Id, idempotency_key: IdempotencyKey = None
) -> Response:
    """The confirmation once more, as the order stands now; the mail follows."""
    return _steer(
        request,
        shop,
        caller,
        order_id,
        Because(),
        idempotency_key,
        "resend",
        order_commands.resend_confirmation,
        status=202,
    )


@router.post("/{order_id}/notes", status_code=201, response_model=NoteOut)
def add_note(
    request: Request, shop: Shop, caller: Support, order_id: Id, body: NewNote, idempotency_key: IdempotencyKey = None
) -> Response:
    """Seen by staff only."""
    key = key_of(idempotency_key, audience(caller, None), request.url.path, body)

    def add(connection: Connection) -> Answer:
        note = order_commands.add_note(connection, order_id, body.text, asked_by(caller, key))
        return Answer.of(201, _shown(note))

    return once(request, shop.database, key, add)


@router.get("/{order_id}/notes", response_model=NotePage)
def read_notes(
    shop: Shop, caller: OrdersReader, order_id: Id, limit: Limit = 20, cursor: Cursor = None
) -> JSONResponse:
    """Notes and the reasons that people gave, oldest first."""
    after = paging.decode(cursor, str)[0] if cursor is not None else ""
    with shop.database.reading() as connection:
        require_order(connection, order_id)
        notes = order_commands.read_notes(connection, order_id, after=after, limit=limit + 1)
        audit.append(connection, caller, "order.notes_read", order_id)
    next_cursor = paging.encode(notes[limit - 1].id) if len(notes) > limit else None
    return JSONResponse(paging.page([_shown(note) for note in notes[:limit]], next_cursor))


def _steer(
    request: Request,
    shop: Services,
    caller: Principal,
    order_id: str,
    body: Because,
    idempotency_key: str | None,
    kind: str,
    command: Command,
    *,
    status: int = 200,
) -> Response:
    key = key_of(idempotency_key, audience(caller, None), request.url.path, body)
    by = asked_by(caller, key)

    def steer(connection: Connection) -> Answer:
        stored = command(connection, order_id, by)
        order_commands.remember(connection, order_id, kind, body.reason, by.actor)
        audit.append(connection, caller, f"order.{kind}", order_id)
        return Answer.of(status, stored.view())

    return once(request, shop.database, key, steer)


def _shown(note: Note) -> dict[str, Any]:
    return {**note._asdict(), "at": rfc3339(note.at)}
