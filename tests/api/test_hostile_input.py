"""What no honest client sends, in every field there is: refused with a reason or kept as it is, never a 500."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from models.accounts.access import Role
from tests.fixtures.shop import ADDRESSES, SKU, new_key

STRINGS = {
    "nul": "a\x00b",
    "lone surrogate": "\ud800",
    "low surrogate": "x\udfff",
    "ten kilobytes": "x" * 10_240,
    "control": "a\x1b[31m\x07",
    "newline": "a\r\nX-Injected: 1",
    "del": "\x7f",
    "empty": "",
    "spaces": "   ",
    "right to left": "\u202egnp.exe",
    "astral": "😀" * 50,
    "combining": "e" + "\u0301" * 150,
    "markup": "<script>alert(1)</script>",
    "sql": "'; DROP TABLE carts; --",
    "format": "%s%n{0}${jndi:ldap://x}",
    "traversal": "../../etc/passwd",
    "non-character": "\uffff\ufffe",
}
NOT_STRINGS = [None, True, 0, 1.5, [], {}, ["a"], {"a": 1}, -1, 10**30]

QUANTITIES = [
    "-1",
    "0",
    "1.5",
    "1.0",
    '"1"',
    '""',
    "true",
    "false",
    "null",
    "[]",
    "{}",
    "[1]",
    "1000",
    "2147483648",
    "9223372036854775808",
    "1" + "0" * 30,
    "1e3",
    "1e400",
    "-0.0",
    "NaN",
    "9" * 5000,
    "0x10",
    "１",
]
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def buyer(shop):
    return shop.buyer()


def send(buyer, method, path, body, **headers):
    """As `\\uXXXX` escapes, which is how a lone surrogate travels."""
    return buyer.shop.http.request(
        method, buyer.url + path, content=json.dumps(body), headers={**buyer.headers, **JSON, **headers}
    )


def places():
    """Every string that a body takes: method, path, body around it."""
    address = ADDRESSES["US"]
    yield "email", "PUT", "/email", lambda value: {"email": value}
    yield "sku", "POST", "/items", lambda value: {"sku": value, "quantity": 1}
    yield "option", "PUT", "/shipping-option", lambda value: {"id": value}
    yield "code", "POST", "/discounts", lambda value: {"code": value}
    for name in ("name", "company", "line1", "line2", "city", "region", "postal_code", "country", "phone"):
        yield name, "PUT", "/shipping-address", lambda value, name=name: {**address, name: value}


PLACES = list(places())


@pytest.mark.parametrize(("name", "method", "path", "body"), PLACES, ids=[place[0] for place in PLACES])
class TestCartFields:
    def test_take_no_string_that_harms(self, shop, name, method, path, body):
        buyer = shop.visitor()
        for kind, value in STRINGS.items():
            answer = send(buyer, method, f"/v1/carts/{buyer.cart_id}{path}", body(value))
            assert answer.status_code in (200, 404, 422), (kind, answer.text)
            if kind in (
                "nul",
                "lone surrogate",
                "low surrogate",
                "ten kilobytes",
                "control",
                "del",
                "newline",
                "empty",
            ):
                assert answer.status_code != 200, kind
        assert buyer.cart()["id"] == buyer.cart_id

    def test_take_nothing_but_strings(self, buyer, name, method, path, body):
        optional = name in ("company", "line2", "region", "postal_code", "phone")
        for value in NOT_STRINGS:
            answer = send(buyer, method, f"/v1/carts/{buyer.cart_id}{path}", body(value))
            if value is None and optional:
                assert answer.status_code in (200, 422)
            else:
                assert answer.status_code == 422, (value, answer.text)


class TestQuantities:
    @pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda value: value[:12] or "empty")
    def test_only_whole_numbers_from_1_to_999_are_added(self, buyer, quantity):
        answer = buyer.shop.http.post(
            f"{buyer.url}/v1/carts/{buyer.cart_id}/items",
            content=f'{{"sku": "{SKU}", "quantity": {quantity}}}'.encode(),
            headers={**buyer.headers, **JSON},
        )
        assert answer.status_code in (400, 422), answer.text
        assert buyer.cart()["items"][0]["quantity"] == 1

    @pytest.mark.parametrize("quantity", [q for q in QUANTITIES if q != "0"], ids=lambda value: value[:12] or "empty")
    def test_only_whole_numbers_to_999_replace(self, buyer, quantity):
        item = buyer.cart()["items"][0]
        answer = buyer.shop.http.patch(
            f"{buyer.url}/v1/carts/{buyer.cart_id}/items/{item['id']}",
            content=f'{{"quantity": {quantity}}}'.encode(),
            headers={**buyer.headers, **JSON},
        )
        assert answer.status_code in (400, 422), answer.text
        assert buyer.cart()["items"][0]["quantity"] == 1


class TestCheckoutFields:
    def test_strings(self, buyer):
        for kind, value in STRINGS.items():
            for change in (
                {"cart_id": value},
                {"payment": {"provider": "stripe", "method": value}, "cart_id": "cart_none"},
                {"payment": {"provider": value, "method": "pm_card_visa"}},
                {"expected_total": {"amount": 1, "currency": value}},
            ):
                answer = send(
                    buyer, "POST", "/v1/checkouts", {**buyer.body(), **change}, **{"Idempotency-Key": new_key()}
                )
                assert answer.status_code in (404, 422), (kind, change, answer.text)

    @pytest.mark.parametrize(
        "amount", [q for q in QUANTITIES if q not in ("-1", "0", "1000", "2147483648")], ids=lambda v: v[:12]
    )
    def test_the_expected_total_is_whole_minor_units(self, buyer, amount):
        body = json.dumps(buyer.body()).replace(str(buyer.total["amount"]), amount)
        answer = buyer.shop.http.post(
            f"{buyer.url}/v1/checkouts",
            content=body.encode(),
            headers={**buyer.headers, **JSON, "Idempotency-Key": new_key()},
        )
        assert answer.status_code in (400, 422), answer.text

    @pytest.mark.parametrize("payment", [None, [], "visa", 1, {}, {"provider": "stripe"}, {"method": "pm_card_visa"}])
    def test_no_payment_is_no_checkout(self, buyer, payment):
        answer = send(
            buyer, "POST", "/v1/checkouts", {**buyer.body(), "payment": payment}, **{"Idempotency-Key": new_key()}
        )
        assert answer.status_code == 422

    def test_an_unknown_payment_method_is_refused_and_nothing_is_held(self, shop):
        sku = shop.sku(stock=1)
        buyer = shop.buyer(sku)
        for method in ("pm_card_nonsense", "4242424242424242", "pm_unknown", "tok_visa"):
            answer = buyer.checkout(method)
            assert answer.status_code in (402, 422), (method, answer.text)
            assert method not in answer.text
        assert shop.stock(sku) == (1, 0)
        assert shop.world.charged(buyer.cart_id) == 0


class TestStaffFields:
    def test_strings(self, shop):
        order = shop.buyer().buy()
        line = order["lines"][0]["id"]
        headers = {**shop.bearer(Role.ADMIN), **JSON}
        good = {"lines": [{"line_id": line, "quantity": 1}], "carrier": "ups", "tracking_number": "1Z"}
        for kind, value in STRINGS.items():
            if kind in (
                "right to left",
                "astral",
                "combining",
                "markup",
                "sql",
                "format",
                "traversal",
                "non-character",
            ):
                continue  # legal words of a carrier; they are tried below where they change nothing
            for change in (
                {"carrier": value},
                {"tracking_number": value},
                {"lines": [{"line_id": value, "quantity": 1}]},
            ):
                answer = shop.http.post(
                    f"{shop.url}/v1/fulfilment/orders/{order['id']}/shipments",
                    content=json.dumps({**good, **change}),
                    headers=headers,
                )
                assert answer.status_code in (409, 422), (kind, change, answer.text)
        for kind, value in STRINGS.items():
            for body in (
                {"location": value, "delta": 1, "reason": "x"},
                {"location": "nowhere", "delta": 1, "reason": value},
            ):
                answer = shop.http.post(
                    f"{shop.url}/v1/inventory/{SKU}/adjustments", content=json.dumps(body), headers=headers
                )
                assert answer.status_code == 422, (kind, body, answer.text)
            for body in ({"status": value}, {"status": "delivered", "at": value}):
                answer = shop.http.post(
                    f"{shop.url}/v1/fulfilment/shipments/shp_none/events", content=json.dumps(body), headers=headers
                )
                assert answer.status_code in (404, 422), (kind, body, answer.text)

    @pytest.mark.parametrize(
        "at",
        [
            0,
            "now",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "99999-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            1e300,
        ],
    )
    def test_moments_are_rfc_3339_with_an_offset(self, shop, at):
        answer = shop.post(
            "/v1/fulfilment/shipments/shp_none/events", {"status": "delivered", "at": at}, shop.bearer(Role.WAREHOUSE)
        )
        assert answer.status_code in (404, 422), answer.text


class TestPathsAndQueries:
    @pytest.mark.parametrize("kind", [kind for kind in STRINGS if "surrogate" not in kind])
    def test_every_parameter_takes_any_text(self, shop, kind):
        value = quote(STRINGS[kind], safe="")
        staff = shop.bearer(Role.ADMIN)
        for path in (
            f"/v1/carts/{value}",
            f"/v1/checkouts/{value}",
            f"/v1/orders/{value}",
            f"/v1/orders/{value}/events",
            f"/v1/orders/{value}/tracking",
            f"/v1/products/{value}",
            f"/v1/inventory/{value}",
            f"/v1/orders?q={value}",
            f"/v1/orders?status={value}",
            f"/v1/orders?from={value}",
            f"/v1/orders?cursor={value}",
            f"/v1/products?category={value}",
            f"/v1/products?sort={value}",
            f"/v1/products?attr.color={value}",
            f"/v1/products?attr.{value}=red",
            f"/v1/products?price_min={value}",
            f"/v1/products?{value}={value}",
        ):
            answer = shop.http.get(shop.url + path, headers=staff)
            assert answer.status_code < 500, (path[:80], answer.text)

    @pytest.mark.parametrize("bytes_", ["%ED%A0%80", "%FF", "%C0%80", "%F4%90%80%80"])
    def test_bytes_that_are_no_utf_8_are_the_senders_fault(self, shop, bytes_):
        staff = shop.bearer(Role.ADMIN)
        for path in (
            f"/v1/carts/{bytes_}",
            f"/v1/products/{bytes_}",
            f"/v1/inventory/{bytes_}",
            f"/v1/orders?q={bytes_}",
            f"/v1/products?category={bytes_}&attr.x={bytes_}",
        ):
            assert shop.http.get(shop.url + path, headers=staff).status_code < 500, path

    @pytest.mark.parametrize(
        "moment",
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "1e400",
            "-1",
            "99999999999999",
        ],
    )
    def test_moments_in_a_query(self, shop, moment):
        for name in ("from", "to"):
            answer = shop.get("/v1/orders", shop.bearer(Role.SUPPORT), **{name: moment})
            assert answer.status_code in (200, 422), answer.text

    def test_writes_to_paths_of_any_text(self, shop, buyer):
        for kind, value in STRINGS.items():
            if "surrogate" in kind or value in ("", "../../etc/passwd"):
                continue
            path = quote(value, safe="")
            for method, url, body in (
                ("PATCH", f"/v1/carts/{buyer.cart_id}/items/{path}", {"quantity": 1}),
                ("DELETE", f"/v1/carts/{buyer.cart_id}/items/{path}", None),
                ("DELETE", f"/v1/carts/{buyer.cart_id}/discounts/{path}", None),
                ("POST", f"/v1/checkouts/{path}/resume", None),
            ):
                answer = buyer.call(method, url, body)
                assert answer.status_code in (404, 405, 422), (kind, url[:80], answer.text)
