"""Free text about an order, which its events don't have: notes, and the reasons of commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.db.repositories.orders.orders import append, lock_order
from models.ids import new_id
from models.orders import orders
from models.orders.commands import Initiator
from models.orders.orders import Actor


class Note(NamedTuple):
    id: str
    kind: str
    text: str
    actor: dict[str, Any]
    at: datetime


def store_note(connection: Connection, order_id: str, kind: str, note: str | None, actor: Actor) -> str | None:
    """Stores a command's reason and returns the note's id; None without a reason."""
    if not note:
        return None
    note_id = new_id("note")
    connection.execute(
        text("""
        INSERT INTO order_notes (id, order_id, kind, text, actor)
        VALUES (:id, :order_id, :kind, :text, CAST(:actor AS jsonb))
        """),
        {"id": note_id, "order_id": order_id, "kind": kind, "text": note, "actor": actor.model_dump_json()},
    )
    return note_id


def add_note(connection: Connection, order_id: str, note: str, initiator: Initiator) -> Note:
    stored, now = lock_order(connection, order_id)
    note_id = store_note(connection, order_id, "note", note, initiator.actor)
    assert note_id is not None
    append(
        connection,
        stored.order,
        [(orders.ORDER_NOTED, {"note_id": note_id})],
        now=now,
        actor=initiator.actor,
        cause=initiator.cause,
    )
    return Note(note_id, "note", note, initiator.actor.model_dump(), now)


def read_notes(connection: Connection, order_id: str, *, after: str, limit: int) -> list[Note]:
    """Oldest first, after the id `after`."""
    rows = connection.execute(
        text("""
        SELECT id, kind, text, actor, at FROM order_notes WHERE order_id = :order_id AND id > :after
        ORDER BY id LIMIT :limit
        """),
        {"order_id": order_id, "after": after, "limit": limit},
    )
    return [Note(*row) for row in rows]
