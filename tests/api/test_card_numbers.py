"""A card number anywhere in a request is refused before anything else, and nobody of ours ever repeats it."""

from __future__ import annotations

import json
import logging

import pytest

from models.accounts.access import Role
from tests.fixtures.people import member
from tests.fixtures.shop import ADDRESSES, SKU, VISA, new_key, slug

NUMBER = "4242424242424242"
WRITTEN = "4242 4242-4242 4242"


def send(shop, method, path, body=None, headers=None, raw=None):
    content = raw if raw is not None else (None if body is None else json.dumps(body))
    given = {"Content-Type": "application/json"} if content is not None else {}
    return shop.http.request(method, shop.url + path, content=content, headers={**given, **(headers or {})})


def refused(answer, pointer):
    assert answer.status_code == 422, answer.text
    assert slug(answer) == "card-number-refused"
    assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "4242" not in answer.text
    assert not any("4242" in value for value in answer.headers.values())


class TestBodies:
    @pytest.mark.parametrize("number", [NUMBER, WRITTEN, f"my card: {NUMBER} 12/30"])
    @pytest.mark.parametrize(
        ("method", "path", "body", "pointer"),
        [
            ("POST", "/v1/me/payment-methods", {"provider": "stripe", "method": "?"}, "/method"),
            ("PATCH", "/v1/me", {"name": "?"}, "/name"),
            ("POST", "/v1/me/addresses", {**ADDRESSES["US"], "line2": "?"}, "/line2"),
            ("POST", "/v1/auth/login", {"email": "a@example.com", "password": "?"}, "/password"),
            ("POST", "/v1/auth/register", {"email": "?@example.com", "password": "x" * 12, "name": "A"}, "/email"),
            ("POST", "/v1/carts", {"currency": "?"}, "/currency"),
            ("POST", "/v1/carts/cart_none/items", {"sku": "?", "quantity": 1}, "/sku"),
            ("PUT", "/v1/carts/cart_none/email", {"email": "?"}, "/email"),
            ("POST", "/v1/checkouts", {"payment": {"provider": "stripe", "method": "?"}}, "/payment/method"),
            ("POST", "/v1/checkouts", {"payment": {"card": [{"number": "?"}]}}, "/payment/card/0/number"),
            ("PUT", "/v1/orders/ord_none/shipping-address", {"line2": "?"}, "/line2"),
            ("POST", "/v1/orders/ord_none/cancel", {"reason": "?"}, "/reason"),
            ("POST", "/v1/orders/ord_none/payment-method", {"provider": "stripe", "method": "?"}, "/method"),
            ("POST", "/v1/support/orders/ord_none/notes", {"text": "?"}, "/text"),
            ("POST", "/v1/staff/invitations", {"email": "a@example.com", "role": "?"}, "/role"),
            ("POST", "/v1/a-route-of-tomorrow", {"words": "?"}, "/words"),
        ],
    )
    def test_of_every_route_even_before_anybody_is_asked_who_they_are(self, shop, method, path, body, pointer, number):
        text = json.dumps(body).replace("?", number)
        refused(send(shop, method, path, raw=text), pointer)

    def test_as_a_number(self, shop):
        refused(send(shop, "POST", "/v1/carts", {"country": int(NUMBER)}), "/country")

    def test_as_a_name(self, shop):
        refused(send(shop, "POST", "/v1/carts", {NUMBER: "x"}), "")

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
    def test_in_other_encodings(self, shop, encoding):
        refused(send(shop, "POST", "/v1/carts", raw=json.dumps({"country": NUMBER}).encode(encoding)), "/country")

    def test_escaped(self, shop):
        raw = '{"country": "' + "".join(f"\\u{ord(digit):04x}" for digit in NUMBER) + '"}'
        refused(send(shop, "POST", "/v1/carts", raw=raw), "/country")

    def test_that_are_not_even_json(self, shop):
        refused(send(shop, "POST", "/v1/carts", raw='{"country": "' + NUMBER), "")

    def test_in_chunks(self, shop):
        def chunks():
            text = json.dumps({"country": NUMBER}).encode()
            for i in range(0, len(text), 7):
                yield text[i : i + 7]

        refused(send(shop, "POST", "/v1/carts", raw=chunks()), "/country")

    def test_too_large_are_still_413(self, shop):
        def chunks():
            for _ in range(40):
                yield b" " * 65_536

        assert send(shop, "POST", "/v1/carts", raw=chunks()).status_code == 413

    def test_nothing_is_stored_and_the_key_stays_free(self, shop):
        person, key = member(shop), new_key()
        headers = {**shop.bearer(person.role, person.id), "Idempotency-Key": key}
        path, body = "/v1/me/payment-methods", {"provider": "stripe", "method": NUMBER}
        refused(send(shop, "POST", path, body, headers), "/method")
        assert shop.sql("SELECT 1 FROM payment_methods WHERE user_id = :id", id=person.id) == []
        assert send(shop, "POST", path, {**body, "method": VISA}, headers).status_code == 201


