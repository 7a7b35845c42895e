"""The outbox: one row for each event and consumer, written in the transaction of the event, deleted once delivered.

`deliveries.py` is the relays' side. A statement with an `INSERT` of its own takes it from `insert`, so that topics and
consumers stand in `models/topics.py` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, TextClause, text

from models.db.wake_ups import wake_after_commit
from models.topics import P, Topic

UNFINISHED_SECONDS = 10.0

_PUBLISH = text("""
INSERT INTO outbox (consumer, topic, aggregate, data, trace, due_at)
SELECT consumer, :topic, :aggregate, CAST(:data AS jsonb), CAST(:trace AS jsonb),
    now() + make_interval(secs => :after_seconds)
FROM unnest(CAST(:consumers AS text[])) AS consumer
""")

_WITHDRAW = text("DELETE FROM outbox WHERE aggregate = :aggregate")


def publish(
    connection: Connection,
    topic: Topic[P],
    aggregate: str,
    event: P,
    *,
    after_seconds: float = 0.0,
    trace: Mapping[str, str] | None = None,
) -> None:
    """Delivered no sooner than `after_seconds` from now; `trace` is the W3C context that the handler continues."""
    publish_all(connection, topic, [(aggregate, event)], after_seconds=after_seconds, trace=trace)


def publish_all(
    connection: Connection,
    topic: Topic[P],
    events: Iterable[tuple[str, P]],
    *,
    after_seconds: float = 0.0,
    trace: Mapping[str, str] | None = None,
) -> None:
    """`events`: (aggregate, payload), delivered in this order. No statement for a topic without consumers."""
    if not topic.consumers:
        return
    common = {
        "topic": topic.name,
        "consumers": list(topic.consumers),
        "trace": json.dumps(dict(trace)) if trace else None,
        "after_seconds": after_seconds,
    }
    values = [{**common, "aggregate": aggregate, "data": event.model_dump_json()} for aggregate, event in events]
    if values:
        connection.execute(_PUBLISH, values)
        wake_after_commit(connection, topic.consumers)


class Insert(NamedTuple):
    """The insert of a statement's own events, as a data-modifying CTE (which runs also when nothing reads it)."""

    sql: str
    topic: Topic[Any]


def insert(topic: Topic[Any], source: str, *, trace: str = "NULL") -> Insert:
    """`source`: a SELECT of (aggregate, data), a row an event. `trace`: an expression."""
    consumers = ", ".join(f"'{consumer}'" for consumer in topic.consumers)
    return Insert(
        "INSERT INTO outbox (consumer, topic, aggregate, data, trace)"  # noqa: S608 of constants
        f" SELECT consumer, '{topic.name}', aggregate, data, CAST({trace} AS jsonb)"
        f" FROM ({source}) AS event (aggregate, data), unnest(CAST(ARRAY[{consumers}] AS text[])) AS consumer",
        topic,
    )


class Statement(NamedTuple):
    """A statement that publishes."""

    sql: TextClause
    topics: tuple[Topic[Any], ...]

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        result = connection.execute(self.sql, values)
        for topic in self.topics:
            wake_after_commit(connection, topic.consumers)
        return result


def statement(sql: str, **inserts: Insert) -> Statement:
    """`{name}` in `sql` stands for the insert of that name."""
    for name, each in inserts.items():
        sql = sql.replace(f"{{{name}}}", each.sql)
    return Statement(text(sql), tuple(each.topic for each in inserts.values()))


def schedule(connection: Connection, step_id: str, topic: Topic[P], event: P) -> None:
    """Publishes the event should the step still be unfinished after `UNFINISHED_SECONDS` (a dead-man switch): what
    runs it may have died. An aggregate of its own, so that it delays no other event of the subject."""
    publish(connection, topic, _scheduled(step_id), event, after_seconds=UNFINISHED_SECONDS)


def withdraw(connection: Connection, step_id: str) -> None:
    """The step has finished."""
    connection.execute(_WITHDRAW, {"aggregate": _scheduled(step_id)})


def _scheduled(step_id: str) -> str:
    return f"scheduled/{step_id}"
