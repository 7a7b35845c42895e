"""API keys: shown once, no wider than their maker, good wherever a scope is asked for, gone at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.accounts.access import Role, Scope
from tests.fixtures.people import member
from tests.fixtures.shop import SKU, slug

STOCK = f"/v1/inventory/{SKU}"


@pytest.fixture(scope="module")
def admin(shop):
    admin = member(shop, role=Role.ADMIN)
    admin.login()
    return admin


@pytest.fixture
def make(shop, admin):
    """A key, and the headers that use it."""

    def act(*scopes, maker=None, **more):
        body = {"name": "the warehouse's scanner", "scopes": list(scopes or [Scope.INVENTORY_READ]), **more}
        answer = shop.post("/v1/api-keys", body, maker or admin.headers)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return made, {"Authorization": f"Bearer {made['key']}"}

    return act


def test_it_is_shown_once_and_kept_as_a_digest(shop, admin, make):
    made, _ = make(Scope.INVENTORY_READ, Scope.ORDERS_READ, Scope.INVENTORY_READ)
    assert made["key"].startswith("hf_live_")
    assert len(made["key"]) >= 8 + 43  # 256 bits
    assert made["scopes"] == ["inventory:read", "orders:read"]
    listed = admin.call("GET", "/v1/api-keys?limit=100")
    (found,) = [key for key in listed.json()["items"] if key["id"] == made["id"]]
    assert found["hint"] == made["key"][-4:]
    assert found["created_by"] == admin.id
    assert found["created_at"].endswith("Z")
    assert made["key"] not in listed.text
    ((row,),) = shop.sql("SELECT to_jsonb(k)::text FROM api_keys k WHERE id = :id", id=made["id"])
    assert made["key"] not in row
    assert made["key"].encode().hex() not in row


def test_it_works_where_it_has_the_scope_and_only_there(shop, make):
    _, key = make(Scope.INVENTORY_READ)
    assert shop.get(STOCK, key).status_code == 200
    assert slug(shop.get("/v1/api-keys", key)) == "forbidden"
    adjustment = {"location": "east", "delta": 1, "reason": "found"}
    assert slug(shop.post(f"{STOCK}/adjustments", adjustment, key)) == "forbidden"


def test_it_is_not_a_person(shop, make):
    _, key = make(*Scope)
    assert shop.http.post(f"{shop.url}/v1/me/totp", headers=key).status_code == 403
    assert shop.post("/v1/carts", {}, key).status_code == 403


def test_what_it_does_is_told_of_a_machine(shop, make, ship):
    made, key = make(Scope.FULFILMENT_WRITE, Scope.INVENTORY_WRITE)
    order = shop.buyer().buy()
    line = {"line_id": order["lines"][0]["id"], "quantity": 1}
    body = {"lines": [line], "carrier": "ups", "tracking_number": "1Z-machine"}
    answer = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, key)
    assert answer.status_code == 201, answer.text
    events = shop.get(f"/v1/orders/{order['id']}/events", shop.bearer(Role.SUPPORT)).json()["items"]
    (shipped,) = [event for event in events if event["type"] == "shipment.created"]
    assert shipped["actor"] == {"type": "machine", "id": made["id"]}
    sku = shop.sku()
    adjustment = {"location": "east", "delta": 1, "reason": "found"}
    assert shop.post(f"/v1/inventory/{sku}/adjustments", adjustment, key).status_code == 201
    rows = shop.sql("SELECT actor FROM stock_adjustments WHERE sku = :sku AND actor LIKE 'machine:%'", sku=sku)
    assert [row.actor for row in rows] == [f"machine:{made['id']}"]


def test_nobody_gives_more_than_they_have(shop, make):
    _, narrow = make(Scope.USERS_WRITE, Scope.ORDERS_READ)
    body = {"name": "wider", "scopes": [Scope.ORDERS_READ, Scope.REFUNDS_WRITE]}
    answer = shop.post("/v1/api-keys", body, narrow)
    assert slug(answer) == "forbidden"
    assert "refunds:write" in answer.json()["detail"]
    made, key = make(Scope.ORDERS_READ, maker=narrow)
    assert made["created_by"].startswith("key_")
    assert shop.get("/v1/orders", key).status_code == 200


def test_without_orders_read_a_machine_has_no_orders_to_list(shop, make):
    _, key = make(Scope.INVENTORY_READ)
    assert slug(shop.get("/v1/orders", key)) == "forbidden"


def test_revoked_it_is_gone_at_once_from_every_process(shop, admin, make):
    other = shop.api(log_level="WARNING")
    made, key = make()
    assert shop.http.get(other + STOCK, headers=key).status_code == 200
    assert admin.call("DELETE", f"/v1/api-keys/{made['id']}").status_code == 204
    assert shop.http.get(other + STOCK, headers=key).status_code == 401
    assert shop.get(STOCK, key).status_code == 401
    assert admin.call("DELETE", f"/v1/api-keys/{made['id']}").status_code == 404
    assert made["id"] not in admin.call("GET", "/v1/api-keys?limit=100").text


def test_it_ends_by_itself(shop, make):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made, key = make(expires_at=soon)
    assert shop.get(STOCK, key).status_code == 200
    shop.sql("UPDATE api_keys SET expires_at = now() WHERE id = :id", id=made["id"])
    assert shop.get(STOCK, key).status_code == 401


def test_its_last_use_is_known_to_the_hour(shop, admin, make):
    made, key = make()
    shop.get(STOCK, key)
    (found,) = [k for k in admin.call("GET", "/v1/api-keys?limit=100").json()["items"] if k["id"] == made["id"]]
    assert datetime.fromisoformat(found["used_at"]).strftime("%M:%S") == "00:00"


@pytest.mark.parametrize("key", ["hf_live_", "hf_live_x", "hf_live_" + "a" * 43, "hf_live_" + "a" * 5000])
def test_nobodys_key_is_a_401(shop, key):
    assert shop.get(STOCK, {"Authorization": f"Bearer {key}"}).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": None},
        {"name": ""},
        {"name": "a\x00b"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "soon"},
        {"role": "admin"},
    ],
)
def test_what_makes_no_sense_is_refused(admin, change):
    body = {"name": "a machine", "scopes": ["orders:read"], **change}
    assert admin.call("POST", "/v1/api-keys", body).status_code == 422


def test_the_list_has_pages(admin, make):
    made = [make()[0]["id"] for _ in range(3)]
    seen, cursor = [], ""
    for _ in range(50):
        page = admin.call("GET", f"/v1/api-keys?limit=2{cursor}").json()
        seen += [key["id"] for key in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))
    assert admin.call("GET", "/v1/api-keys?cursor=nonsense").status_code == 400


def test_both_ends_are_in_the_audit_log(shop, admin, make):
    made, _ = make(Scope.ORDERS_READ)
    admin.call("DELETE", f"/v1/api-keys/{made['id']}")
    rows = admin.call("GET", f"/v1/audit?subject={made['id']}").json()["items"]
    assert [row["action"] for row in rows] == ["api_key.revoked", "api_key.created"]
    assert rows[1]["data"] == {"scopes": ["orders:read"]}
    assert rows[0]["actor"] == {"type": "staff", "id": admin.id}
