"""The catalogue over HTTP: what buyers page through, what staff may see and correct."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import uvicorn

from api.main import create_app
from api.routes.catalogue.products import CategoryTree, ProductPage
from models.accounts.access import Principal, Role
from models.catalogue.inventory import Inventory, StockAdjustment
from models.catalogue.products import Product
from models.db.session import Database
from runtime.settings import Settings
from tests.fixtures.catalogue import demo_database

SKU = "HF-TI-MUG-750"


@pytest.fixture(scope="module")
def database(postgres: Settings) -> Iterator[Database]:
    with demo_database(postgres) as database:
        yield database


class RoleTokens:
    """Takes a role's name for its token: what tokens are is tested elsewhere."""

    def check(self, token: str) -> Principal:
        return Principal(user_id=f"usr_{token}", role=Role(token))


@pytest.fixture(scope="module")
def client(settings: Settings, database: Database) -> Iterator[httpx.Client]:
    """The whole API behind a real server; neither Temporal nor Redis, which the catalogue must not need."""
    url = database.engine.url.render_as_string(hide_password=False)
    app = create_app(settings.model_copy(update={"database_url": url}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    app.state.services = replace(app.state.services, tokens=RoleTokens())
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def as_role():
    return lambda role, **more: {"Authorization": f"Bearer {role}", **more}


def slug_of(answer):
    return answer.json()["type"].rsplit("/", 1)[1]


class TestProducts:
    def test_a_page_is_what_the_document_says(self, client):
        answer = client.get("/v1/products")
        assert answer.status_code == 200
        page = ProductPage.model_validate_json(answer.content)
        assert len(page.items) == 20
        assert page.next_cursor

    def test_pages_follow_each_other_to_the_end(self, client):
        seen, cursor = [], None
        while True:
            asked = {"limit": 30, "sort": "-price", "currency": "JPY"} | ({"cursor": cursor} if cursor else {})
            page = client.get("/v1/products", params=asked).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 83

    def test_filters_narrow_the_page(self, client):
        answer = client.get(
            "/v1/products?attr.color=plum&attr.color=Ochre&category=clothing&in_stock=true&price_max=30000"
        )
        assert {item["slug"] for item in answer.json()["items"]} == {"hearth-down-jacket", "watch-cap"}
        assert client.get("/v1/products?category=no-such").json() == {"items": [], "next_cursor": None}
        assert {i["slug"] for i in client.get("/v1/products?in_stock=false").json()["items"]} >= {"candle-lantern"}

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("limit=0", "/query/limit"),
            ("limit=101", "/query/limit"),
            ("sort=best", "/query/sort"),
            ("currency=GBP", "/query/currency"),
            ("price_min=1.5", "/query/price_min"),
            ("price_min=-1", "/query/price_min"),
            ("price_max=99999999999999999999", "/query/price_max"),
            ("in_stock=perhaps", "/query/in_stock"),
            ("&".join(f"attr.color={n}" for n in range(21)), "/query/attr"),
        ],
    )
    def test_a_bad_parameter_is_named(self, client, query, pointer):
        answer = client.get(f"/v1/products?{query}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["pointer"] == pointer

    @pytest.mark.parametrize(
        "keys",
        [
            "not base64 at all",
            ["newest", "USD"],
            ["newest", "USD", 5],
            ["newest", "USD", "prod_\x00"],
            ["newest", "USD", "\ud800"],
            ["newest", "EUR", "prod_1"],
            ["title", "USD", "prod_1"],
            {"newest": 1},
        ],
    )
    def test_a_bad_cursor_is_a_bad_request(self, client, keys):
        cursor = keys if isinstance(keys, str) else base64.urlsafe_b64encode(json.dumps(keys).encode()).decode()
        answer = client.get("/v1/products", params={"cursor": cursor})
        assert (answer.status_code, slug_of(answer)) == (400, "bad-cursor")

    def test_a_product_by_id_and_by_slug(self, client):
        by_slug = client.get("/v1/products/titanium-mug?currency=KWD")
        product = Product.model_validate_json(by_slug.content)
        assert client.get(f"/v1/products/{product.id}?currency=KWD").content == by_slug.content
        assert product.variants[0].price.currency == "KWD"

    @pytest.mark.parametrize("key", ["no-such", "prod_0", "%F0%9F%90%9F", "%FF", "x" * 121])
    def test_no_such_product(self, client, key):
        assert client.get(f"/v1/products/{key}").status_code in (404, 422)

    @pytest.mark.parametrize("path", ["/v1/products", "/v1/products/titanium-mug", "/v1/categories"])
    def test_who_has_it_already_gets_no_body(self, client, path):
        first = client.get(path)
        assert first.headers["cache-control"].startswith("public, max-age=")
        again = client.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_the_tree(self, client):
        tree = CategoryTree.model_validate_json(client.get("/v1/categories").content)
        assert [top.slug for top in tree.items][:2] == ["clothing", "footwear"]
        assert tree.items[0].children[0].title == "Jackets"


class TestInventory:
    def test_staff_may_look(self, client, as_role):
        answer = client.get(f"/v1/inventory/{SKU}", headers=as_role("support"))
        assert Inventory.model_validate_json(answer.content).sku == SKU
        assert client.get("/v1/inventory/NOPE", headers=as_role("support")).status_code == 404

    @pytest.mark.parametrize(("role", "status"), [("customer", 403), (None, 401)])
    def test_others_may_not(self, client, as_role, role, status):
        headers = as_role(role) if role else {}
        body = {"location": "east", "delta": 1, "reason": "count"}
        assert client.get(f"/v1/inventory/{SKU}", headers=headers).status_code == status
        assert client.post(f"/v1/inventory/{SKU}/adjustments", json=body, headers=headers).status_code == status

    def test_support_looks_but_does_not_touch(self, client, as_role):
        body = {"location": "east", "delta": 1, "reason": "count"}
        answer = client.post(f"/v1/inventory/{SKU}/adjustments", json=body, headers=as_role("support"))
        assert answer.status_code == 403

    def test_an_adjustment_is_answered_with_what_is_there_now(self, client, as_role):
        before = client.get(f"/v1/inventory/{SKU}", headers=as_role("warehouse")).json()
        body = {"location": "east", "delta": -2, "reason": "Two mugs dented in transit"}
        answer = client.post(f"/v1/inventory/{SKU}/adjustments", json=body, headers=as_role("warehouse"))
        assert answer.status_code == 201
        booked = StockAdjustment.model_validate_json(answer.content)
        assert booked.actor == "staff:usr_warehouse"
        assert answer.json()["at"].endswith("Z")
        after = client.get(f"/v1/inventory/{SKU}", headers=as_role("warehouse")).json()
        assert after["available"] == before["available"] - 2 == booked.available + after["by_location"][1]["available"]

    def test_the_same_key_books_once(self, client, as_role):
        path, body = f"/v1/inventory/{SKU}/adjustments", {"location": "west", "delta": 5, "reason": "delivery"}
        headers = as_role("warehouse", **{"Idempotency-Key": "delivery-1"})
        first, again = client.post(path, json=body, headers=headers), client.post(path, json=body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        other = client.post(path, json=body | {"delta": 6}, headers=headers)
        assert (other.status_code, slug_of(other)) == (422, "idempotency-key-reused")
        somebody = client.post(path, json=body, headers=as_role("admin", **{"Idempotency-Key": "delivery-1"}))
        assert somebody.json()["id"] != first.json()["id"]

    def test_a_refusal_of_the_stock_is_kept_too(self, client, as_role):
        path, body = f"/v1/inventory/{SKU}/adjustments", {"location": "west", "delta": -(10**6), "reason": "loss"}
        headers = as_role("warehouse", **{"Idempotency-Key": "loss-1"})
        first, again = client.post(path, json=body, headers=headers), client.post(path, json=body, headers=headers)
        assert (first.status_code, slug_of(first)) == (409, "stock-below-reserved")
        assert first.headers["content-type"] == "application/problem+json"
        assert again.content == first.content

    def test_a_mistake_may_be_corrected_under_the_same_key(self, client, as_role):
        path, headers = f"/v1/inventory/{SKU}/adjustments", as_role("warehouse", **{"Idempotency-Key": "typo-1"})
        wrong = client.post(path, json={"location": "eats", "delta": 1, "reason": "typo"}, headers=headers)
        assert (wrong.status_code, slug_of(wrong)) == (422, "unknown-location")
        assert wrong.json()["errors"][0]["pointer"] == "/location"
        right = client.post(path, json={"location": "east", "delta": 1, "reason": "typo"}, headers=headers)
        assert right.status_code == 201

    @pytest.mark.parametrize(
        "change",
        [
            {"delta": 0},
            {"delta": 1.0},
            {"delta": "1"},
            {"delta": True},
            {"delta": 10**10},
            {"reason": ""},
            {"reason": "a\x00b"},
            {"location": "\ud800"},
            {"location": None},
            {"note": "unknown"},
        ],
    )
    def test_a_malformed_adjustment_is_refused(self, client, as_role, change):
        body = {"location": "east", "delta": 1, "reason": "count"} | change
        answer = client.post(
            f"/v1/inventory/{SKU}/adjustments",
            content=json.dumps(body),
            headers=as_role("warehouse", **{"Content-Type": "application/json"}),
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(change))}"

    def test_an_unknown_sku_is_not_found(self, client, as_role):
        body = {"location": "east", "delta": 1, "reason": "count"}
        answer = client.post("/v1/inventory/NOPE/adjustments", json=body, headers=as_role("warehouse"))
        assert (answer.status_code, slug_of(answer)) == (404, "not-found")


def test_the_document_is_exact(client):
    document = client.get("/openapi.json").json()
    products = document["paths"]["/v1/products"]["get"]
    assert products["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ProductPage")
    assert {p["name"] for p in products["parameters"]} == {
        "currency",
        "category",
        "price_min",
        "price_max",
        "in_stock",
        "sort",
        "limit",
        "cursor",
        "attr.color",
    }
    adjust = document["paths"]["/v1/inventory/{sku}/adjustments"]["post"]
    assert {"201", "404", "409", "422"} <= adjust["responses"].keys()
