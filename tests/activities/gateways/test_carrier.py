"""The carrier's gateway: what happened, what did not, and what is not known are three different answers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from activities.gateways.carrier import CarrierGateway
from deploy.stack import plan
from deploy.stack.ports import free_ports
from models.errors import InvalidRequest, NotFound, OutcomeUnknown, ProviderUnavailable
from models.orders.parcels import Stop
from runtime.settings import SANDBOX_CARRIER_WEBHOOK_SECRET, Settings

HERE = Stop(country="US", postal_code="12207")


@pytest.fixture(scope="module")
def answering():
    """A carrier that answers what it is told to; the requests that it got."""
    answers, got = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("content-length") or 0)
            got.append((self.command, self.path, self.headers.get("idempotency-key"), self.rfile.read(length)))
            status, body = answers.pop(0)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    gateway = gateway_at(f"http://127.0.0.1:{server.server_port}")

    def answer(*these):
        answers[:] = these
        got.clear()
        return gateway, got

    yield answer
    gateway.close()
    server.shutdown()
    server.server_close()
    thread.join()


ROW = ["shp_1:label", "shp_1:label:2", "shp_1:label:3"]


def gateway_at(base):
    return CarrierGateway("ck_test", base=base, webhook_secret=SANDBOX_CARRIER_WEBHOOK_SECRET, timeout=1)


def label(number="1", status="purchased"):
    return {
        "id": f"lbl_{number}",
        "carrier": "sandbox",
        "tracking_number": number,
        "label_url": "https://carrier.example/1",
        "eta": "2026-03-01T18:00:00Z",
        "status": status,
    }


def buy(gateway):
    return gateway.buy_label("shp_1", "standard", HERE, HERE, keys=ROW)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {}, ProviderUnavailable),
        (429, {}, ProviderUnavailable),
        (404, {}, NotFound),
        (422, {"error": {"code": "bad_address"}}, InvalidRequest),
        (400, b"<html>", InvalidRequest),
        (409, {"error": {"code": "key_in_use"}}, OutcomeUnknown),
        (500, {}, OutcomeUnknown),
        (200, b"<html>", OutcomeUnknown),
        (200, {"rates": [{"service": "standard"}]}, OutcomeUnknown),
        (200, {}, OutcomeUnknown),
    ],
)
def test_every_answer_says_how_much_is_known(answering, status, body, error):
    gateway, _ = answering((status, body))
    with pytest.raises(error):
        gateway.rates(HERE, HERE)


def test_nobody_there_is_nothing_done_and_silence_is_unknown():
    gateway = gateway_at(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(ProviderUnavailable):
        buy(gateway)
    gateway.close()


def test_after_a_500_what_was_bought_is_looked_up_before_another_key_is_used(answering):
    gateway, got = answering((500, {}), (200, {"labels": [label("9", "voided"), label("1")]}))
    assert buy(gateway).tracking_number == "1"
    assert [(method, path) for method, path, _, _ in got] == [
        ("POST", "/carrier/labels"),
        ("GET", "/carrier/labels?reference=shp_1"),
    ]
    gateway, got = answering((500, {}), (200, {"labels": []}), (201, label("2")))
    assert buy(gateway).tracking_number == "2"
    assert [key for _, _, key, _ in got] == ["shp_1:label", None, "shp_1:label:2"]


def test_one_that_goes_on_failing_is_asked_with_each_key_once(answering):
    gateway, got = answering(*[(500, {}), (200, {"labels": []})] * len(ROW))
    with pytest.raises(OutcomeUnknown):
        buy(gateway)
    assert [key for _, _, key, _ in got if key] == ROW


def test_what_it_has_never_seen_has_no_words(answering):
    gateway, _ = answering((404, {}))
    assert gateway.track("1Z") is None
    told = {"tracking_number": "1", "carrier": None, "eta": None, "events": [
        {"id": "1", "status": "in_transit", "location": None, "at": "2026-03-01T01:00:00+01:00"},
        {"id": "2", "status": "pre_transit", "location": None, "at": "2026-03-01T00:00:00Z"},
    ]}  # fmt: skip
    gateway, _ = answering((200, told))
    (word,) = gateway.track("1")
    assert (word.id, word.at.isoformat()) == ("1", "2026-03-01T00:00:00+00:00")


def test_a_shop_may_have_none():
    assert CarrierGateway.of(Settings.model_validate({"carrier_api_key": ""})) is None


def test_the_sandbox_is_started_for_the_carrier_alone():
    real = {
        "stripe_api_key": "sk_test_real",
        "sendgrid_api_key": "SG.real",
        "google_client_id": "g",
        "facebook_client_id": "f",
    }
    assert plan.outside_world(Settings.model_validate(real))
