"""What several files here do to an order."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from tests.fixtures.shop import eventually, new_key


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


@pytest.fixture(scope="session")
def support(shop):
    return shop.bearer(Role.SUPPORT, "usr_support")


@pytest.fixture(scope="session")
def ask(shop, support):
    """Asks for a refund; the answer."""

    def act(order, *, key=None, **body):
        headers = {**support, "Idempotency-Key": key or new_key()}
        return shop.post(f"/v1/support/orders/{order['id']}/refunds", {"reason": "late", **body}, headers)

    return act


@pytest.fixture(scope="session")
def give(ask):
    """The same, where it has to be taken on."""

    def act(order, **body):
        answer = ask(order, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return act


@pytest.fixture(scope="session")
def now(shop, support):
    """The order as it stands."""
    return lambda order: shop.get(f"/v1/orders/{order['id']}", support).json()


@pytest.fixture(scope="session")
def settled(now):
    """The order once none of its refunds is on its way."""

    def act(order):
        def check():
            found = now(order)
            return found if all(r["status"] != "pending" for r in found["refunds"]) else None

        return eventually(check)

    return act


@pytest.fixture(scope="session")
def bought(shop, ship):
    """A buyer, and the order that was shipped to them whole."""

    def act(method="pm_card_visa", quantity=2, **more):
        buyer = shop.buyer(quantity=quantity, **more)
        order = buyer.buy(method)
        return buyer, ship(order, quantity)["order"]

    return act
