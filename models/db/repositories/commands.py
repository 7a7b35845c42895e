"""Commands to orders, returns and tasks: each function makes the change, its note, its audit entry and the response.

They run in the caller's transaction. Commands of the order's buyer are not audited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from models.accounts.access import Principal
from models.addresses import Address
from models.db.repositories.delivery import audit, tasks
from models.db.repositories.orders import commands as order_commands
from models.db.repositories.orders import notes, refunds, returns
from models.db.repositories.orders.notes import Note
from models.db.repositories.orders.orders import StoredOrder
from models.db.repositories.orders.returns import ReturnOfOrder
from models.delivery.stored_responses import StoredResponse, rfc3339
from models.delivery.tasks import TaskOutcome, kind_of
from models.errors import Forbidden
from models.money import Money
from models.orders.commands import Initiator
from models.orders.orders import LineQuantity
from models.orders.returns import ReceiveReturn, ReturnLine


def cancel_order(connection: Connection, order_id: str, initiator: Initiator, reason: str | None) -> StoredResponse:
    stored = order_commands.cancel(connection, order_id, initiator)
    notes.store_note(connection, order_id, "cancel", reason, initiator.actor)
    _audit(connection, initiator, "order.cancelled", order_id)
    return StoredResponse.of(200, stored.view())


def change_address(connection: Connection, order_id: str, initiator: Initiator, address: Address) -> StoredResponse:
    stored = order_commands.change_address(connection, order_id, address, initiator)
    _audit(connection, initiator, "order.address_changed", order_id)
    return StoredResponse.of(200, stored.view())


def hold_order(connection: Connection, order_id: str, initiator: Initiator, reason: str | None) -> StoredResponse:
    return StoredResponse.of(200, _execute(connection, order_id, initiator, "hold", reason, order_commands.hold))


def release_order(connection: Connection, order_id: str, initiator: Initiator, reason: str | None) -> StoredResponse:
    return StoredResponse.of(200, _execute(connection, order_id, initiator, "release", reason, order_commands.release))


def resend_confirmation(connection: Connection, order_id: str, initiator: Initiator) -> StoredResponse:
    return StoredResponse.of(
        202, _execute(connection, order_id, initiator, "resend", None, order_commands.resend_confirmation)
    )


def _execute(
    connection: Connection,
    order_id: str,
    initiator: Initiator,
    kind: str,
    reason: str | None,
    command: Callable[[Connection, str, Initiator], StoredOrder],
) -> dict[str, Any]:
    stored = command(connection, order_id, initiator)
    notes.store_note(connection, order_id, kind, reason, initiator.actor)
    _audit(connection, initiator, f"order.{kind}", order_id)
    return stored.view()


def add_note(connection: Connection, order_id: str, initiator: Initiator, text: str) -> StoredResponse:
    return StoredResponse.of(201, note_view(notes.add_note(connection, order_id, text, initiator)))


def note_view(note: Note) -> dict[str, Any]:
    return {**note._asdict(), "at": rfc3339(note.at)}


def request_refund(
    connection: Connection,
    order_id: str,
    initiator: Initiator,
    *,
    refund_id: str,
    amount: Money | None,
    lines: list[LineQuantity],
    reason: str,
) -> StoredResponse:
    requested = refunds.request(
        connection,
        order_id,
        amount=amount,
        lines=lines,
        cause=initiator.cause,
        actor=initiator.actor,
        refund_id=refund_id,
        reason=reason,
    )
    shown = next(view for view in refunds.views(connection, requested.stored.order) if view["id"] == refund_id)
    _audit(connection, initiator, "refund.requested", order_id, refund=refund_id, amount=shown["amount"])
    return StoredResponse.of(201, {**shown, "order": requested.stored.view()})


def request_return(
    connection: Connection,
    order_id: str,
    initiator: Initiator,
    lines: list[ReturnLine],
    *,
    return_id: str,
    window_seconds: float,
    expires_seconds: float,
) -> StoredResponse:
    current = returns.request(
        connection,
        order_id,
        lines,
        return_id=return_id,
        initiator=initiator,
        window_seconds=window_seconds,
        expires_seconds=expires_seconds,
    )
    _audit(connection, initiator, "return.requested", return_id, order=order_id)
    return _return(201, current)


def receive_return(connection: Connection, command: ReceiveReturn) -> StoredResponse:
    current = returns.receive(connection, command)
    _audit(connection, command.initiator, "return.received", command.return_id, order=current.row.order_id)
    return _return(200, current)


def refuse_return(connection: Connection, return_id: str, initiator: Initiator, reason: str | None) -> StoredResponse:
    current = returns.refuse(connection, return_id, initiator, reason)
    _audit(connection, initiator, "return.refused", return_id, order=current.row.order_id)
    return _return(200, current)


def _return(status: int, current: ReturnOfOrder) -> StoredResponse:
    return StoredResponse.of(status, {**current.view(), "order": current.stored.view()})


def resolve_task(
    connection: Connection, task_id: str, outcome: TaskOutcome, note: str | None, caller: Principal
) -> StoredResponse:
    """Raises Forbidden without the scope of the task's kind, NotFound, InvalidTransition."""
    needed = kind_of(tasks.read(connection, task_id).kind).scope
    if not caller.has(needed):
        raise Forbidden(f"This needs the scope {needed}")
    return StoredResponse.of(200, tasks.resolve(connection, task_id, outcome, note, caller).view())


def _audit(connection: Connection, initiator: Initiator, action: str, subject: str, **data: Any) -> None:
    if initiator.actor.type not in ("customer", "guest"):
        audit.append(connection, initiator.actor, action, subject, **data)
