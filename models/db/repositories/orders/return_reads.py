"""Reads returns: by id, by order, and in pages for the warehouse."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, tuple_

from models.db.repositories.orders.orders import StoredOrder, read_order
from models.db.repositories.orders.returns import ReturnOfOrder
from models.db.tables.orders import returns
from models.orders.returns import StoredReturn
from models.states import ReturnStatus

_COLUMNS = (
    returns.c.id,
    returns.c.order_id,
    returns.c.lines,
    returns.c.refund_id,
    returns.c.restocked,
    returns.c.created_at.label("requested_at"),
    returns.c.expires_at,
)
_WHEN = (returns.c.created_at, returns.c.id)  # indexed in this order, also by state: a page reads only its rows


def find(connection: Connection, return_id: str) -> ReturnOfOrder | None:
    row = connection.execute(select(*_COLUMNS).where(returns.c.id == return_id)).first()
    return _return(connection, row) if row else None


def of_order(connection: Connection, stored: StoredOrder) -> list[ReturnOfOrder]:
    """Oldest first, without returns that were requested after `stored` was read."""
    rows = connection.execute(select(*_COLUMNS).where(returns.c.order_id == stored.order.id).order_by(*_WHEN))
    found = [ReturnOfOrder(stored, StoredReturn.model_validate(row._mapping)) for row in rows]
    return [current for current in found if stored.order.return_(current.row.id) is not None]


def page(
    connection: Connection, *, state: ReturnStatus | None, before: tuple[datetime, str] | None, limit: int
) -> list[ReturnOfOrder]:
    """Newest first, before the position `before`."""
    wanted = select(*_COLUMNS).order_by(*(column.desc() for column in _WHEN)).limit(limit)
    if state is not None:
        wanted = wanted.where(returns.c.state == state)
    if before is not None:
        wanted = wanted.where(tuple_(*_WHEN) < tuple_(*before))
    return [_return(connection, row) for row in connection.execute(wanted).all()]


def _return(connection: Connection, row: Any) -> ReturnOfOrder:
    stored = read_order(connection, row.order_id)
    assert stored is not None
    return ReturnOfOrder(stored, StoredReturn.model_validate(row._mapping))
