"""A buyer's trace goes on to the providers, as the W3C header that it came with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry import context, propagate

from activities.gateways.mail import MailGateway
from activities.gateways.stripe.payments import StripeGateway
from models.delivery.mails import EmailMessage
from models.errors import HoldfastError
from models.money import Money
from models.payments.provider import AuthorisationRequest

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def provider() -> Iterator[tuple[str, list[str | None]]]:
    """Answers everything with 500 and remembers the trace that came with it."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers.get("traceparent"))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def trace() -> Iterator[None]:
    token = context.attach(propagate.extract({"traceparent": PARENT}))
    yield
    context.detach(token)


@pytest.mark.usefixtures("trace")
def test_goes_on_to_stripe(provider) -> None:
    base, seen = provider
    with pytest.raises(HoldfastError):
        StripeGateway("sk_test_x", base=base).authorise(
            AuthorisationRequest(Money.of(100, "USD"), "pm_card_visa", {}, "key")
        )
    assert seen == [PARENT]


@pytest.mark.usefixtures("trace")
def test_goes_on_to_sendgrid(provider) -> None:
    base, seen = provider
    message = EmailMessage(id="msg_1", to="ada@example.com", subject="s", text="t", html="h")
    with pytest.raises(HoldfastError):
        MailGateway("SG.x", base=base, sender="shop@example.com").send(message)
    assert seen == [PARENT]
