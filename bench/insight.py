"""Where the time goes: SQL statements per purchase, and Temporal's history."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.figures import mean
from models.ids import checkout_workflow, order_workflow
from runtime.settings import Settings
from workflows.client import connect

TEXT = 200  # characters by which a statement is identified

# The bench's own statements are marked and left out.
_STATEMENTS = """
SELECT /* bench */ s.query, s.calls, s.total_exec_time, s.total_plan_time
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname = current_database() AND strpos(s.query, '/* bench */') = 0
"""
_WAL = "SELECT /* bench */ sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"


@dataclass(frozen=True)
class Statement:
    """How often one text was executed, and the milliseconds of executing and (where that is tracked) planning it."""

    text: str
    calls: float
    ms: float
    plan_ms: float = 0.0


@dataclass(frozen=True)
class DatabaseReading:
    statements: dict[str, Statement]  # by text: with other parameter types it is the same statement
    wal_syncs: int

    @classmethod
    def take(cls, connection: Any) -> DatabaseReading:
        statements: dict[str, Statement] = {}
        for text, calls, ms, plan_ms in connection.exec_driver_sql(_STATEMENTS):
            key = re.sub(r"\s+", " ", text).strip()[:TEXT]
            seen = statements.get(key, Statement(key, 0, 0.0))
            statements[key] = Statement(key, seen.calls + calls, seen.ms + ms, seen.plan_ms + plan_ms)
        return cls(statements, int(connection.exec_driver_sql(_WAL).scalar_one()))


@dataclass(frozen=True)
class DatabaseUse:
    """Of one purchase. Every call is a round trip; a sync of the log makes one or more commits durable."""

    statements: Sequence[Statement]  # the most expensive first
    wal_syncs: float

    @classmethod
    def between(cls, before: DatabaseReading, after: DatabaseReading, purchases: int) -> DatabaseUse:
        nothing = Statement("", 0, 0.0)
        found = []
        for text, now in after.statements.items():
            then = before.statements.get(text, nothing)
            if now.calls > then.calls:
                used = (now.calls - then.calls, now.ms - then.ms, now.plan_ms - then.plan_ms)
                found.append(Statement(now.text, *(amount / purchases for amount in used)))
        found.sort(key=lambda statement: statement.ms + statement.plan_ms, reverse=True)
        return cls(found, (after.wal_syncs - before.wal_syncs) / purchases)

    @property
    def calls(self) -> float:
        return sum(statement.calls for statement in self.statements)

    @property
    def ms(self) -> float:
        return sum(statement.ms for statement in self.statements)

    @property
    def plan_ms(self) -> float:
        return sum(statement.plan_ms for statement in self.statements)

    @property
    def commits(self) -> float:
        """Commits of transactions; autocommitted statements are not among them."""
        return sum(statement.calls for statement in self.statements if statement.text.upper() == "COMMIT")


@dataclass(frozen=True)
class History:
    """A mean over a few executions of one workflow."""

    workflow: str
    events: float
    tasks: float
    kib: float


async def histories(settings: Settings, samples: Sequence[Sequence[str]]) -> list[History]:
    """`samples` are pairs of checkout and order ids."""
    client = await connect(settings)
    ids = {
        "Checkout": [checkout_workflow(checkout_id) for checkout_id, _ in samples],
        "Order": [order_workflow(order_id) for _, order_id in samples],
    }
    return [await _history(client, workflow, executions) for workflow, executions in ids.items()]


async def _history(client: Client, workflow: str, executions: Sequence[str]) -> History:
    events, tasks, sizes = [], [], []
    for execution in executions:
        history = await client.get_workflow_handle(execution).fetch_history()
        events.append(len(history.events))
        tasks.append(sum(e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for e in history.events))
        sizes.append(sum(event.ByteSize() for event in history.events) / 1024)
    return History(workflow, mean(events), mean(tasks), mean(sizes))
