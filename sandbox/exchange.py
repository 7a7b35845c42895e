"""Types that all services share: requests, responses, and the interface of a service."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import parse_qsl

from sandbox.store import Row


@dataclass(slots=True)
class Request:
    """One HTTP request, read to its end. `headers` by lower-case name."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def base_url(self) -> str:
        """The sandbox's own address as this client knows it."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    def pairs(self) -> list[tuple[str, str]]:
        """Name and value pairs of the query and, behind them, of a form body."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        if self.method != "GET":
            pairs += parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)
        return pairs


@dataclass(slots=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    replayed: bool = False


@dataclass(slots=True)
class Call:
    """A request as its service understands it: the call log shows it and scripts match it.

    `recipients`: addresses of a message. `bends`: the outcome kinds that can change the call's effect (a card can be
    declined where it would be charged, and nowhere else).
    """

    service: str
    request: Request
    params: Any = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    recipients: tuple[str, ...] = ()
    idempotency_key: str | None = None
    bends: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ScriptedOutcome:
    """One scripted outcome of a call; `ms`, `status` and `code` by kind."""

    kind: str
    code: str | None = None
    status: int = 500
    ms: int | None = None


class Service(Protocol):
    """One provider. Nothing in it awaits, so every call is atomic."""

    name: str

    def read(self, request: Request) -> Call:
        """Decodes a request without executing it; never raises."""

    def begin(self, call: Call) -> Response | None:
        """The response without executing (replay, conflict), or None to go on to `execute`."""

    def execute(self, call: Call, bend: ScriptedOutcome | None) -> Response:
        """Executes the call, with a scripted outcome if there is one."""

    def break_down(self, call: Call, status: int) -> Response:
        """A scripted HTTP status in this provider's error format."""

    def remember(self, call: Call, answer: Response) -> None:
        """Stores the response for repeats of this call, where the provider documents that it does."""

    def end(self, call: Call) -> None:
        """Releases what `begin` claimed, whatever the outcome."""


def as_json(status: int, body: object, **headers: str) -> Response:
    """A JSON answer."""
    return Response(status, json.dumps(body).encode(), {"content-type": "application/json", **headers})


def nest(pairs: list[tuple[str, str]]) -> Row:
    """Decode `a[b][c]=v`, `a[]=v` and `a[0]=v` into nested dicts and, for `[]`, lists.

    Numbered items stay a dict keyed by the number, because `metadata[1]` is a key and not an index.
    """
    root: Row = {}
    for name, value in pairs:
        head, _, rest = name.partition("[")
        keys = [head, *(rest[:-1].split("][") if rest.endswith("]") else [])]
        into: Any = root
        for key, following in pairwise(keys):
            step = into.get(key)
            if not isinstance(step, list if following == "" else dict):
                step = into[key] = [] if following == "" else {}
            into = step
            if following == "":
                break
        if isinstance(into, list):
            into.append(value)
        else:
            into[keys[-1]] = value
    return root
