"""What several files here do to an order."""

from __future__ import annotations

import pytest

from models.access import Role
from tests.fixtures.shop import new_key


@pytest.fixture(scope="session")
def warehouse(shop):
    return shop.bearer(Role.WAREHOUSE, "usr_warehouse")


@pytest.fixture(scope="session")
def try_to_ship(shop, warehouse):
    """Ships `quantity` of every line, or the lines given; the answer."""

    def act(order, quantity=1, *, lines=None, tracking=None, key=None):
        chosen = lines or [{"line_id": line["id"], "quantity": quantity} for line in order["lines"]]
        body = {"lines": chosen, "carrier": "ups", "tracking_number": tracking or f"1Z{new_key()}"}
        headers = {**warehouse, **({"Idempotency-Key": key} if key else {})}
        return shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, headers)

    return act


@pytest.fixture(scope="session")
def ship(try_to_ship):
    """The same, where it has to work; the shipment."""

    def act(order, quantity=1, **more):
        answer = try_to_ship(order, quantity, **more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return act


@pytest.fixture(scope="session")
def scan(shop, warehouse):
    """What a carrier says of a shipment; the answer."""

    def act(shipment, status, **more):
        return shop.post(f"/v1/fulfilment/shipments/{shipment['id']}/events", {"status": status, **more}, warehouse)

    return act
