"""One sandbox on a real port for the whole session, emptied before each test, and a shop that takes its webhooks."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import stripe
import uvicorn

from sandbox.app import SandboxConfig, create_app
from sandbox.server import build_server


@dataclass
class Received:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> Any:
        return json.loads(self.body)


@dataclass
class Shop:
    """Receives webhooks. `answers` is consumed, one status a request; afterwards 200. `stall` keeps one waiting."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    stall: Callable[[Received], object] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path.startswith(path)]

    @property
    def stripe(self) -> list[Received]:
        return self.at("/v1/webhooks/stripe")

    @property
    def types(self) -> list[str]:
        return [one.event["type"] for one in self.stripe]


@dataclass
class Sandbox:
    """The sandbox under test."""

    url: str
    shop: Shop
    http: httpx.Client

    def control(self, path: str, body: Any = None) -> Any:
        answer = self.http.post(f"{self.url}/_sandbox{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def seen(self, path: str) -> Any:
        answer = self.http.get(f"{self.url}/_sandbox{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def script(self, *outcomes: dict[str, Any], service: str = "stripe", **more: Any) -> None:
        match = {key: more.pop(key) for key in ("path", "method", "metadata", "to") if key in more}
        self.control("/script", {"service": service, "match": match, "outcomes": list(outcomes), **more})

    def eventually(self, check: Callable[[], Any], within: float = 5.0) -> Any:
        return eventually(check, within)

    def intent(self, **params: Any) -> stripe.PaymentIntent:
        """A confirmed payment of 10.00 EUR by Visa, unless told otherwise."""
        usual = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}
        return self.client().v1.payment_intents.create({**usual, **params})

    def client(self, retries: int = 0, timeout: float = 5, key: str = "sk_test_1") -> stripe.StripeClient:
        return stripe_client(self.url, retries, timeout, key)


def stripe_client(url: str, retries: int = 0, timeout: float = 5, key: str = "sk_test_1") -> stripe.StripeClient:
    http = stripe.RequestsClient(timeout=timeout)
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=retries, http_client=http)


def eventually(check: Callable[[], Any], within: float = 5.0) -> Any:
    """Wait until the check is truthy and return what it gave."""
    deadline = time.monotonic() + within
    while not (result := check()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)
    return result


@pytest.fixture(scope="session")
def _shop() -> Iterator[Shop]:
    shop = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one = Received(self.path, headers, body, time.monotonic())
            shop.received.append(one)
            if shop.stall:
                shop.stall(one)
            self.send_response(shop.answers.pop(0) if shop.answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shop.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield shop
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def _server(_shop: Shop) -> Iterator[str]:
    server = build_server(create_app(SandboxConfig(webhook_target=_shop.url)), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{port_of(server)}"
    server.should_exit = True
    thread.join()


def port_of(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


@pytest.fixture(scope="session")
def _http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:  # one for all: making one reads every root certificate
        yield client


@pytest.fixture
def sandbox(_server: str, _shop: Shop, _http: httpx.Client) -> Sandbox:
    """Empty, with everything travelling as usual."""
    sandbox = Sandbox(_server, _shop, _http)
    _shop.answers.clear()
    _shop.stall = None
    # What the test before left on its way would arrive in this one.
    eventually(lambda: not any(service["pending"] for service in sandbox.seen("/webhooks").values()))
    sandbox.control("/reset")
    _shop.received.clear()
    return sandbox


@pytest.fixture
def shop(sandbox: Sandbox) -> Shop:
    return sandbox.shop
