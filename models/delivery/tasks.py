"""Manual tasks: their kinds, the advice for each, the scope that may resolve it, and the outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from models.accounts.access import Scope
from models.base import Record


class TaskOutcome(StrEnum):
    """`retry`: the workflow tries again. `done`: resolved manually, or nothing needs to be done."""

    RETRY = "retry"
    DONE = "done"


class TaskOpened(Record):
    """`outcome`: of a task that was resolved before its workflow waited for it."""

    task_id: str
    outcome: TaskOutcome | None = None


class TaskResolved(Record):
    """The signal to the workflow that waits. An operator in the Temporal UI may send `{"outcome": "retry"}`: without a
    `task_id` it resolves the task that the workflow waits for."""

    outcome: TaskOutcome = TaskOutcome.RETRY
    task_id: str = ""


class CloseTask(Record):
    """Records an outcome that was signalled in the Temporal UI, unless the task was resolved before."""

    task_id: str
    outcome: TaskOutcome


class TaskKind(NamedTuple):
    """`advice`: what to do before resolving it."""

    scope: Scope
    advice: str


_MONEY, _ORDERS = Scope.REFUNDS_WRITE, Scope.ORDERS_WRITE

TASK_KINDS: Mapping[str, TaskKind] = {
    "void-payment": TaskKind(_MONEY, "void it at the provider, or retry"),
    "release-authorisation": TaskKind(_MONEY, "release it at the provider, or retry"),
    "payment-mismatch": TaskKind(_MONEY, "find out why the provider held another amount; it was voided"),
    "capture-differs": TaskKind(
        _MONEY, "the payment was captured at the provider without us, with another amount: compare; don't ask to pay"
    ),
    "capture-refused": TaskKind(_MONEY, "ask the buyer for another payment; the parcel was not shipped"),
    "capture-unknown": TaskKind(
        _MONEY, "check the payment at the provider; the order's next shipment finishes this one first"
    ),
    "refund-failed": TaskKind(_MONEY, "find another way to pay the buyer back"),
    "refund-unknown": TaskKind(
        _MONEY, "check the refund at the provider, which has not answered for days; polling goes on"
    ),
    "refund-unexplained": TaskKind(_MONEY, "more was refunded at the provider than the ledger has left: find out why"),
    "dispute": TaskKind(_MONEY, "answer the buyer's bank at the provider before its deadline, or accept it"),
    "unknown-payment": TaskKind(_MONEY, "find its buyer at the provider, then refund it or record it"),
    "orphaned-authorisation": TaskKind(_MONEY, "void it at the provider: no order belongs to it"),
    "authorisation-differs": TaskKind(_MONEY, "find out why the provider holds another amount than was requested"),
    "capture-unrecorded": TaskKind(_MONEY, "more was captured than the ledger can assign: refund or record it"),
    "capture-missing": TaskKind(_MONEY, "the ledger has more captured than the provider lists"),
    "refund-unrecorded": TaskKind(_MONEY, "more was refunded than the ledger can assign"),
    "refund-missing": TaskKind(_MONEY, "the ledger has more refunded than the provider lists"),
    "dispute-unrecorded": TaskKind(_MONEY, "the bank has moved money without a known dispute: check at the provider"),
    "detach-payment-method": TaskKind(_ORDERS, "detach the card at the provider, or retry"),
    "undo-payment-method": TaskKind(_ORDERS, "cancel the set-up at the provider, or retry"),
    "parcel-lost": TaskKind(_ORDERS, "claim it from the carrier; send it again, or refund its lines"),
    "parcel-returned": TaskKind(_ORDERS, "find out why with the buyer; the warehouse receives it like a return"),
    "parcel-silent": TaskKind(_ORDERS, "ask the carrier where it is, and record what it says"),
    "void-label": TaskKind(_ORDERS, "void the label at the carrier, or retry"),
    "confirmation-mail": TaskKind(_ORDERS, "call the buyer"),
    "mail-refused": TaskKind(_ORDERS, "call the recipient"),
    "sms-refused": TaskKind(_ORDERS, "call the buyer; their payment has failed, and the mail about it was sent"),
    "payment-retry": TaskKind(
        _ORDERS, "an order can't be cancelled: finish the shipment that is in progress, or retry"
    ),
    "payment-retry-unknown": TaskKind(_MONEY, "look the charge up at the provider by its order and number, then retry"),
    "save-payment-method": TaskKind(_ORDERS, "the order is paid; ask the buyer to save the card again"),
    "password-reset-mail": TaskKind(_ORDERS, "tell the owner of the account that its password was changed"),
}
OTHER = TaskKind(_ORDERS, "look into it")


def kind_of(name: str) -> TaskKind:
    return TASK_KINDS.get(name, OTHER)


class Task(Record):
    """A manual task. `subject`: the id of its order, checkout, refund …"""

    id: str
    kind: str
    subject: str
    detail: str
    workflow_id: str | None
    resumes: bool  # whether its workflow waits for the outcome
    opened_at: datetime
    closed_at: datetime | None
    outcome: TaskOutcome | None
    note: str | None
    closed_by: dict[str, Any] | None

    @property
    def may(self) -> list[TaskOutcome]:
        """The outcomes that are possible now."""
        if self.closed_at is not None:
            return []
        return [TaskOutcome.RETRY, TaskOutcome.DONE] if self.resumes else [TaskOutcome.DONE]

    def view(self) -> dict[str, Any]:
        shown = self.model_dump(mode="json", exclude={"resumes"})
        status = "open" if self.closed_at is None else "resolved"
        return {**shown, "status": status, "actions": self.may, "advice": kind_of(self.kind).advice}


class OpenTask(Record):
    """Opens a manual task. `kind` and `subject` (an id) are unique among open tasks."""

    kind: str
    subject: str
    detail: str
    resumes: bool = False  # its workflow waits for the outcome
