"""Response schemas of returns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api.schemas.responses import OrderOut, Out


class ReturnLineOut(Out):
    """`quantity`: announced units; `received`: units that have arrived."""

    line_id: str
    sku: str
    title: str
    quantity: int
    received: int
    reason: str | None


class ReturnOut(Out):
    """`refund` is set as soon as there is one."""

    id: str
    order_id: str
    order_number: str
    status: str
    lines: list[ReturnLineOut]
    refund: dict[str, Any] | None
    requested_at: datetime
    expires_at: datetime


class ReturnWithOrder(ReturnOut):
    order: OrderOut


class ReturnPage(Out):
    items: list[ReturnOut]
    next_cursor: str | None
