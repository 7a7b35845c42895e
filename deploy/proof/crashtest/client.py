"""The HTTP client of a simulated storefront: it repeats a call with the same key until the response is final."""

import http.client
import json
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

TIMEOUT = 15.0  # longer than the API's own deadline
PAUSE = 0.5


@dataclass(frozen=True)
class Response:
    status: int
    raw: str

    @property
    def body(self) -> Body:
        found = json.loads(self.raw or "{}")
        assert isinstance(found, dict)
        return found

    @property
    def slug(self) -> str:
        """The slug of a problem's type."""
        return str(self.body.get("type", "")).rsplit("/", 1)[-1]


class Unanswered(Exception):
    """No response: refused, reset, timed out."""


class TooLate(Exception):
    """No final response before the buyer gave up."""


def call(base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
    """One request on a connection of its own. Raises Unanswered."""
    host = urllib.parse.urlsplit(base).netloc
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    try:
        content = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, content, {**kind, **(headers or {})})
        answer = connection.getresponse()
        return Response(answer.status, answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"{method} {path}: {error!r}") from error
    finally:
        connection.close()


def insist(
    base: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, until: float
) -> Response:
    """The first response that is not a 5xx, until `deadline` of `time.monotonic`. Raises TooLate."""
    last = "nothing was tried"
    while time.monotonic() < until:
        try:
            answer = call(base, method, path, body, headers)
            if answer.status < 500:
                return answer
            last = f"{method} {path}: {answer.status} {answer.raw[:200]}"
        except Unanswered as error:
            last = str(error)
        time.sleep(PAUSE)
    raise TooLate(last)
