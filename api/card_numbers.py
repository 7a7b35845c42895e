"""Middleware that rejects card numbers before anything is read, stored or logged (PCI DSS 4.0, requirement 3).

It checks the bodies and paths of all routes and every query string, but for UNCHECKED: the warehouse and the providers
send tracking numbers and bar codes, which may look like card numbers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from api.middleware import App, Receive, Scope, Send
from api.problems import problem
from models.errors import CardNumberRefused, HoldfastError
from models.payments.card_numbers import find_in_json, holds_card_number, may_hold_in_address

SMALL = 8_192  # bytes; a larger body is looked through beside the event loop

UNCHECKED = ("/v1/webhooks/", "/v1/fulfilment/", "/v1/inventory/")


class NoCardNumbers:
    """Answers 422 `card-number-refused` with a pointer to the field; passes every other request on unchanged."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        pointer = _in_query(scope["query_string"])
        shown = scope["path"]
        checked = not shown.startswith(UNCHECKED)
        if checked and pointer is None and may_hold_in_address(scope["raw_path"]) and holds_card_number(shown):
            pointer, shown = "/path", _beginning(shown)
        if checked and pointer is None and _has_body(scope):
            try:
                body = await _read(receive)
            except HoldfastError as error:  # body too large
                await problem(Request(scope), error)(scope, receive, send)
                return
            if body is not None:
                receive = _again(body, receive)
                small = len(body) <= SMALL
                pointer = find_in_json(body) if small else await run_in_threadpool(find_in_json, body)
        if pointer is None:
            await self._app(scope, receive, send)
            return
        refusal = CardNumberRefused.at(pointer, "looks like a card number")
        scope["problem"] = refusal.slug
        await problem(Request({**scope, "path": shown}), refusal)(scope, receive, send)


def _beginning(path: str) -> str:
    """As much of a path as may be shown."""
    beginning = "/".join(path.split("/")[:3])
    return "/" if holds_card_number(beginning) else beginning


def _in_query(query: bytes) -> str | None:
    if not may_hold_in_address(query):
        return None
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if holds_card_number(name):
            return "/query"
        if holds_card_number(value):
            return f"/query/{name.replace('~', '~0').replace('/', '~1')}"
    return None


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when the client disconnected before its end. Raises what `receive` raises."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body once more and then goes on with the original one."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
