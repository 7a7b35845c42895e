"""`holdfast outbox`: dead letters, listed and requeued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from deploy.errors import StackError
from models.db.repositories.delivery import deliveries
from models.db.session import Database
from models.errors import Unavailable
from runtime.settings import Settings


def dead_letters(settings: Settings, consumer: str | None) -> str:
    with _connection(settings) as connection:
        found = deliveries.list_dead_letters(connection, consumer)
    lines = (
        f"{each.id}  {each.consumer}  {each.topic}  {each.aggregate}  {each.attempts} attempts"
        f" until {each.dead_at:%Y-%m-%dT%H:%M:%SZ}  {each.error}"
        for each in found
    )
    return "\n".join(lines) or "no dead letters"


def requeue(settings: Settings, ids: list[int], consumer: str | None) -> int:
    if not ids and consumer is None:
        raise StackError("nothing to requeue", "name ids or a consumer")
    with _connection(settings) as connection:
        return deliveries.requeue(connection, ids, consumer=consumer)


@contextmanager
def _connection(settings: Settings) -> Iterator[Connection]:
    database = Database(settings.database, pool_size=1, application="holdfast-outbox")
    try:
        with database.transaction() as connection:
            yield connection
    except Unavailable as error:
        raise StackError("the outbox can't be read", error.detail) from error
    finally:
        database.close()
