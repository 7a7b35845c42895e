"""A minimal HTTP/1.1 client over kept-alive connections: a load generator's own CPU time is noise."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

PATIENCE = 30.0  # a call without a response fails after so many seconds


class Wire:
    """One connection per concurrent request."""

    def __init__(self, base: str) -> None:
        address = urlsplit(base)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._fixed = f"Host: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, count: int) -> None:
        """Connect beforehand."""
        self._idle += [await self._connect() for _ in range(count)]

    async def call(self, method: str, path: str, body: str = "", headers: str = "") -> tuple[int, bytes]:
        """Status and body. `headers`: further lines, each with its line end. Raises OSError (time-outs too)."""
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        head = f"{method} {path} HTTP/1.1\r\n{self._fixed}{headers}Content-Length: {len(body.encode())}\r\n\r\n"
        writer.write((head + body).encode())
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await _read(reader)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return answer

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Relies on Content-Length, which the API always sends."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        return int(head[9:12]), await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection was closed") from error
