"""What leaves from where, labels that are bought for it, and what becomes of parcels that don't arrive."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from tests.fixtures.shop import eventually, new_key, slug


@pytest.fixture
def labels(shop, world):
    """Of a parcel, at the carrier."""
    return lambda shipment_id: world.get("/carrier/labels", reference=shipment_id)


@pytest.fixture
def pack(shop, warehouse):
    """Hands a parcel over as the body says; the answer."""

    def act(order, quantity=1, *, key=None, lines=None, **body):
        lines = lines or [{"line_id": line["id"], "quantity": quantity} for line in order["lines"]]
        headers = {**warehouse, **({"Idempotency-Key": key} if key else {})}
        return shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", {"lines": lines, **body}, headers)

    return act


@pytest.fixture
def packing(shop, warehouse):
    return lambda order: shop.get(f"/v1/fulfilment/orders/{order['id']}", warehouse).json()


@pytest.fixture
def spread(shop):
    """A SKU with so much of it in each location."""

    def make(**levels):
        sku = shop.sku(stock=levels.pop("east", 0))
        for location, units in levels.items():
            body = {"location": location, "delta": units, "reason": "counted"}
            answer = shop.post(f"/v1/inventory/{sku}/adjustments", body, shop.bearer(Role.MERCHANDISER))
            assert answer.status_code == 201, answer.text
        return sku

    return make


def happen(world, shipment, status, **more):
    return world.post(f"/carrier/parcels/{shipment['tracking_number']}/events", status=status, **more)


def levels(shop, sku):
    rows = shop.sql("SELECT location, on_hand, reserved FROM stock_levels WHERE sku = :sku ORDER BY location", sku=sku)
    return {row.location: (row.on_hand, row.reserved) for row in rows}


class TestWhereItLeavesFrom:
    def test_the_nearest_location_that_has_all_of_it(self, shop, spread, packing):
        sku = spread(east=5, west=5)
        order = shop.buyer(sku, 2).buy()  # to San Francisco
        assert levels(shop, sku) == {"east": (5, 0), "west": (5, 2)}
        shown = packing(order)
        (place,) = shown["allocations"]
        line = {"line_id": order["lines"][0]["id"], "sku": sku, "quantity": 2, "shipped": 0, "left": 2}
        assert (place["location"], place["lines"]) == ("west", [line])
        assert shown["shipping_address"]["city"] == "San Francisco"

    def test_abroad_the_first_by_priority(self, shop, spread):
        sku = spread(east=5, west=5)
        shop.buyer(sku, 2, country="DE").buy()
        assert levels(shop, sku) == {"east": (5, 2), "west": (5, 0)}

    def test_each_parcel_takes_its_stock_from_its_own_location(self, shop, spread, pack, packing):
        sku = spread(east=2, west=3)
        order = shop.buyer(sku, 5).buy()
        assert {p["location"]: p["lines"][0]["left"] for p in packing(order)["allocations"]} == {"east": 2, "west": 3}
        west = pack(order, 3, carrier="ups", tracking_number=new_key())
        assert (west.status_code, west.json()["location"]) == (201, "west")
        assert levels(shop, sku) == {"east": (2, 2), "west": (0, 0)}
        refused = pack(order, 1, carrier="ups", tracking_number=new_key(), location="west")
        assert (refused.status_code, slug(refused)) == (409, "not-enough-to-ship")
        east = pack(order, 2, carrier="ups", tracking_number=new_key(), location="east")
        assert (east.status_code, east.json()["location"]) == (201, "east")
        assert levels(shop, sku) == {"east": (0, 0), "west": (0, 0)}
        assert [p["lines"][0]["shipped"] for p in packing(order)["allocations"]] == [2, 3]

    def test_a_parcel_from_both_takes_from_both(self, shop, spread, pack):
        sku = spread(east=2, west=3)
        order = shop.buyer(sku, 5).buy()
        shipment = pack(order, 5, carrier="ups", tracking_number=new_key()).json()
        assert shipment["location"] is None
        assert levels(shop, sku) == {"east": (0, 0), "west": (0, 0)}

    def test_is_for_the_warehouse(self, shop, warehouse):
        order = shop.buyer().buy()
        path = f"/v1/fulfilment/orders/{order['id']}"
        assert shop.get(path, shop.bearer(Role.CUSTOMER)).status_code == 403
        assert shop.get("/v1/fulfilment/orders/ord_none", warehouse).status_code == 404


class TestRates:
    def test_are_the_carriers_for_this_way(self, shop, warehouse):
        order = shop.buyer().buy()
        found = shop.get(f"/v1/fulfilment/orders/{order['id']}/rates", warehouse).json()
        assert found["carrier"] == "sandbox"
        assert [(rate["service"], rate["days"]) for rate in found["items"]] == [("standard", 3), ("express", 1)]

    def test_from_a_location_that_has_nothing_of_it_are_422(self, shop, warehouse):
        order = shop.buyer().buy()
        answer = shop.get(f"/v1/fulfilment/orders/{order['id']}/rates", warehouse, location="nowhere")
        assert answer.status_code == 422

    def test_of_a_carrier_that_is_down_are_503(self, shop, world, warehouse):
        order = shop.buyer().buy()
        world.post("/script", service="carrier", match={"path": "/carrier/rates"}, outcomes=[{"kind": "status_before"}])
        assert shop.get(f"/v1/fulfilment/orders/{order['id']}/rates", warehouse).status_code == 503


class TestLabels:
    def test_one_is_bought_where_no_number_is_given(self, shop, world, pack, labels, packing):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        key = new_key()
        answer = pack(order, 1, key=key, service="express")
        assert answer.status_code == 201, answer.text
        shipment = answer.json()
        (label,) = labels(shipment["id"])
        assert (label["service"], label["status"]) == ("express", "purchased")
        assert shipment["carrier"] == "sandbox"
        assert shipment["tracking_number"] == label["tracking_number"]
        assert (shipment["label_url"], shipment["eta"]) == (label["label_url"], label["eta"])
        again = pack(order, 1, key=key, service="express")
        assert (again.content, again.headers["Idempotency-Replayed"]) == (answer.content, "true")
        assert len(labels(shipment["id"])) == 1
        assert packing(order)["shipments"][0]["label_url"] == label["label_url"]
        (shown,) = buyer.call("GET", f"/v1/orders/{order['id']}/tracking").json()["items"]
        assert (shown["eta"], shown["tracking_number"]) == (label["eta"], label["tracking_number"])

    @pytest.mark.parametrize(
        "outcome", ["status_before", "status_after", "reset_connection_before", "reset_connection_after"]
    )
    def test_a_lost_or_failed_purchase_is_one_label(self, shop, world, pack, labels, outcome):
        order = shop.buyer().buy()
        match = {"path": "/carrier/labels", "method": "POST"}
        world.post("/script", service="carrier", match=match, outcomes=[{"kind": outcome}])
        answer = pack(order)
        assert answer.status_code == 201, answer.text
        (label,) = labels(answer.json()["id"])
        assert label["tracking_number"] == answer.json()["tracking_number"]

    def test_a_refused_capture_takes_the_label_back(self, shop, world, pack, warehouse):
        buyer = shop.buyer()
        order = buyer.buy()
        (intent,) = world.intents(buyer.cart_id)
        capture = {"path": f"/v1/payment_intents/{intent['id']}/capture"}
        world.post("/script", service="stripe", match=capture, outcomes=[{"kind": "decline", "code": "card_declined"}])
        before = {label["id"] for label in world.get("/carrier/labels")}
        assert pack(order).status_code >= 400
        (label,) = [label for label in world.get("/carrier/labels") if label["id"] not in before]
        assert label["status"] == "voided"
        assert shop.sql("SELECT 1 FROM shipments WHERE order_id = :id", id=order["id"]) == []

    def test_what_the_carrier_refuses_is_422_and_ships_nothing(self, shop, world, pack, labels):
        order = shop.buyer().buy()
        answer = pack(order, service="pigeon")
        assert (answer.status_code, slug(answer)) == (422, "invalid-request")
        assert shop.sql("SELECT 1 FROM shipments WHERE order_id = :id", id=order["id"]) == []
        assert pack(order).status_code == 201

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"carrier": "ups"}, "/tracking_number"),
            ({"tracking_number": "1Z1"}, "/carrier"),
            ({"tracking_number": "1Z1", "carrier": "ups", "service": "express"}, "/service"),
        ],
    )
    def test_half_a_wish_is_422(self, shop, pack, body, pointer):
        answer = pack(shop.buyer().buy(), **body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


class TestWhatDoesNotArrive:
    def test_a_lost_parcel_is_somebodys_task_and_the_buyer_is_told(self, shop, world, ship, warehouse):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        lost, arrives = ship(order, 1), ship(order, 1)
        happen(world, lost, "in_transit")
        happen(world, lost, "lost")
        eventually(lambda: shop.tasks(lost["id"]) == ["parcel-lost"])
        eventually(lambda: any("lost" in mail["subject"] for mail in world.mail(buyer.email)))
        happen(world, arrives, "delivered")
        shown = eventually(
            lambda: (
                found
                if (found := shop.get(f"/v1/orders/{order['id']}", warehouse).json())["status"]
                in ("delivered", "completed")
                else None
            )
        )
        assert [parcel["status"] for parcel in shown["shipments"]] == ["lost", "delivered"]
        eventually(lambda: shop.ended(f"shipment/{lost['id']}"))

    def test_what_comes_back_is_received_restocked_and_paid_back(self, shop, world, ship, warehouse):
        sku = shop.sku(stock=5)
        buyer = shop.buyer(sku, 2)
        order = buyer.buy()
        shipment = ship(order, 2)
        happen(world, shipment, "refused")
        happen(world, shipment, "returned_to_sender")
        shown = eventually(
            lambda: found if (found := shop.get(f"/v1/orders/{order['id']}", warehouse).json())["returns"] else None
        )
        assert shop.tasks(shipment["id"]) == ["parcel-returned"]
        (request,) = shown["returns"]
        assert [(item["line_id"], item["quantity"]) for item in request["lines"]] == [(order["lines"][0]["id"], 2)]
        body = {"lines": [{"line_id": order["lines"][0]["id"], "quantity": 2}], "restock": True}
        answer = shop.post(f"/v1/fulfilment/returns/{request['id']}/receive", body, warehouse)
        assert answer.status_code in (200, 201), answer.text
        assert shop.stock(sku) == (5, 0)
        eventually(lambda: shop.get(f"/v1/orders/{order['id']}", warehouse).json()["status"] == "returned")
        eventually(lambda: shop.ended(f"shipment/{shipment['id']}"))
        refund = shop.sql("SELECT amount FROM refunds WHERE order_id = :id", id=order["id"])
        assert [int(row.amount) for row in refund] == [order["lines"][0]["total"]["amount"]]

    def test_what_the_warehouse_finds_on_its_dock_counts_too(self, shop, ship, scan):
        shipment = ship(shop.buyer().buy())
        answer = scan(shipment, "returned_to_sender")
        assert (answer.status_code, answer.json()["status"]) == (201, "returned_to_sender")
        assert len(answer.json()["order"]["returns"]) == 1
