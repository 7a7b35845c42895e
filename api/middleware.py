"""Middleware for every request: request id, trace, checks of size and media type, metrics. Plain ASGI, for speed."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request
from opentelemetry import context, propagate
from prometheus_client import Counter, Histogram

from api import access_log, headers
from api.problems import problem
from models.errors import HoldfastError, InvalidRequest, PayloadTooLarge, TooManyRequests, UnsupportedMediaType
from models.ids import new_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS = Counter("holdfast_http_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram("holdfast_http_request_seconds", "Time to answer", ["method", "route"])

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_RAW_BODIES = ("/v1/webhooks/",)  # any media type, because the signature is over the bytes


class Conventions:
    """Request ids, traces, default headers, body limit, media type, no NUL in paths."""

    def __init__(self, app: App, *, max_body_bytes: int, https: bool) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._headers = headers.defaults(https=https)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = dict(scope["headers"])
        request_id = received.get(b"x-request-id", b"")
        request_id = request_id if _REQUEST_ID.fullmatch(request_id) else new_id("req").encode()
        scope["request_id"] = request_id.decode()
        extra = [(b"x-request-id", request_id)]
        began = time.perf_counter()
        status = 500

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = message.get("headers", [])
                message["headers"] = [*given, *extra, *headers.missing(given, self._headers, scope["path"])]
            await send(message)

        token = context.attach(propagate.extract(_trace_headers(received))) if b"traceparent" in received else None
        try:
            refusal = self._refusal(scope, received) or _limited(scope, extra)
            if refusal is not None:
                await problem(Request(scope), refusal)(scope, receive, sending)
            else:
                await self._app(scope, self._bounded(receive), sending)
        finally:
            if token is not None:
                context.detach(token)
            route = getattr(scope.get("route"), "path", "unmatched")
            REQUESTS.labels(scope["method"], route, str(status)).inc()
            seconds = time.perf_counter() - began
            SECONDS.labels(scope["method"], route).observe(seconds)
            access_log.record(scope, status, seconds)

    def _refusal(self, scope: Scope, received: dict[bytes, bytes]) -> HoldfastError | None:
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            return InvalidRequest("The address holds a NUL character")
        length = received.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return PayloadTooLarge(f"At most {self._max_body_bytes} bytes")
        has_body = length not in (b"", b"0") or b"transfer-encoding" in received
        if has_body and not scope["path"].startswith(_RAW_BODIES):
            media = received.get(b"content-type", b"").split(b";")[0].strip().lower()
            if media != b"application/json":
                return UnsupportedMediaType()
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """Bounds bodies without a Content-Length."""
        seen = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise PayloadTooLarge(f"At most {self._max_body_bytes} bytes")
            return message

        return bounded


def _limited(scope: Scope, extra: list[tuple[bytes, bytes]]) -> HoldfastError | None:
    """Counts the request against the limits of its class and network."""
    address = scope["client"][0] if scope["client"] else "unknown"
    allowance = scope["app"].state.services.limits.count(scope["method"], scope["path"], address)
    if allowance is None:
        return None
    extra.extend(allowance.headers())
    if allowance.exceeded:
        return TooManyRequests(f"At most {allowance.limit} in {allowance.window} s", retry_after=allowance.reset)
    return None


def _trace_headers(received: dict[bytes, bytes]) -> dict[str, str]:
    return {
        name: received[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in received
    }
