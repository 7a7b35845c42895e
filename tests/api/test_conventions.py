"""What every request meets, whatever it asks for (api.md, "Conventions")."""

from __future__ import annotations

import json
import re
import socket
from urllib.parse import urlsplit

import pytest

from models.accounts.access import Role
from tests.fixtures.shop import ADDRESSES, SKU, new_key, slug

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def cart(shop):
    """Somebody's cart, for requests that never get as far as changing it."""
    return shop.buyer()


def raw(shop, request: bytes) -> bytes:
    """The answer to bytes that no client library would send."""
    address = urlsplit(shop.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/carts/cart_unknown", 404),
            ("GET", "/v1/no-such-route", 404),
            ("GET", "/", 404),
            ("GET", "/v1/orders", 401),
            ("DELETE", "/v1/orders/ord_1", 405),
            ("PATCH", "/v1/checkouts", 405),
            ("GET", "/v1/products?limit=0", 422),
            ("GET", "/v1/products?cursor=garbage", 400),
        ],
    )
    def test_have_every_member_of_the_contract(self, shop, method, path, status):
        answer = shop.http.request(method, shop.url + path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert body["status"] == status
        assert re.search(r"/problems/[a-z-]+$", body["type"])
        assert body["title"]
        assert body["detail"]
        assert body["instance"] == path.split("?")[0]
        assert body["request_id"] == answer.headers["x-request-id"]

    def test_405_says_what_is_allowed(self, shop):
        answer = shop.http.delete(f"{shop.url}/v1/products")
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]

    def test_a_body_that_breaks_the_schema_is_told_field_by_field(self, shop):
        answer = shop.post("/v1/carts", {"currency": "XXX", "country": "usa"})
        assert answer.status_code == 422
        assert {error["pointer"] for error in answer.json()["errors"]} == {"/currency", "/country"}
        assert all(error["detail"] for error in answer.json()["errors"])

    def test_pointers_reach_into_lists_and_objects(self, shop):
        answer = shop.post(
            "/v1/fulfilment/orders/ord_x/shipments",
            {"lines": [{"line_id": "a", "quantity": 0}], "carrier": "c", "tracking_number": "t"},
            shop.bearer(Role.WAREHOUSE),
        )
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/lines/0/quantity"]

    def test_unknown_fields_are_refused_not_dropped(self, shop, cart):
        for path, body in (
            ("/v1/carts", {"currency": "USD", "colour": "red"}),
            (f"/v1/carts/{cart.cart_id}/items", {"sku": SKU, "quantity": 1, "price": 1}),
            ("/v1/checkouts", {**cart.body(), "discount": 100}),
        ):
            answer = cart.call("POST", path, body, Idempotency_Key=new_key())
            assert answer.status_code == 422, path
            assert answer.json()["errors"][0]["pointer"].strip("/") in ("colour", "price", "discount")

    def test_unknown_fields_deep_inside_are_refused_too(self, cart):
        body = cart.body()
        body["expected_total"]["extra"] = 1
        body["payment"]["card_number"] = "4242424242424241"  # a right one is refused before (test_card_numbers.py)
        answer = cart.call("POST", "/v1/checkouts", body, Idempotency_Key=new_key())
        assert {error["pointer"] for error in answer.json()["errors"]} == {
            "/expected_total/extra",
            "/payment/card_number",
        }
        assert "42424242" not in answer.text


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"",
            b"nonsense",
            b'{"currency": "USD",}',
            b'{"currency": USD}',
            b"\xff\xfe",
            b"{'currency': 'USD'}",
            b'{"quantity": 1' + b"0" * 5000 + b"}",
            b"[" * 50_000,
            b'{"a":' * 50_000,
        ],
    )
    def test_malformed_json_is_400(self, shop, cart, body):
        answer = shop.http.post(
            f"{shop.url}/v1/carts/{cart.cart_id}/items", content=body or b" ", headers={**cart.headers, **JSON}
        )
        assert answer.status_code == 400
        assert slug(answer) == "malformed-json"

    @pytest.mark.parametrize("body", ["null", "[]", '"text"', "1", "true"])
    def test_json_that_is_no_object_is_422(self, shop, cart, body):
        answer = shop.http.post(
            f"{shop.url}/v1/carts/{cart.cart_id}/items", content=body, headers={**cart.headers, **JSON}
        )
        assert answer.status_code == 422

    def test_deep_but_well_formed_json_is_422(self, shop, cart):
        body = '{"sku":' + "[" * 500 + "]" * 500 + "}"
        answer = shop.http.post(
            f"{shop.url}/v1/carts/{cart.cart_id}/items", content=body, headers={**cart.headers, **JSON}
        )
        assert answer.status_code == 422

    @pytest.mark.parametrize("deep", [5_000, 100_000])
    def test_very_deep_json_is_the_senders_fault(self, shop, cart, deep):
        body = '{"sku":' + "[" * deep + "]" * deep + "}"
        answer = shop.http.post(
            f"{shop.url}/v1/carts/{cart.cart_id}/items", content=body, headers={**cart.headers, **JSON}
        )
        assert answer.status_code in (400, 422)

    @pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
    def test_another_content_type_is_415(self, shop, media):
        answer = shop.http.post(f"{shop.url}/v1/carts", content=b'{"currency":"USD"}', headers={"Content-Type": media})
        assert answer.status_code == 415
        assert slug(answer) == "unsupported-media-type"

    def test_json_with_a_charset_is_json(self, shop):
        answer = shop.http.post(
            f"{shop.url}/v1/carts",
            content=b'{"currency":"EUR"}',
            headers={"Content-Type": "Application/JSON; charset=utf-8"},
        )
        assert answer.status_code == 201
        assert answer.json()["currency"] == "EUR"

    def test_more_than_a_mebibyte_is_413(self, shop):
        answer = shop.http.post(f"{shop.url}/v1/carts", content=b" " * 1_048_577, headers=JSON)
        assert answer.status_code == 413
        assert slug(answer) == "payload-too-large"

    def test_more_than_a_mebibyte_is_413_also_without_a_content_length(self, shop):
        def chunks():
            for _ in range(17):
                yield b" " * 65_536

        answer = shop.http.post(f"{shop.url}/v1/carts", content=chunks(), headers=JSON)
        assert answer.status_code == 413
        assert slug(answer) == "payload-too-large"

    def test_a_mebibyte_is_taken(self, shop):
        body = b'{"currency":"USD"}'
        answer = shop.http.post(f"{shop.url}/v1/carts", content=body + b" " * (1_048_576 - len(body)), headers=JSON)
        assert answer.status_code == 201

    def test_webhooks_have_the_same_limit(self, shop):
        answer = shop.http.post(f"{shop.url}/v1/webhooks/stripe", content=b"x" * 1_048_577)
        assert answer.status_code == 413

    def test_nan_and_infinity_are_no_json(self, shop, cart):
        for word in ("NaN", "Infinity", "-Infinity"):
            answer = shop.http.post(
                f"{shop.url}/v1/carts/{cart.cart_id}/items",
                content=f'{{"sku": "{SKU}", "quantity": {word}}}',
                headers={**cart.headers, **JSON},
            )
            assert answer.status_code in (400, 422), word


