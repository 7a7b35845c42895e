"""Limits by class of route and by network, counted in Valkey."""

from __future__ import annotations

import uuid

import pytest

from activities.gateways.cache import Cache
from api.limits import CLASSES, Limits
from tests.fixtures.shop import new_key, slug


@pytest.fixture
def limits(valkey):
    """Makes limits of a class of its own name, so that no other test's requests count."""

    def make(**narrow):
        return Limits(valkey.model_copy(update={"rate_limit": "1000000/day", **narrow}), Cache(valkey.redis))

    return make


def network():
    """A /48 that nobody else uses."""
    word = uuid.uuid4().hex
    return f"fd{word[:2]}:{word[2:6]}:{word[6:10]}"


def answered(limits, requests):
    """For each of `(request, address)`, whether it is within the limits."""
    found = [limits.count(*request.split(" "), address) for request, address in requests]
    return [allowance is None or not allowance.exceeded for allowance in found]


def test_addresses_of_one_customer_count_together(limits):
    mine = network()
    tried = [("GET /v1/products", f"{mine}:1::{number:x}") for number in range(1, 8)]
    assert answered(limits(rate_limit="5/day"), tried) == [True] * 5 + [False] * 2


def test_networks_of_one_provider_s_customer_do_too_with_more_room(limits):
    mine = network()
    tried = [("GET /v1/products", f"{mine}:{number:x}00::1") for number in range(1, 40)]
    assert answered(limits(rate_limit="2/day"), tried) == [True] * 32 + [False] * 7


def test_a_neighbour_is_somebody_else(limits):
    mine, other = network(), network()
    one = limits(rate_limit="1/day")
    tried = [
        ("GET /v1/products", f"{mine}::1"),
        ("GET /v1/products", f"{mine}::2"),
        ("GET /v1/products", f"{other}::1"),
    ]
    assert answered(one, tried) == [True, False, True]


@pytest.mark.parametrize(
    ("name", "request_line"),
    [
        ("auth", "POST /v1/auth/login"),
        ("codes", "POST /v1/carts/crt_1/discounts"),
        ("carts", "POST /v1/carts"),
        ("carts", "POST /v1/checkouts"),
        ("webhooks", "POST /v1/webhooks/paypal"),
    ],
)
def test_each_class_counts_by_itself(limits, name, request_line):
    setting = next(each.setting for each in CLASSES if each.name == name)
    one, mine = limits(**{setting: "2/day"}), f"{network()}::1"
    tried = [(request_line, mine)] * 3 + [("GET /v1/products", mine), ("POST /v1/carts/crt_1/items", mine)]
    assert answered(one, tried) == [True, True, False, True, True]


def test_webhooks_are_not_limited_with_everything_else(limits):
    mine = f"{network()}::1"
    tried = [("GET /v1/products", mine)] * 2 + [("POST /v1/webhooks/stripe", mine)]
    assert answered(limits(rate_limit="1/day"), tried) == [True, False, True]


def test_what_is_outside_of_v1_counts_but_for_what_supervisors_ask(limits):
    mine = f"{network()}::1"
    tried = [(f"GET {path}", mine) for path in ("/health/ready", "/health/ready", "/health/live", "/metrics")]
    assert answered(limits(rate_limit="1/day"), tried) == [True, False, True, True]


def test_codes_cant_be_tried_without_end(shop):
    buyer = shop.buyer(url=shop.api(code_rate_limit="3/day", redis_url=f"{shop.settings.redis[:-1]}5"))
    tried = [buyer.call("POST", f"/v1/carts/{buyer.cart_id}/discounts", {"code": new_key()[:12]}) for _ in range(4)]
    assert [answer.status_code for answer in tried] == [422, 422, 422, 429]
    assert slug(tried[-1]) == "too-many-requests"
    assert tried[-1].headers["ratelimit-policy"].startswith('"codes";q=3')
    assert buyer.cart()["id"] == buyer.cart_id
