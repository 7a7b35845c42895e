"""Finds the module of each consumer, `workers/outbox/{consumer}.py`, with its `QUEUE` and `handlers`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from temporalio.client import Client

from models.db.session import Database
from models.topics import Consumer
from runtime.settings import Settings
from workers.outbox.relay import Handlers


class Context(NamedTuple):
    settings: Settings
    database: Database
    client: Client


class ConsumerFile(Protocol):
    QUEUE: str

    def handlers(self, context: Context) -> Handlers: ...


def file_of(consumer: Consumer) -> ConsumerFile:
    return cast(ConsumerFile, import_module(f"workers.outbox.{consumer}"))


def consumers_of(queues: Iterable[str]) -> Iterator[Consumer]:
    """The consumers that a worker of these queues runs."""
    served = set(queues)
    return (consumer for consumer in Consumer if file_of(consumer).QUEUE in served)