class TestHeaders:
    def test_a_request_id_is_echoed(self, shop):
        answer = shop.get("/v1/categories", {"X-Request-Id": "trace-me.1"})
        assert answer.headers["x-request-id"] == "trace-me.1"

    @pytest.mark.parametrize("given", [None, "with space", "x" * 129, "naïve"])
    def test_one_is_made_where_none_can_be_echoed(self, shop, given):
        headers = {} if given is None else {"X-Request-Id": given.encode()}
        answer = shop.http.get(f"{shop.url}/v1/categories", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"].startswith("req_")

    def test_limits_are_announced(self, shop):
        answer = shop.get("/v1/products")
        assert re.fullmatch(r'"default";r=\d+;t=\d+', answer.headers["ratelimit"])
        assert re.fullmatch(r'"default";q=\d+;w=\d+', answer.headers["ratelimit-policy"])

    def test_past_the_limit_it_is_429_and_says_when(self, shop):
        url = shop.api(rate_limit="3/hour")
        answers = [shop.http.get(f"{url}/v1/categories") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert slug(answers[-1]) == "too-many-requests"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 3600
        assert answers[-1].headers["ratelimit"].startswith('"default";r=0;')
        assert shop.http.get(f"{url}/health/live").status_code == 200

    def test_the_server_does_not_introduce_itself(self, shop):
        assert "server" not in shop.get("/v1/categories").headers

    def test_a_header_that_is_not_ascii_harms_nobody(self, shop, cart):
        for name in ("X-Cart-Token", "Authorization", "If-Match", "Idempotency-Key", "traceparent"):
            answer = shop.http.get(f"{shop.url}/v1/carts/{cart.cart_id}", headers={name: "é\xff".encode("latin-1")})
            assert answer.status_code < 500, name


class TestTokens:
    @pytest.mark.parametrize(
        "header",
        ["Bearer", "Basic dXNlcjpwYXNz", "Bearer a.b.c", "Bearer é", "bearer x", "Bearer " + "x" * 9000],
    )
    def test_a_bad_one_is_401_everywhere_even_for_what_guests_may_do(self, shop, cart, header):
        headers = {**cart.headers, "Authorization": header.encode("latin-1")}
        answer = shop.http.get(f"{shop.url}/v1/carts/{cart.cart_id}", headers=headers)
        assert answer.status_code == 401
        assert slug(answer) == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_without_one_staff_routes_are_401(self, shop):
        for path in (f"/v1/inventory/{SKU}", "/v1/orders"):
            answer = shop.get(path)
            assert answer.status_code == 401
            assert "www-authenticate" in answer.headers

    @pytest.mark.parametrize("role", [Role.CUSTOMER, Role.SUPPORT, Role.MERCHANDISER])
    def test_without_the_scope_it_is_403(self, shop, role):
        body = {"lines": [{"line_id": "line_1", "quantity": 1}], "carrier": "c", "tracking_number": "t"}
        answer = shop.post("/v1/fulfilment/orders/ord_1/shipments", body, shop.bearer(role))
        assert answer.status_code == 403
        assert slug(answer) == "forbidden"

    def test_a_token_of_another_key_is_401(self, shop, tmp_path):
        from api.tokens import Tokens
        from models.accounts.access import Principal

        other = Tokens.of(shop.settings.model_copy(update={"data_dir": tmp_path}))
        token = other.issue(Principal(user_id="usr_1", role=Role.ADMIN))
        assert shop.get("/v1/orders", {"Authorization": f"Bearer {token}"}).status_code == 401

    def test_an_expired_token_is_401(self, shop):
        from api.tokens import Tokens
        from models.accounts.access import Principal

        past = Tokens.of(shop.settings.model_copy(update={"access_token_seconds": -120}))
        token = past.issue(Principal(user_id="usr_1", role=Role.ADMIN))
        assert shop.get("/v1/orders", {"Authorization": f"Bearer {token}"}).status_code == 401

    def test_an_unsigned_token_is_401(self, shop):
        import base64

        def part(value):
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        claims = {"iss": "holdfast", "aud": "holdfast-api", "sub": "usr_1", "role": "admin", "iat": 1, "exp": 2**40}
        for algorithm in ("none", "HS256"):
            token = f"{part({'alg': algorithm, 'typ': 'at+jwt'})}.{part(claims)}."
            assert shop.get("/v1/orders", {"Authorization": f"Bearer {token}"}).status_code == 401


class TestLists:
    @pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "", "9" * 40])
    def test_a_limit_out_of_range_is_422(self, shop, limit):
        for path in ("/v1/orders", "/v1/products"):
            answer = shop.get(path, shop.bearer(Role.SUPPORT), limit=limit)
            assert answer.status_code == 422, path
            assert answer.json()["errors"][0]["pointer"] == "/query/limit"

    @pytest.mark.parametrize(
        "cursor", ["garbage", "", "W10", "eyJhIjoxfQ", "é", "WzEsMl0", "a" * 900, "WyJcdTAwMDAiLCIxIl0"]
    )
    def test_a_bad_cursor_is_400(self, shop, cursor):
        for path in ("/v1/orders", "/v1/products"):
            answer = shop.get(path, shop.bearer(Role.SUPPORT), cursor=cursor)
            assert answer.status_code == 400, path
            assert slug(answer) == "bad-cursor"


