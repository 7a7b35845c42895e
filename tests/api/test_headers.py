"""Headers of every response: not cached, not framed, not sniffed, unless a route says otherwise."""

from __future__ import annotations

import re

import pytest

from api.headers import defaults, missing
from api.main import create_app
from models.accounts.access import Role
from runtime.settings import Environment
from tests.fixtures.people import member

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/me", 200), ("/v1/me/sessions", 200), ("/v1/orders/ord_none", 404), ("/v1/carts", 405), ("/nowhere", 404)],
)
def test_what_is_somebody_s_is_not_stored(shop, path, status):
    person = member(shop)
    answer = shop.get(path, shop.bearer(person.role, person.id))
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE


def test_refusals_have_them_too(shop):
    for answer in (
        shop.get("/v1/me"),
        shop.post("/v1/carts", {"country": "4242424242424242"}),
        shop.http.post(f"{shop.url}/v1/carts", content=b"{", headers={"Content-Type": "text/plain"}),
    ):
        assert answer.status_code >= 400
        assert answer.headers["cache-control"] == "no-store"
        assert {name: answer.headers[name] for name in EVERYWHERE} == EVERYWHERE


def test_a_route_that_says_otherwise_is_heard(shop):
    answer = shop.get("/v1/products/hut-lantern")
    assert "max-age" in answer.headers["cache-control"]
    assert answer.headers.get_list("cache-control") == [answer.headers["cache-control"]]


def test_browsers_stay_with_tls_where_buyers_come_by_it():
    assert b"strict-transport-security" in dict(defaults(https=True))
    assert b"strict-transport-security" not in dict(defaults(https=False))


def test_names_are_compared_without_case():
    given = [(b"Cache-Control", b"public")]
    assert b"cache-control" not in dict(missing(given, defaults(https=True), "/v1/products"))


class TestDocuments:
    @pytest.mark.parametrize("page", ["/docs", "/redoc"])
    def test_a_viewer_loads_nothing_from_elsewhere(self, shop, page):
        answer = shop.get(page)
        loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert loaded
        for address in loaded:
            assert address.startswith("/"), address
            assert shop.get(address).status_code == 200, address
        assert "default-src 'self'" in answer.headers["content-security-policy"]

    def test_production_has_none(self, shop):
        app = create_app(shop.settings.model_copy(update={"env": Environment.PRODUCTION}))
        paths = {getattr(route, "path", "") for route in app.routes}
        assert paths.isdisjoint({"/docs", "/redoc", "/openapi.json", "/static-offline-docs"})

    def test_development_has_the_contract(self, shop):
        assert shop.get("/openapi.json", shop.bearer(Role.SUPPORT)).json()["info"]["title"] == "Holdfast"
