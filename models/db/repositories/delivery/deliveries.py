"""The relays' side of the outbox: claims, deliveries, dead letters.

A claim is a lease: one short statement sets `due_at` to its end and `claimed_by` to the relay, so that no lock is held
while a handler runs. A claimed row is treated like one that is not due yet. One relay at a time claims an aggregate's
rows, from the oldest on, which keeps their order for each consumer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.db.wake_ups import wake_after_commit
from models.topics import RENAMED, TOPICS

PER_AGGREGATE = 20


class Message(NamedTuple):
    id: int
    topic: str
    aggregate: str
    data: dict[str, Any]
    trace: dict[str, str] | None = None
    attempts: int = 0

    def repeats(self, other: Message) -> bool:
        return (self.topic, self.aggregate, self.data) == (other.topic, other.aggregate, other.data)


# An aggregate's oldest row stays until it is delivered, so two relays never claim rows of one aggregate.
_CLAIM = text("""
WITH heads AS MATERIALIZED (
    SELECT o.aggregate FROM outbox o
    WHERE o.consumer = :consumer AND o.due_at <= now() AND NOT EXISTS (
        SELECT 1 FROM outbox e WHERE e.aggregate = o.aggregate AND e.consumer = o.consumer AND (
            e.id < o.id OR e.claimed_by IS NOT NULL AND e.due_at > now()))
    ORDER BY o.due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE outbox o SET claimed_by = :relay, due_at = now() + make_interval(secs => :lease)
FROM heads h CROSS JOIN LATERAL (
    SELECT f.id FROM outbox f WHERE f.aggregate = h.aggregate AND f.consumer = :consumer AND NOT EXISTS (
        SELECT 1 FROM outbox w
        WHERE w.aggregate = h.aggregate AND w.consumer = :consumer AND w.id <= f.id AND w.due_at > now())
    ORDER BY f.id LIMIT :per_aggregate) AS next
WHERE o.id = next.id
RETURNING o.id, o.topic, o.aggregate, o.data, o.trace, o.attempts
""")

_NEXT = text("""
SELECT extract(epoch FROM due_at - now())::float FROM outbox
WHERE consumer = :consumer AND due_at > now() ORDER BY due_at LIMIT 1
""")

_RENEW = text("""
UPDATE outbox SET due_at = now() + make_interval(secs => :lease)
WHERE claimed_by = :relay AND id = ANY(CAST(:ids AS bigint[]))
""")

_RELEASE = text("""
UPDATE outbox SET due_at = now(), claimed_by = NULL WHERE claimed_by = :relay AND id = ANY(CAST(:ids AS bigint[]))
""")

_DELIVERED = text("DELETE FROM outbox WHERE id = ANY(CAST(:ids AS bigint[]))")

_POSTPONE = text("""
UPDATE outbox SET attempts = attempts + 1, claimed_by = NULL, error = :error,
    due_at = now() + make_interval(secs => least(60, 0.5 * power(2, least(attempts, 10))))
WHERE claimed_by = :relay AND id = :id
""")

_SET_ASIDE = text("""
UPDATE outbox SET claimed_by = NULL, error = :error, due_at = now() + make_interval(secs => :seconds)
WHERE claimed_by = :relay AND id = :id
""")

_BURY = text("""
WITH dead AS (DELETE FROM outbox WHERE claimed_by = :relay AND id = :id RETURNING *)
INSERT INTO dead_letters (id, consumer, topic, aggregate, data, trace, attempts, error, created_at)
SELECT id, consumer, topic, aggregate, data, trace, attempts + 1, :error, created_at FROM dead
""")

_ASSIGN = text("""
UPDATE outbox o SET consumer = t.consumer, topic = t.topic
FROM unnest(CAST(:names AS text[]), CAST(:topics AS text[]), CAST(:consumers AS text[])) AS t (name, topic, consumer)
WHERE o.consumer IS NULL AND o.topic = t.name
""")

_BACKLOG = text("""
SELECT consumer, count(*) AS messages, extract(epoch FROM now() - min(created_at))::float AS age
FROM outbox GROUP BY consumer
""")

_DEAD = text("SELECT consumer, topic, count(*) AS messages FROM dead_letters GROUP BY consumer, topic")

_LIST = text("""
SELECT id, consumer, topic, aggregate, attempts, error, created_at, dead_at FROM dead_letters
WHERE consumer = coalesce(:consumer, consumer) ORDER BY id LIMIT :limit
""")

_REQUEUE = text("""
WITH letters AS (
    DELETE FROM dead_letters WHERE id = ANY(CAST(:ids AS bigint[])) OR consumer = :consumer RETURNING *)
INSERT INTO outbox (consumer, topic, aggregate, data, trace, created_at)
SELECT consumer, topic, aggregate, data, trace, created_at FROM letters ORDER BY id
RETURNING consumer
""")


def claim(connection: Connection, consumer: str, relay: str, *, limit: int, lease: float) -> list[Message]:
    """Claims messages of at most `limit` aggregates, oldest due first, in order within each. `lease` in seconds."""
    values = {"consumer": consumer, "relay": relay, "limit": limit, "lease": lease, "per_aggregate": PER_AGGREGATE}
    return sorted(Message(*row) for row in connection.execute(_CLAIM, values))


def next_due(connection: Connection, consumer: str) -> float | None:
    """Seconds until the next message is due; None: there is none."""
    seconds: float | None = connection.execute(_NEXT, {"consumer": consumer}).scalar()
    return seconds


def renew(connection: Connection, relay: str, ids: Collection[int], *, lease: float) -> None:
    connection.execute(_RENEW, {"relay": relay, "ids": list(ids), "lease": lease})


def release(connection: Connection, relay: str, ids: Collection[int]) -> None:
    """Gives claimed messages back, due at once."""
    connection.execute(_RELEASE, {"relay": relay, "ids": list(ids)})


def delivered(connection: Connection, ids: Collection[int]) -> None:
    connection.execute(_DELIVERED, {"ids": list(ids)})


def postpone(connection: Connection, relay: str, message_id: int, error: str) -> None:
    """Retries a failed message after 0.5 s, doubling with each attempt up to a minute."""
    connection.execute(_POSTPONE, {"relay": relay, "id": message_id, "error": error})


def set_aside(connection: Connection, relay: str, message_id: int, error: str, *, seconds: float) -> None:
    """Postpones a message that only another build can deliver, without counting an attempt."""
    connection.execute(_SET_ASIDE, {"relay": relay, "id": message_id, "error": error, "seconds": seconds})


def bury(connection: Connection, relay: str, message_id: int, error: str) -> None:
    """Moves the message to the dead letters. Later messages of its aggregate are delivered without it."""
    connection.execute(_BURY, {"relay": relay, "id": message_id, "error": error})


def assign(connection: Connection) -> int:
    """Assigns rows of builds before named consumers to the consumer of their topic; returns their number."""
    known = {name: topic for name, topic in TOPICS.items() if topic.consumers}
    known |= {old: TOPICS[new] for old, new in RENAMED.items()}
    values = {
        "names": list(known),
        "topics": [topic.name for topic in known.values()],
        "consumers": [str(topic.consumers[0]) for topic in known.values()],
    }
    return connection.execute(_ASSIGN, values).rowcount


class Backlog(NamedTuple):
    """`consumer` None: rows of a build before named consumers, with a topic that this build doesn't know."""

    consumer: str | None
    messages: int
    age: float


def backlog(connection: Connection) -> list[Backlog]:
    """The backlog by consumer; `age`: of the oldest message, in seconds."""
    return [Backlog(*row) for row in connection.execute(_BACKLOG)]


def dead_letters(connection: Connection) -> Mapping[tuple[str, str], int]:
    """The number of dead letters by (consumer, topic)."""
    return {(row.consumer, row.topic): row.messages for row in connection.execute(_DEAD)}


class DeadLetter(NamedTuple):
    id: int
    consumer: str
    topic: str
    aggregate: str
    attempts: int
    error: str
    created_at: datetime
    dead_at: datetime


def list_dead_letters(connection: Connection, consumer: str | None = None, *, limit: int = 100) -> list[DeadLetter]:
    """Oldest first."""
    return [DeadLetter(*row) for row in connection.execute(_LIST, {"consumer": consumer, "limit": limit})]


def requeue(connection: Connection, ids: Sequence[int] = (), *, consumer: str | None = None) -> int:
    """Moves dead letters back to the outbox, by id or all of a consumer, with 0 attempts; returns their number."""
    consumers = connection.execute(_REQUEUE, {"ids": list(ids), "consumer": consumer}).scalars().all()
    wake_after_commit(connection, consumers)
    return len(consumers)
