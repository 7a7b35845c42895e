"""The carrier: labels bought once, parcels that keep their way, webhooks signed as Standard Webhooks has it."""

import json
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sandbox.config import CARRIER_WEBHOOK_SECRET

HEADERS = {"Authorization": "Bearer ck_sandbox"}
ASK = {
    "from": {"country": "US", "region": "NY", "postal_code": "12207"},
    "to": {"country": "US", "region": "CA", "postal_code": "94105"},
    "reference": "shp_1",
    "lines": [{"sku": "A", "quantity": 2}],
}


class Carrier:
    """A client of the carrier's."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self._url = url
        self._http = http

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._http.request(method, f"{self._url}/carrier{path}", json=body, headers={**HEADERS, **given})

    def label(self, key: str = "k1", **changes: Any) -> dict[str, Any]:
        answer = self.call("POST", "/labels", {**ASK, **changes}, Idempotency_Key=key)
        assert answer.status_code == 201, answer.text
        found = answer.json()
        assert isinstance(found, dict)
        return found

    def happen(self, number: str, status: str, **more: Any) -> httpx.Response:
        path = f"{self._url}/_sandbox/carrier/parcels/{number}/events"
        return self._http.post(path, json={"status": status, **more})


@pytest.fixture
def carrier(sandbox: Any) -> Carrier:
    return Carrier(sandbox.url, sandbox.http)


def test_rates_are_dearer_faster_and_farther(carrier: Carrier) -> None:
    home = carrier.call("POST", "/rates", {name: ASK[name] for name in ("from", "to")}).json()["rates"]
    assert [(rate["service"], rate["days"]) for rate in home] == [("standard", 3), ("express", 1)]
    assert home[0]["price"] == {"amount": 590, "currency": "USD"}
    abroad = carrier.call("POST", "/rates", {"from": ASK["from"], "to": {"country": "DE"}, "weight_grams": 2500})
    assert [rate["price"]["amount"] for rate in abroad.json()["rates"]] == [1990 + 180, 3990 + 380]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": {"country": "usa"}}, "bad_address"),
        ({"to": None}, "bad_address"),
        ({"service": "pigeon"}, "unknown_service"),
        ({"reference": ""}, "bad_reference"),
        ({"weight_grams": 0}, "bad_weight"),
        ({"colour": "red"}, "unknown_field"),
    ],
)
def test_what_makes_no_sense_is_refused(carrier: Carrier, changes: dict[str, Any], code: str) -> None:
    answer = carrier.call("POST", "/labels", {**ASK, **changes})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


def test_a_label_is_bought_once_for_its_key_and_found_by_its_reference(sandbox: Any, carrier: Carrier) -> None:
    first, again = carrier.label(), carrier.label()
    assert first == again
    assert first["status"] == "purchased"
    assert carrier.call("GET", "/labels?reference=shp_1").json()["labels"] == [first]
    assert carrier.call("GET", "/labels?reference=shp_2").json()["labels"] == []
    assert sandbox.seen("/carrier/labels") == [first]
    assert [call["replayed"] for call in sandbox.seen("/calls?service=carrier&path=/carrier/labels")][:2] == [
        False,
        True,
    ]
    other = carrier.call("POST", "/labels", {**ASK, "reference": "shp_2"}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")
    document = sandbox.http.get(first["label_url"])
    assert first["tracking_number"] in document.text


def test_a_lost_answer_was_a_purchase_and_a_500_is_repeated(sandbox: Any, carrier: Carrier) -> None:
    sandbox.script({"kind": "reset_connection_after"}, service="carrier", path="/carrier/labels")
    with pytest.raises(httpx.TransportError):
        carrier.label()
    assert len(sandbox.seen("/carrier/labels?reference=shp_1")) == 1
    sandbox.script({"kind": "status_before"}, service="carrier", metadata={"reference": "shp_9"})
    for _ in range(2):
        answer = carrier.call("POST", "/labels", {**ASK, "reference": "shp_9"}, Idempotency_Key="k9")
        assert answer.status_code == 500
    assert sandbox.seen("/carrier/labels?reference=shp_9") == []
    sandbox.script({"kind": "reset_connection_before"}, service="carrier", path="/carrier/labels")
    with pytest.raises(httpx.TransportError):
        carrier.label("k3", reference="shp_3")
    assert sandbox.seen("/carrier/labels?reference=shp_3") == []


def test_a_label_is_voided_until_its_parcel_is_on_its_way(carrier: Carrier) -> None:
    label = carrier.label()
    for _ in range(2):
        assert carrier.call("POST", f"/labels/{label['id']}/void").json()["status"] == "voided"
    assert carrier.happen(label["tracking_number"], "in_transit").status_code == 409
    other = carrier.label("k2", reference="shp_2")
    carrier.happen(other["tracking_number"], "in_transit")
    answer = carrier.call("POST", f"/labels/{other['id']}/void")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "label_in_use")


def test_tracking_tells_the_way_by_the_carriers_time(carrier: Carrier) -> None:
    label = carrier.label()
    number = label["tracking_number"]
    assert carrier.call("GET", f"/tracking/{number}").json()["status"] == "pre_transit"
    carrier.happen(number, "out_for_delivery", location="Oakland", at="2026-01-02T09:00:00+01:00")
    carrier.happen(number, "in_transit", location="Reno", at="2026-01-01T00:00:00Z")
    found = carrier.call("GET", f"/tracking/{number}").json()
    assert [(event["status"], event["at"]) for event in found["events"]] == [
        ("in_transit", "2026-01-01T00:00:00Z"),
        ("out_for_delivery", "2026-01-02T08:00:00Z"),
    ]
    assert (found["status"], found["eta"], found["carrier"]) == ("out_for_delivery", label["eta"], "sandbox")
    assert carrier.call("GET", "/tracking/none").status_code == 404
    assert carrier.happen(number, "teleported").status_code == 422
    assert carrier.happen(number, "lost", at="yesterday").status_code == 422


def test_nothing_is_told_to_strangers(sandbox: Any) -> None:
    answer = sandbox.http.get(f"{sandbox.url}/carrier/labels")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


def test_webhooks_are_signed_and_a_forged_one_is_not(sandbox: Any, carrier: Carrier) -> None:
    sandbox.control("/webhooks", {"service": "carrier", "forge": True, "duplicate": 2})
    event = carrier.happen("1Z999", "in_transit", location="Reno", carrier="ups").json()
    sandbox.eventually(lambda: len(sandbox.shop.at("/v1/webhooks/carrier/sandbox")) == 3)
    good, bad = [], []
    for one in sandbox.shop.at("/v1/webhooks/carrier/sandbox"):
        try:
            good.append(Webhook(CARRIER_WEBHOOK_SECRET).verify(one.body, one.headers))
            assert one.headers["webhook-id"] == event["id"]
        except WebhookVerificationError:
            bad.append(json.loads(one.body))
    assert [one["data"]["status"] for one in bad] == ["delivered"]
    assert good[0] == good[1]
    assert good[0]["type"] == "parcel.in_transit"
    assert good[0]["data"] == {name: event[name] for name in event if name != "id"}
    assert good[0]["data"]["carrier"] == "ups"


def test_held_webhooks_come_when_they_are_let_go(sandbox: Any, carrier: Carrier) -> None:
    sandbox.control("/webhooks", {"service": "carrier", "mode": "hold"})
    for status in ("in_transit", "out_for_delivery", "delivered"):
        carrier.happen("1Z1", status)
    assert sandbox.shop.at("/v1/webhooks/carrier") == []
    sandbox.control("/webhooks/release", {"service": "carrier"})
    sandbox.eventually(lambda: len(sandbox.shop.at("/v1/webhooks/carrier")) == 3)
    statuses = [one.event["data"]["status"] for one in sandbox.shop.at("/v1/webhooks/carrier")]
    assert statuses == ["in_transit", "out_for_delivery", "delivered"]
