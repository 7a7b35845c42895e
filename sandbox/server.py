"""uvicorn with one addition: a request's connection can be cut without a response."""

import asyncio
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CUT = "sandbox.cut"  # the key in scope["extensions"]: a function that cuts the connection
_NO_LINGER = struct.pack("ii", 1, 0)  # close with RST, dropping what is unsent


class CuttableProtocol(HttpToolsProtocol):
    """Gives every request a function that cuts its own connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _with_cut(self.app, transport)


def _with_cut(app: ASGIApp, transport: asyncio.Transport) -> ASGIApp:
    def cut() -> None:
        wire = transport.get_extra_info("socket")
        if wire is not None:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[CUT] = cut
        await app(scope, receive, send)

    return run


def build_server(app: ASGIApp, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to `run()`; scripted connection resets need this one."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=CuttableProtocol,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=120,  # longer than SDKs keep idle connections: we never close under them
            timeout_graceful_shutdown=1,  # a scripted time-out would hold its call for a minute
        )
    )


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Exits normally after SIGTERM: uvicorn raises the signal again once it has shut down."""

    def ignore(_signal: int, _frame: Any) -> None:
        return None

    before = signal.signal(signal.SIGTERM, ignore)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
