"""The sandbox as a process: quick to start, clean to stop, and back after a kill -9 with nothing lost."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from sandbox.app import SandboxConfig, create_app, serve

RUN = """
import sys
from pathlib import Path
from sandbox.app import SandboxConfig, serve
state, target, port = sys.argv[1:]
serve(SandboxConfig(state=Path(state) if state else None, webhook_target=target), "127.0.0.1", int(port))
"""
PAY = {"amount": 1000, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"}


class Machine:
    """Starts sandboxes on one port and one state file."""

    def __init__(self, state: str, target: str, http: httpx.Client) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._args = [state, target, str(self.port)]
        self.http = http
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", RUN, *self._args], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.http.get(f"{self.url}/_sandbox/health")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self, number: signal.Signals) -> tuple[int, bytes]:
        assert self.process is not None
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=10)
        return self.process.returncode, errors

    def client(self) -> stripe.StripeClient:
        http = stripe.RequestsClient(timeout=5)
        return stripe.StripeClient("sk_test_1", base_addresses={"api": self.url}, http_client=http)


@pytest.fixture
def machine(tmp_path: Path, sandbox: Any) -> Iterator[Machine]:
    machine = Machine(str(tmp_path / "state.sqlite"), sandbox.shop.url, sandbox.http)
    machine.start()
    yield machine
    if machine.process and machine.process.poll() is None:
        machine.stop(signal.SIGKILL)


def test_kill_nine_loses_nothing(machine: Machine, sandbox: Any) -> None:
    shop = sandbox.shop
    shop.answers.extend([503] * 3)
    client = machine.client()
    control = f"{machine.url}/_sandbox"
    machine.http.post(f"{control}/clock", json={"advance_s": 100})
    first = client.v1.payment_intents.create({**PAY, "metadata": {"n": "1"}}, {"idempotency_key": "key-1"})
    mail = {
        "personalizations": [{"to": [{"email": "ada@example.com"}]}],
        "from": {"email": "shop@example.com"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hi"}],
    }
    machine.http.post(f"{control}/webhooks", json={"service": "sendgrid", "mode": "hold"})
    machine.http.post(f"{machine.url}/v3/mail/send", headers={"authorization": "Bearer SG.x"}, json=mail)
    script = {"service": "stripe", "match": {"path": "/v1/refunds"}, "outcomes": [{"kind": "status_before"}]}
    machine.http.post(f"{control}/script", json=script)
    parcel = {"from": {"country": "US"}, "to": {"country": "US"}, "reference": "shp_1"}
    bought = {"authorization": "Bearer ck_x", "idempotency-key": "key-1"}
    label = machine.http.post(f"{machine.url}/carrier/labels", headers=bought, json=parcel).json()
    machine.http.post(f"{control}/carrier/parcels/{label['tracking_number']}/events", json={"status": "in_transit"})
    tracked = machine.http.get(f"{control}/carrier/parcels/{label['tracking_number']}").json()
    before = machine.http.get(f"{control}/calls").json()

    machine.stop(signal.SIGKILL)
    machine.start()

    again = machine.client().v1.payment_intents.create({**PAY, "metadata": {"n": "1"}}, {"idempotency_key": "key-1"})
    assert again.to_dict() == first.to_dict()
    assert machine.client().v1.payment_intents.search({"query": "metadata['n']:'1'"}).data[0].id == first.id
    assert len(machine.http.get(f"{control}/stripe/payment_intents").json()) == 1
    assert len(machine.http.get(f"{control}/mail").json()) == 1
    assert machine.http.post(f"{machine.url}/carrier/labels", headers=bought, json=parcel).json() == label
    assert machine.http.get(f"{control}/carrier/parcels/{label['tracking_number']}").json() == tracked
    assert machine.http.get(f"{control}/script").json()[0]["match"] == {"path": "/v1/refunds"}
    calls = machine.http.get(f"{control}/calls").json()
    assert calls[: len(before)] == before
    assert [call["n"] for call in calls] == list(range(1, len(calls) + 1))
    assert machine.client().v1.customers.create({}).created >= first.created
    sandbox.eventually(lambda: {"payment_intent.created", "payment_intent.succeeded"} <= set(shop.types))
    assert shop.at("/v1/webhooks/sendgrid") == []
    assert machine.http.post(f"{control}/webhooks/release").json() == {"released": 2}
    sandbox.eventually(lambda: len(shop.at("/v1/webhooks/sendgrid")) == 2)


def test_kill_nine_keeps_what_a_payer_approved(machine: Machine) -> None:
    paypal = f"{machine.url}/paypal/v2/checkout/orders"
    token = machine.http.post(
        f"{machine.url}/paypal/v1/oauth2/token",
        auth=("sandbox-paypal", "sandbox-paypal-secret"),
        data={"grant_type": "client_credentials"},
    ).json()["access_token"]
    headers = {"authorization": f"Bearer {token}", "paypal-request-id": "key-1"}
    body = {"intent": "AUTHORIZE", "purchase_units": [{"amount": {"currency_code": "USD", "value": "10.00"}}]}
    order = machine.http.post(paypal, headers=headers, json=body).json()
    machine.http.post(f"{machine.url}/_sandbox/paypal/orders/{order['id']}/approve", json={"result": "success"})
    held = machine.http.post(f"{paypal}/{order['id']}/authorize", headers=headers, json={}).json()

    machine.stop(signal.SIGKILL)
    machine.start()

    assert machine.http.post(paypal, headers=headers, json=body).json() == order
    assert machine.http.post(f"{paypal}/{order['id']}/authorize", headers=headers, json={}).json() == held
    assert machine.http.get(f"{paypal}/{order['id']}", headers=headers).json() == held


def test_a_reset_is_remembered_and_sigterm_is_a_clean_end(machine: Machine) -> None:
    machine.client().v1.payment_intents.create(PAY)
    machine.http.post(f"{machine.url}/_sandbox/reset")

    assert machine.stop(signal.SIGTERM) == (0, b"")
    machine.start()
    assert machine.http.get(f"{machine.url}/_sandbox/calls").json() == []


def test_sigterm_does_not_wait_for_held_calls(machine: Machine) -> None:
    script = {"service": "stripe", "match": {}, "outcomes": [{"kind": "timeout_before"}]}
    machine.http.post(f"{machine.url}/_sandbox/script", json=script)
    with socket.create_connection(("127.0.0.1", machine.port)) as held:
        held.sendall(b"GET /v1/customers HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.1)
        started = time.monotonic()
        code, _ = machine.stop(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - started < 9  # of the minute for which it is held


def test_a_state_file_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    owner = sqlite3.connect(path)
    owner.execute("PRAGMA locking_mode = EXCLUSIVE")
    owner.execute("CREATE TABLE mine (n)")
    owner.execute("BEGIN EXCLUSIVE")

    with pytest.raises(sqlite3.OperationalError):
        create_app(SandboxConfig(state=path))
    owner.close()


def test_it_never_runs_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ENV", "production")

    with pytest.raises(RuntimeError, match="production"):
        serve(SandboxConfig())


def test_importing_is_quick() -> None:
    clock = "import time; t = time.process_time(); import sandbox.app; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", clock], capture_output=True, check=True, env=os.environ)

    assert float(done.stdout) < 1.5  # 0.45 s on a quiet machine; this catches a heavy import, not a busy neighbour
