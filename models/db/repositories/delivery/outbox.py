"""The outbox: one row per event and consumer, written in the transaction of the event, deleted after its delivery.

`deliveries.py` is the relays' side. A statement that publishes in a CTE gets its INSERT from `insert`, so that only
`models/topics.py` defines topics and consumers.
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
    """Publishes an event, to be delivered not before `after_seconds`. `trace`: the W3C context for the handler."""
    publish_all(connection, topic, [(aggregate, event)], after_seconds=after_seconds, trace=trace)


def publish_all(
    connection: Connection,
    topic: Topic[P],
    events: Iterable[tuple[str, P]],
    *,
    after_seconds: float = 0.0,
    trace: Mapping[str, str] | None = None,
) -> None:
    """`events`: (aggregate, payload), delivered in this order. Does nothing for a topic without consumers."""
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
    """An INSERT into the outbox for a data-modifying CTE (which runs even if nothing reads it)."""

    sql: str
    topic: Topic[Any]


def insert(topic: Topic[Any], source: str, *, trace: str = "NULL") -> Insert:
    """`source`: a SELECT of (aggregate, data), one row per event. `trace`: a SQL expression."""
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
    """Replaces each `{name}` in `sql` by the insert of that name."""
    for name, each in inserts.items():
        sql = sql.replace(f"{{{name}}}", each.sql)
    return Statement(text(sql), tuple(each.topic for each in inserts.values()))


def schedule(connection: Connection, step_id: str, topic: Topic[P], event: P) -> None:
    """Dead-man switch: publishes the event unless `withdraw` is called within `UNFINISHED_SECONDS`, because the worker
    of the step may have died. It has its own aggregate, so that it delays no other event of the subject."""
    publish(connection, topic, _scheduled(step_id), event, after_seconds=UNFINISHED_SECONDS)


def withdraw(connection: Connection, step_id: str) -> None:
    """Deletes the scheduled event of a finished step."""
    connection.execute(_WITHDRAW, {"aggregate": _scheduled(step_id)})


def _scheduled(step_id: str) -> str:
    return f"scheduled/{step_id}"
