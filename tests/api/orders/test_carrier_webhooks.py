"""The carrier's webhooks: signed over these very bytes, kept once, and the same end in whatever order they come."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from sandbox import signing
from sandbox.config import CARRIER_WEBHOOK_SECRET
from tests.fixtures.shop import at_once, eventually, new_key, slug

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def at(hours):
    return (BEGIN + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def event(number, status="in_transit", **changes):
    data = {"tracking_number": number, "status": status, "location": "Reno", "at": at(1), **changes}
    return {"id": f"cev_{new_key()}", "type": f"parcel.{status}", "timestamp": at(1), "data": data}


def deliver(shop, body, headers=None, name="sandbox"):
    body = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = signing.standard_headers(CARRIER_WEBHOOK_SECRET, body) if headers is None else headers
    return shop.http.post(f"{shop.url}/v1/webhooks/carrier/{name}", content=body, headers=headers)


def happen(world, shipment, status, **more):
    return world.post(f"/carrier/parcels/{shipment['tracking_number']}/events", status=status, **more)


def kept(shop, number):
    return shop.sql("SELECT event_id, applied_at FROM carrier_words WHERE tracking_number = :n", n=number)


@pytest.fixture
def tracked(shop, warehouse):
    def act(shipment):
        found = shop.get(f"/v1/orders/{shipment['order_id']}", warehouse).json()
        return next(parcel for parcel in found["shipments"] if parcel["id"] == shipment["id"]), found

    return act


class TestSignatures:
    def test_a_signed_one_is_kept_once(self, shop):
        body = event("1ZSIGNED")
        answers = [deliver(shop, body).json() for _ in range(2)]
        assert answers == [{"received": True, "duplicate": False}, {"received": True, "duplicate": True}]
        assert len(kept(shop, "1ZSIGNED")) == 1

    def test_many_at_once_are_kept_once(self, shop):
        number = new_key()
        body = event(number)
        answers = at_once([lambda: deliver(shop, body)] * 10)
        assert sum(not answer.json()["duplicate"] for answer in answers) == 1
        assert len(kept(shop, number)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"webhook-signature": ""},
            {"webhook-signature": "v1"},
            {"webhook-signature": "v1,é"},
            {"webhook-signature": "v1,AAAA v2,BBBB"},
            {"webhook-id": "another"},
            {"webhook-timestamp": "nan"},
            {"webhook-timestamp": "9" * 400},
            {"webhook-timestamp": "1"},
            {"webhook-id": None, "webhook-timestamp": None, "webhook-signature": None},
        ],
    )
    def test_a_forged_one_is_400(self, shop, change):
        number = new_key()
        body = json.dumps(event(number))
        headers = {**signing.standard_headers(CARRIER_WEBHOOK_SECRET, body), **change}
        answer = deliver(
            shop, body, {name: text.encode("latin-1") for name, text in headers.items() if text is not None}
        )
        assert (answer.status_code, slug(answer)) == (400, "bad-signature")
        assert kept(shop, number) == []

    def test_one_signed_by_somebody_else_or_changed_on_its_way_is_400(self, shop):
        body = json.dumps(event(new_key()))
        assert deliver(shop, body, signing.standard_headers("whsec_Zm9yZ2Vk", body)).status_code == 400
        headers = signing.standard_headers(CARRIER_WEBHOOK_SECRET, body)
        assert deliver(shop, body.replace("in_transit", "delivered"), headers).status_code == 400

    def test_of_a_carrier_that_the_shop_does_not_have_is_400(self, shop):
        answer = deliver(shop, event(new_key()), name="pigeon")
        assert (answer.status_code, slug(answer)) == (400, "bad-signature")

    @pytest.mark.parametrize(
        "data",
        [
            {"status": "delivered"},
            {"tracking_number": "1", "status": "delivered", "at": "yesterday"},
            {"tracking_number": "1\x00", "status": "delivered", "at": at(1)},
            {"tracking_number": ["1"], "status": "delivered", "at": at(1)},
            [],
            None,
        ],
    )
    def test_nonsense_that_is_rightly_signed_is_400(self, shop, data):
        body = {"id": f"cev_{new_key()}", "type": "parcel.delivered", "data": data}
        answer = deliver(shop, body)
        assert (answer.status_code, slug(answer)) == (400, "bad-request")

    def test_what_says_nothing_of_a_parcels_way_is_taken_and_forgotten(self, shop):
        for body in (event("1ZQUIET", "pre_transit"), {**event("1ZQUIET"), "type": "invoice.created"}):
            assert deliver(shop, body).json() == {"received": True, "duplicate": False}
        assert kept(shop, "1ZQUIET") == []


class TestOrder:
    WAY = ("in_transit", "exception", "in_transit", "out_for_delivery")

    def events(self, number):
        """Twenty of one parcel, in the order in which they happened; the last delivers it."""
        statuses = [self.WAY[n % len(self.WAY)] for n in range(19)] + ["delivered"]
        return [event(number, status, at=at(n), location=f"Hub {n}") for n, status in enumerate(statuses)]

    @pytest.mark.parametrize("seed", [None, 1, 2, 3])
    def test_twenty_events_shuffled_and_duplicated_have_the_same_end(self, shop, ship, tracked, seed):
        shipment = ship(shop.buyer(quantity=2).buy(), 1)
        told = self.events(shipment["tracking_number"])
        if seed is not None:
            dice = random.Random(seed)
            told = told + dice.choices(told, k=15)
            dice.shuffle(told)
        for one in told:
            assert deliver(shop, one).status_code == 200
        parcel, order = eventually(
            lambda: found if len((found := tracked(shipment))[0]["events"]) == 20 else None, within=20
        )
        assert parcel["status"] == "delivered"
        assert [scan["location"] for scan in parcel["events"]] == [f"Hub {n}" for n in range(20)]
        assert order["status"] == "partially_shipped"
        assert all(row.applied_at for row in kept(shop, shipment["tracking_number"]))

    def test_an_older_event_is_recorded_and_never_moves_the_parcel_back(self, shop, world, ship, tracked):
        shipment = ship(shop.buyer(quantity=2).buy(), 1)
        happen(world, shipment, "out_for_delivery", at=at(5))
        eventually(lambda: tracked(shipment)[0]["status"] == "out_for_delivery")
        happen(world, shipment, "in_transit", at=at(2))
        parcel = eventually(lambda: found if len((found := tracked(shipment)[0])["events"]) == 2 else None)
        assert parcel["status"] == "out_for_delivery"
        assert [scan["status"] for scan in parcel["events"]] == ["in_transit", "out_for_delivery"]

    def test_what_comes_after_the_end_is_recorded(self, shop, world, ship, tracked):
        shipment = ship(shop.buyer().buy())
        happen(world, shipment, "delivered", at=at(3))
        eventually(lambda: tracked(shipment)[0]["status"] == "delivered")
        happen(world, shipment, "in_transit", at=at(4))
        happen(world, shipment, "lost", at=at(9))
        parcel = eventually(lambda: found if len((found := tracked(shipment)[0])["events"]) == 3 else None)
        assert parcel["status"] == "delivered"
        assert shop.tasks(shipment["id"]) == []

    def test_a_parcel_that_was_refused_is_on_its_way_back_wherever_it_is(self, shop, world, ship, tracked):
        shipment = ship(shop.buyer(quantity=2).buy(), 1)
        for status, hour in (("in_transit", 6), ("refused", 4)):
            happen(world, shipment, status, at=at(hour))
        eventually(lambda: len(tracked(shipment)[0]["events"]) == 2)
        assert tracked(shipment)[0]["status"] == "refused"

    def test_what_is_heard_before_the_parcel_has_left_waits_for_it(self, shop, ship, tracked):
        number = new_key()
        assert deliver(shop, event(number, at=at(7))).status_code == 200
        shipment = ship(shop.buyer(quantity=2).buy(), 1, tracking=number)
        eventually(lambda: tracked(shipment)[0]["status"] == "in_transit")

    def test_two_carriers_with_one_number_are_told_apart(self, shop, ship, tracked, warehouse):
        number = new_key()
        one = ship(shop.buyer(quantity=2).buy(), 1, tracking=number)
        order = shop.buyer(quantity=2).buy()
        body = {
            "lines": [{"line_id": order["lines"][0]["id"], "quantity": 1}],
            "carrier": "DHL",
            "tracking_number": number,
        }
        two = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, warehouse).json()
        deliver(shop, event(number, carrier="dhl"))
        eventually(lambda: tracked(two)[0]["status"] == "in_transit")
        assert tracked(one)[0]["status"] == "shipped"

    def test_the_last_delivery_delivers_the_order_and_tells_the_buyer(self, shop, world, ship, tracked):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        parcels = [ship(order, 1), ship(order, 1)]
        with world.webhooks("carrier", duplicate=3, shuffle=True, seed=5):
            for parcel in parcels:
                for status, hour in (("in_transit", 1), ("out_for_delivery", 2), ("delivered", 3)):
                    happen(world, parcel, status, at=at(hour))
            eventually(lambda: tracked(parcels[0])[1]["status"] in ("delivered", "completed"))
        titles = eventually(lambda: found if len(found := self.mails(world, buyer)) == 5 else None)
        assert sorted(titles)[1:] == sorted(["arrived", "arrived", "on its way", "on its way"])

    @staticmethod
    def mails(world, buyer):
        words = ("arrived", "on its way")
        return [next((w for w in words if w in mail["subject"]), "") for mail in world.mail(buyer.email)]

    def test_the_etas_of_the_newest_word_are_shown(self, shop, ship, tracked):
        buyer = shop.buyer(quantity=2)
        shipment = ship(buyer.buy(), 1)
        deliver(shop, event(shipment["tracking_number"], eta="2026-03-09T18:00:00Z"))
        path = f"/v1/orders/{shipment['order_id']}/tracking"
        shown = eventually(lambda: (found := buyer.call("GET", path).json()["items"][0])["eta"] and found)
        assert shown["eta"] == "2026-03-09T18:00:00Z"
        assert "label_url" not in shown
