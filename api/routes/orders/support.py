"""Commands of support: hold and release an order, add notes, send the confirmation again."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from api import paging
from api.auth import OrdersReader, Support
from api.commands import Command, initiator
from api.fields import Id, Words
from api.paging import Cursor, Limit
from api.schemas.base import Body, Line
from api.schemas.responses import NoteOut, NotePage, OrderOut, Problem
from api.services import Shop
from models.db.repositories import commands
from models.db.repositories.delivery import audit
from models.db.repositories.orders import notes as order_notes
from models.db.repositories.orders.orders import require_order

router = APIRouter(
    prefix="/v1/support/orders",
    tags=["support"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422)},
)


class ReasonIn(Body):
    reason: Line | None = None


class NewNote(Body):
    text: Words


@router.post("/{order_id}/hold", response_model=OrderOut)
def hold_order(command: Command, caller: Support, order_id: Id, body: ReasonIn) -> Response:
    """Nothing of the order ships until it is released."""
    key = command.key(caller, body)
    initiated_by = initiator(caller, key)
    return command.once(key, lambda connection: commands.hold_order(connection, order_id, initiated_by, body.reason))


@router.post("/{order_id}/release", response_model=OrderOut)
def release_order(command: Command, caller: Support, order_id: Id, body: ReasonIn | None = None) -> Response:
    """The order returns to its state before the hold."""
    body = body or ReasonIn()
    key = command.key(caller, body)
    initiated_by = initiator(caller, key)
    return command.once(key, lambda connection: commands.release_order(connection, order_id, initiated_by, body.reason))


@router.post("/{order_id}/resend-confirmation", status_code=202, response_model=OrderOut)
def resend_confirmation(command: Command, caller: Support, order_id: Id) -> Response:
    """Sends the confirmation once more, with the order's present state."""
    key = command.key(caller, {})
    initiated_by = initiator(caller, key)
    return command.once(key, lambda connection: commands.resend_confirmation(connection, order_id, initiated_by))


@router.post("/{order_id}/notes", status_code=201, response_model=NoteOut)
def add_note(command: Command, caller: Support, order_id: Id, body: NewNote) -> Response:
    """Only staff can read notes."""
    key = command.key(caller, body)
    initiated_by = initiator(caller, key)
    return command.once(key, lambda connection: commands.add_note(connection, order_id, initiated_by, body.text))


@router.get("/{order_id}/notes", response_model=NotePage)
def read_notes(
    shop: Shop, caller: OrdersReader, order_id: Id, limit: Limit = 20, cursor: Cursor = None
) -> JSONResponse:
    """Notes and the reasons of commands, oldest first."""
    after = paging.decode(cursor, str)[0] if cursor is not None else ""
    with shop.database.autocommit() as connection:
        require_order(connection, order_id)
        notes = order_notes.read_notes(connection, order_id, after=after, limit=limit + 1)
        audit.append(connection, caller, "order.notes_read", order_id)
    next_cursor = paging.encode(notes[limit - 1].id) if len(notes) > limit else None
    return JSONResponse(paging.page([commands.note_view(note) for note in notes[:limit]], next_cursor))