class TestAddresses:
    @pytest.mark.parametrize("path", ["/v1/carts/a%00b", "/v1/products?category=a%00", "/v1/orders/%00/events"])
    def test_a_nul_is_refused(self, shop, path):
        assert shop.http.get(shop.url + path, headers=shop.bearer(Role.SUPPORT)).status_code == 422

    @pytest.mark.parametrize(
        "path", ["/v1/carts/%ff%fe", "/v1/carts/%ED%A0%80", "/v1/carts/..%2f..", "//v1//carts", "/v1/carts/"]
    )
    def test_odd_paths_are_not_found(self, shop, path):
        answer = shop.http.get(shop.url + path)
        assert answer.status_code in (404, 405)
        assert slug(answer) in ("not-found", "method-not-allowed")

    def test_very_long_ones_are_refused_quietly(self, shop):
        assert shop.http.get(f"{shop.url}/v1/carts/{'a' * 10_000}").status_code in (404, 414, 422)
        assert shop.http.get(f"{shop.url}/v1/products?category={'a' * 10_000}").status_code == 422

    def test_a_request_line_of_rubbish_does_not_upset_the_server(self, shop):
        assert b" 400 " in raw(shop, b"RUBBISH\r\n\r\n").split(b"\r\n")[0] + b" "
        assert shop.get("/health/live").status_code == 200

    def test_a_content_length_that_lies_does_not_upset_the_server(self, shop):
        head = b"POST /v1/carts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        raw(shop, head + b"Content-Length: 100\r\n\r\n{")
        raw(shop, head + b"Content-Length: -1\r\n\r\n{}")
        raw(shop, head + b"Content-Length: 99999999999999999999\r\n\r\n{}")
        assert shop.get("/health/live").status_code == 200


class TestHealth:
    def test_ready_names_every_dependency(self, shop):
        answer = shop.get("/health/ready")
        assert answer.status_code == 200
        found = answer.json()["dependencies"]
        assert set(found) >= {"postgresql", "temporal", "redis", "workers"}
        assert all(state["status"] == "ok" and state["latency_ms"] >= 0 for state in found.values())

    def test_metrics_are_prometheus_text(self, shop):
        shop.get("/v1/categories")
        answer = shop.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'holdfast_http_requests_total{method="GET",route="/v1/categories",status="200"}' in answer.text


@pytest.mark.parametrize("country", ["US", "DE", "JP", "KW"])
def test_money_is_whole_minor_units_everywhere(shop, country):
    cart = shop.buyer(country=country).cart()
    assert ADDRESSES[country]["country"] == cart["country"]

    def moneys(value):
        if isinstance(value, dict):
            if set(value) == {"amount", "currency"}:
                yield value
            else:
                for part in value.values():
                    yield from moneys(part)
        elif isinstance(value, list):
            for part in value:
                yield from moneys(part)

    found = list(moneys(cart))
    assert len(found) >= 7
    assert all(type(money["amount"]) is int and money["currency"] == cart["currency"] for money in found)
