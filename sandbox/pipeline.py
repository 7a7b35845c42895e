"""The steps of every provider call: log it, apply its script, execute at most once, respond or stay silent."""

import asyncio

from starlette.types import Message, Receive, Scope, Send

from sandbox.calls import CallLog
from sandbox.exchange import Call, Request, Response, ScriptedOutcome, Service
from sandbox.scripts import BENDS, Scripts
from sandbox.server import CUT
from sandbox.store import Row, Store

HELD_FOR = 60_000  # milliseconds that a scripted time-out keeps a client waiting, unless it says otherwise


class Pipeline:
    """An ASGI app that runs the calls of one service."""

    def __init__(self, store: Store, calls: CallLog, scripts: Scripts, service: Service) -> None:
        self._store = store
        self._calls = calls
        self._scripts = scripts
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: one provider call."""
        service = self._service
        request = await read_request(scope, receive)
        if request is None:
            return
        call = service.read(request)
        entry = self._calls.open(call)
        early = service.begin(call)
        try:
            outcome = self._scripts.take(call, will_replay=early is not None)
            answer = await self._meet(call, early, outcome)
        finally:
            if early is None:
                service.end(call)
        if answer is not None:
            entry["status"] = answer.status
            entry["replayed"] = answer.replayed
        self._finish(entry)
        if answer is not None:
            await _send(send, answer)
        elif outcome is not None:
            await _stay_silent(scope, receive, outcome)

    async def _meet(self, call: Call, early: Response | None, outcome: ScriptedOutcome | None) -> Response | None:
        """Applies the script. Returns the response, or None to send none."""
        service = self._service
        kind = outcome.kind if outcome else ""
        if outcome and kind == "delay":
            await asyncio.sleep((outcome.ms or 0) / 1000)
        if kind in ("timeout_before", "reset_connection_before"):
            return None
        if outcome and kind == "status_before":
            broken = service.break_down(call, outcome.status)
            if early is None:
                service.remember(call, broken)
            return broken
        answer = early
        if answer is None:
            answer = service.execute(call, outcome if kind in BENDS else None)
        if outcome and kind == "status_after":
            broken = service.break_down(call, outcome.status)
            if early is None:
                service.remember(call, broken)
            return broken
        return None if kind in ("timeout_after", "reset_connection_after") else answer

    def _finish(self, entry: Row) -> None:
        self._calls.keep(entry)
        self._store.commit()


async def read_request(scope: Scope, receive: Receive) -> Request | None:
    """Reads one ASGI request to its end; None when its client disconnected before that."""
    chunks = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return Request(scope["method"], scope["path"], query, headers, b"".join(chunks))


async def _send(send: Send, answer: Response) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _stay_silent(scope: Scope, receive: Receive, outcome: ScriptedOutcome) -> None:
    """Waits until the client leaves or the time is up, then cuts the connection."""
    leaving = asyncio.ensure_future(_client_left(receive))
    if outcome.kind.startswith("timeout"):
        held_ms = HELD_FOR if outcome.ms is None else outcome.ms
        await asyncio.wait({leaving}, timeout=held_ms / 1000)
    if not leaving.done():
        scope["extensions"][CUT]()
        await leaving  # the server has to notice the cut before we return, or it would answer 500 itself


async def _client_left(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