class TestAddressesOfRequests:
    @pytest.mark.parametrize("path", ["/v1/products", "/v1/orders", "/v1/carts/cart_none", "/health/live", "/nowhere"])
    @pytest.mark.parametrize("number", [NUMBER, "4242%204242%204242%204242", "4242+4242-4242+4242", "%34" + NUMBER[1:]])
    def test_in_a_query(self, shop, path, number):
        refused(send(shop, "GET", f"{path}?limit=1&q={number}"), "/query/q")

    def test_as_a_parameters_name(self, shop):
        refused(send(shop, "GET", f"/v1/products?{NUMBER}=1"), "/query")

    def test_in_a_path(self, shop):
        answer = send(shop, "DELETE", f"/v1/me/payment-methods/{NUMBER}")
        refused(answer, "/path")
        assert answer.json()["instance"] == "/v1/me"

    def test_in_a_path_that_is_nothing_else(self, shop):
        answer = send(shop, "GET", f"/v1/{NUMBER}")
        refused(answer, "/path")
        assert answer.json()["instance"] == "/"


class TestWhatIsNone:
    def test_telephone_numbers_ids_and_postal_codes_pass(self, shop):
        visitor = shop.visitor(country="DE")
        address = {**ADDRESSES["DE"], "phone": "+49 1511 2345674", "line2": "Hof 2, 3. OG"}
        assert visitor.change("PUT", "/shipping-address", address)["shipping_address"]["phone"] == "+4915112345674"

    def test_a_body_goes_on_as_it_came(self, shop):
        visitor = shop.visitor()
        name = "Ärzte 12345 67890 12345 " + "ü" * 100
        address = {**ADDRESSES["US"], "name": name}
        assert visitor.change("PUT", "/shipping-address", address)["shipping_address"]["name"] == name

    def test_a_parcels_number_may_look_like_one(self, shop):
        order = shop.buyer().buy()
        body = {
            "lines": [{"line_id": order["lines"][0]["id"], "quantity": 1}],
            "carrier": "ups",
            "tracking_number": NUMBER,
        }
        answer = shop.post(f"/v1/fulfilment/orders/{order['id']}/shipments", body, shop.bearer(Role.WAREHOUSE))
        assert answer.status_code == 201, answer.text


class TestNobodyRepeatsIt:
    def test_neither_logs_nor_spans_nor_the_books(self, shop, caplog, capfd):
        """Of requests that are refused for other reasons as well, and of one that would break everything."""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        number = "5555 5555 5555 4444"
        spans = InMemorySpanExporter()
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.add_span_processor(SimpleSpanProcessor(spans))
        person = member(shop)
        headers = shop.bearer(person.role, person.id)
        with caplog.at_level(logging.DEBUG):
            for method, path, body in (
                ("POST", "/v1/me/payment-methods", {"provider": "stripe", "method": number}),
                ("POST", "/v1/checkouts", {"cart_id": number, "payment": number}),
                ("POST", "/v1/auth/login", {"email": number, "password": number}),
                ("POST", "/v1/carts", {number: number}),
                ("GET", f"/v1/products?q={number}", None),
                ("GET", f"/v1/orders/{SKU}?cursor={number}", None),
            ):
                traced = {**headers, "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
                answer = send(shop, method, path, body, traced)
                assert answer.status_code == 422
                assert "5555" not in answer.text
        printed = capfd.readouterr()
        logs = "".join(path.read_text(errors="replace") for path in shop.settings.data_dir.rglob("*.log"))
        assert logs
        told = [caplog.text, printed.out, printed.err, logs, *(span.to_json() for span in spans.get_finished_spans())]
        assert not any("5555 5555" in text or "5555555555554444" in text for text in told)
        for table in ("payment_methods", "users", "carts", "kept_answers", "account_requests", "outbox"):
            found = shop.sql(f"SELECT 1 FROM {table} t WHERE t::text LIKE '%5555 5555%'")
            assert found == [], table
