"""SMS through Twilio's own SDK: sent, listed, reported by signed callbacks."""

import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

ACCOUNT = "AC" + "0" * 32


class _SandboxHttp(TwilioHttpClient):
    """Twilio's own transport, sent to the sandbox instead of api.twilio.com."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().request(method, url.replace("https://api.twilio.com", self._url), *args, **kwargs)


@pytest.fixture
def twilio(sandbox: Any) -> Any:
    http = _SandboxHttp(sandbox.url)
    yield Client(ACCOUNT, "sandbox", http_client=http)
    if http.session is not None:
        http.session.close()


def text(twilio: Any, **changes: Any) -> Any:
    return twilio.messages.create(**{"to": "+436601234567", "from_": "+15005550006", "body": "Hi", **changes})


def test_sent_listed_and_read(sandbox: Any, twilio: Any) -> None:
    first = text(twilio)
    text(twilio, to="+436601111111", body="x" * 200)
    assert (first.status, first.num_segments) == ("queued", "1")

    assert twilio.messages(first.sid).fetch().status == "delivered"
    assert [one.sid for one in twilio.messages.list(to="+436601234567")] == [first.sid]
    assert len(twilio.messages.list(page_size=1)) == 2
    [shown] = sandbox.seen("/sms?to=%2B436601234567")
    assert {key: shown[key] for key in ("id", "to", "from", "text", "subject", "html")} == {
        "id": first.sid,
        "to": "+436601234567",
        "from": "+15005550006",
        "text": "Hi",
        "subject": None,
        "html": None,
    }


def test_lists_are_narrowed_by_the_moment_of_sending(sandbox: Any, twilio: Any) -> None:
    now = datetime.now(UTC)
    text(twilio)

    assert len(twilio.messages.list(date_sent=now)) == 1
    assert len(twilio.messages.list(date_sent_after=now - timedelta(seconds=5))) == 1
    assert twilio.messages.list(date_sent_after=now + timedelta(seconds=60)) == []
    assert twilio.messages.list(date_sent_before=now - timedelta(seconds=60)) == []
    with pytest.raises(TwilioException, match="HTTP 400"):
        twilio.messages.list(date_sent_before="yesterday")


def test_status_callbacks_are_signed(sandbox: Any, twilio: Any) -> None:
    url = f"{sandbox.shop.url}/v1/webhooks/twilio?notification_id=n_1"
    sandbox.control("/webhooks", {"service": "twilio", "forge": True})
    message = text(twilio, status_callback=url)
    sandbox.eventually(lambda: len(sandbox.shop.at("/v1/webhooks/twilio")) == 4)

    valid, forged = [], []
    for one in sandbox.shop.at("/v1/webhooks/twilio"):
        fields = dict(httpx.QueryParams(one.body.decode()))
        assert fields["MessageSid"] == message.sid
        genuine = RequestValidator("sandbox").validate(url, fields, one.headers["x-twilio-signature"])
        (valid if genuine else forged).append(fields["MessageStatus"])
    assert (valid, forged) == (["sent", "delivered"], ["failed", "failed"])
    assert sandbox.seen("/calls?service=twilio")[0]["metadata"] == {"notification_id": "n_1", "to": "+436601234567"}


def test_a_receiver_that_is_down_is_met_when_it_is_back(sandbox: Any, twilio: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody can be reached
        port = closed.getsockname()[1]
        for _ in range(3):
            text(twilio, status_callback=f"http://127.0.0.1:{port}/status")
        time.sleep(0.3)
        assert sandbox.seen("/webhooks")["twilio"]["pending"] == 6

        closed.listen()
        closed.settimeout(5)
        for _ in range(6):
            wire, _address = closed.accept()
            with wire:
                assert b"POST /status HTTP/1.1" in wire.recv(4096)
                wire.sendall(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        sandbox.eventually(lambda: sandbox.seen("/webhooks")["twilio"]["pending"] == 0)


def test_a_receiver_that_breaks_off_is_tried_again(sandbox: Any, twilio: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        rude.settimeout(5)
        text(twilio, status_callback=f"http://127.0.0.1:{rude.getsockname()[1]}/status")
        for answer in (b"", b"nonsense\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
            wire, _address = rude.accept()
            with wire:
                wire.recv(4096)
                wire.sendall(answer)
        sandbox.eventually(lambda: sandbox.seen("/webhooks")["twilio"]["pending"] == 0)


def test_scripts_match_the_recipient(sandbox: Any, twilio: Any) -> None:
    sandbox.script({"kind": "status_after", "status": 503}, service="twilio", to="+436601234567")
    text(twilio, to="+436601111111")

    with pytest.raises(TwilioRestException) as broken:
        text(twilio)
    assert broken.value.status == 503
    assert len(twilio.messages.list(to="+436601234567")) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"To": "+15005550001"}, 21211),
        ({"To": "0660"}, 21211),
        ({"To": ""}, 21604),
        ({"To": "+15005550009"}, 21614),
        ({"From": ""}, 21603),
        ({"Body": ""}, 21602),
        ({"Body": "x" * 1601}, 21617),
        ({"Colour": "red"}, 20001),
    ],
)
def test_refused_messages(sandbox: Any, fields: dict[str, str], code: int) -> None:
    answer = sandbox.http.post(
        f"{sandbox.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
        auth=(ACCOUNT, "sandbox"),
        data={"To": "+436601234567", "From": "+15005550006", "Body": "Hi", **fields},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert sandbox.seen("/sms") == []


@pytest.mark.parametrize(
    ("method", "path", "auth", "status"),
    [
        ("GET", f"Accounts/{ACCOUNT}/Messages.json", None, 401),
        ("GET", f"Accounts/{ACCOUNT}/Messages.json", ("me", "sandbox"), 401),
        ("GET", f"Accounts/{ACCOUNT}/Calls.json", (ACCOUNT, "sandbox"), 404),
        ("GET", f"Accounts/{ACCOUNT}/Messages/SM1.json", (ACCOUNT, "sandbox"), 404),
        ("DELETE", f"Accounts/{ACCOUNT}/Messages/SM1.json", (ACCOUNT, "sandbox"), 405),
    ],
)
def test_the_edges(sandbox: Any, method: str, path: str, auth: Any, status: int) -> None:
    assert sandbox.http.request(method, f"{sandbox.url}/2010-04-01/{path}", auth=auth).status_code == status
    assert (
        sandbox.http.get(f"{sandbox.url}/2010-04-01/x", headers={"authorization": "Basic %%"}).json()["code"] == 20003
    )
