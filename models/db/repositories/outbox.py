"""The outbox: rows written with the facts they tell of, and gone once they are told."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, cast, overload

from sqlalchemy import Connection, text

from models.topics import P, Topic

# A command whose worker dies may be lost with it, once it has written that it has begun. What it wrote then tells its
# process, unless it has been withdrawn by then: `begun/{what}` is the aggregate.
UNHEARD_SECONDS = 10.0


class Message(NamedTuple):
    """`due` is false while it waits; the others of its aggregate wait with it."""

    id: int
    topic: str
    aggregate: str
    data: dict[str, Any]
    trace: dict[str, str] | None
    due: bool

    def says_what(self, other: Message) -> bool:
        """Whoever is told the other need not be told this one as well."""
        return (self.topic, self.aggregate, self.data) == (other.topic, other.aggregate, other.data)


_PUBLISH = text("""
INSERT INTO outbox (topic, aggregate, data, due_at)
VALUES (:topic, :aggregate, CAST(:data AS jsonb), now() + make_interval(secs => :after_seconds))
""")


@overload
def publish(
    connection: Connection, topic: str, aggregate: str, event: dict[str, Any], *, after_seconds: float = 0.0
) -> None: ...
@overload
def publish(
    connection: Connection, topic: Topic[P], aggregate: str, event: P, *, after_seconds: float = 0.0
) -> None: ...
def publish(
    connection: Connection,
    topic: str | Topic[P],
    aggregate: str,
    event: dict[str, Any] | P,
    *,
    after_seconds: float = 0.0,
) -> None:
    """In the transaction of the event; delivered no sooner than `after_seconds` from now."""
    if isinstance(topic, Topic):
        publish_all(connection, topic, [(aggregate, cast(P, event))], after_seconds=after_seconds)
        return
    connection.execute(
        _PUBLISH,
        {"topic": topic, "aggregate": aggregate, "data": json.dumps(event), "after_seconds": after_seconds},
    )


def publish_all(
    connection: Connection, topic: Topic[P], events: Iterable[tuple[str, P]], *, after_seconds: float = 0.0
) -> None:
    """`events`: (aggregate, payload), in their order. Without a consumer there is no statement."""
    if not topic.consumers:
        return
    values = [
        {"topic": topic.name, "aggregate": aggregate, "data": event.model_dump_json(), "after_seconds": after_seconds}
        for aggregate, event in events
    ]
    if values:
        connection.execute(_PUBLISH, values)


_PENDING = text("""
SELECT id, topic, aggregate, data, trace, due_at <= now() AS due FROM outbox
WHERE split_part(topic, '.', 1) = ANY(CAST(:kinds AS text[])) = :own
    AND aggregate NOT IN (SELECT w.aggregate FROM outbox w WHERE w.due_at > now())
ORDER BY id LIMIT :limit
""")

_POSTPONE = text("""
UPDATE outbox SET attempts = attempts + 1,
    due_at = now() + make_interval(secs => least(60, 0.5 * power(2, least(attempts, 10))))
WHERE id = ANY(CAST(:ids AS bigint[]))
""")


def pending(
    connection: Connection, limit: int, *, kinds: Collection[str] = (), besides: Collection[str] = ()
) -> list[Message]:
    """Those whose aggregates wait for nothing, oldest first.

    Of the topics that begin with one of the `kinds`, or of all that begin with none of `besides`.
    """
    values = {"limit": limit, "kinds": list(kinds or besides), "own": bool(kinds)}
    return [Message(*row) for row in connection.execute(_PENDING, values)]


def told(connection: Connection, ids: list[int]) -> None:
    connection.execute(text("DELETE FROM outbox WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": ids})


def postpone(connection: Connection, ids: list[int]) -> None:
    """Half a second after the first failure, doubling to a minute."""
    connection.execute(_POSTPONE, {"ids": ids})
