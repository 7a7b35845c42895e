"""A minimal HTTP/1.1 POST on asyncio for webhooks: it returns the response's status."""

import asyncio
import ssl
from urllib.parse import urlsplit

PATIENCE = 10.0  # seconds for one attempt


async def post(url: str, headers: dict[str, str], body: bytes) -> int:
    """Sends, and returns the response's status; 0 when the receiver broke off before it sent one.

    Raises ConnectionError when the connection fails, TimeoutError after PATIENCE seconds.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "user-agent: holdfast-sandbox", "connection: close", "", ""])
    async with asyncio.timeout(PATIENCE):
        try:
            reader, writer = await asyncio.open_connection(
                parts.hostname, port, ssl=ssl.create_default_context() if secure else None
            )
        except OSError as failure:
            raise ConnectionError(f"{parts.netloc} can't be reached: {failure}") from failure
        try:
            writer.write(head.encode() + body)
            status_line = await reader.readline()
            await reader.read()  # until the receiver closes: closing first could cut its answer off
            return _status(status_line)
        except OSError:
            return 0
        finally:
            writer.close()


def _status(line: bytes) -> int:
    words = line.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
