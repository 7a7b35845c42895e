"""What people do to orders, returns and tasks: the fact, its note, its audit entry and its response, one function each.

In the caller's transaction. What a buyer does to an order of their own isn't audited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from models.accounts.access import Principal
from models.addresses import Address
from models.db.repositories.delivery import audit, tasks
from models.db.repositories.orders import commands as order_commands
from models.db.repositories.orders import refunds, returns
from models.db.repositories.orders.commands import Note
from models.db.repositories.orders.orders import StoredOrder
from models.db.repositories.orders.returns import Standing
from models.delivery.stored_responses import Answer, rfc3339
from models.delivery.tasks import Outcome, kind_of
from models.errors import Forbidden
from models.money import Money
from models.orders.commands import By
from models.orders.orders import LineQuantity
from models.orders.returns import ReceiveReturn, ReturnLine


def cancel_order(connection: Connection, order_id: str, by: By, reason: str | None) -> Answer:
    stored = order_commands.cancel(connection, order_id, by)
    order_commands.remember(connection, order_id, "cancel", reason, by.actor)
    _audit(connection, by, "order.cancelled", order_id)
    return Answer.of(200, stored.view())


def change_address(connection: Connection, order_id: str, by: By, address: Address) -> Answer:
    stored = order_commands.change_address(connection, order_id, address, by)
    _audit(connection, by, "order.address_changed", order_id)
    return Answer.of(200, stored.view())


def hold_order(connection: Connection, order_id: str, by: By, reason: str | None) -> Answer:
    return Answer.of(200, _steer(connection, order_id, by, "hold", reason, order_commands.hold))


def release_order(connection: Connection, order_id: str, by: By, reason: str | None) -> Answer:
    return Answer.of(200, _steer(connection, order_id, by, "release", reason, order_commands.release))


def resend_confirmation(connection: Connection, order_id: str, by: By) -> Answer:
    return Answer.of(202, _steer(connection, order_id, by, "resend", None, order_commands.resend_confirmation))


def _steer(
    connection: Connection,
    order_id: str,
    by: By,
    kind: str,
    reason: str | None,
    command: Callable[[Connection, str, By], StoredOrder],
) -> dict[str, Any]:
    stored = command(connection, order_id, by)
    order_commands.remember(connection, order_id, kind, reason, by.actor)
    _audit(connection, by, f"order.{kind}", order_id)
    return stored.view()


def add_note(connection: Connection, order_id: str, by: By, words: str) -> Answer:
    return Answer.of(201, note_view(order_commands.add_note(connection, order_id, words, by)))


def note_view(note: Note) -> dict[str, Any]:
    return {**note._asdict(), "at": rfc3339(note.at)}


def request_refund(
    connection: Connection,
    order_id: str,
    by: By,
    *,
    refund_id: str,
    amount: Money | None,
    lines: list[LineQuantity],
    reason: str,
) -> Answer:
    asked = refunds.request(
        connection,
        order_id,
        amount=amount,
        lines=lines,
        cause=by.cause,
        actor=by.actor,
        refund_id=refund_id,
        reason=reason,
    )
    shown = next(view for view in refunds.views(connection, asked.stored.order) if view["id"] == refund_id)
    _audit(connection, by, "refund.requested", order_id, refund=refund_id, amount=shown["amount"])
    return Answer.of(201, {**shown, "order": asked.stored.view()})


def request_return(
    connection: Connection,
    order_id: str,
    by: By,
    lines: list[ReturnLine],
    *,
    return_id: str,
    window_seconds: float,
    expires_seconds: float,
) -> Answer:
    standing = returns.request(
        connection,
        order_id,
        lines,
        return_id=return_id,
        by=by,
        window_seconds=window_seconds,
        expires_seconds=expires_seconds,
    )
    _audit(connection, by, "return.requested", return_id, order=order_id)
    return _return(201, standing)


def receive_return(connection: Connection, command: ReceiveReturn) -> Answer:
    standing = returns.receive(connection, command)
    _audit(connection, command.by, "return.received", command.return_id, order=standing.row.order_id)
    return _return(200, standing)


def refuse_return(connection: Connection, return_id: str, by: By, reason: str | None) -> Answer:
    standing = returns.refuse(connection, return_id, by, reason)
    _audit(connection, by, "return.refused", return_id, order=standing.row.order_id)
    return _return(200, standing)


def _return(status: int, standing: Standing) -> Answer:
    return Answer.of(status, {**standing.view(), "order": standing.stored.view()})


def resolve_task(connection: Connection, task_id: str, outcome: Outcome, note: str | None, caller: Principal) -> Answer:
    """Raises Forbidden for a task about money without the scope to refund."""
    needed = kind_of(tasks.read(connection, task_id).kind).scope
    if not caller.has(needed):
        raise Forbidden(f"This needs the scope {needed}")
    return Answer.of(200, tasks.resolve(connection, task_id, outcome, note, caller).view())


def _audit(connection: Connection, by: By, action: str, subject: str, **data: Any) -> None:
    if by.actor.type not in ("customer", "guest"):
        audit.append(connection, by.actor, action, subject, **data)
