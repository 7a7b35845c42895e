"""The published contract: kept in the repo, and kept by the app."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.__main__ import document
from models.accounts.access import Role
from tests.fixtures.shop import new_key

SNAPSHOT = Path(__file__).parents[2] / "docs" / "openapi.json"
HELD_TO = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_the_copy_in_the_repo_is_the_apps():
    assert SNAPSHOT.read_text() == document(), "run: python -m api > docs/openapi.json"


def test_it_is_what_the_app_publishes(shop):
    published = shop.get("/openapi.json").json()
    assert published == json.loads(document())
    assert published["openapi"].startswith("3.1")


def test_every_refusal_is_a_problem_document():
    for path, operations in json.loads(document())["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if path.startswith("/v1/") and (status == "default" or int(status) >= 400):
                    assert list(response["content"]) == ["application/problem+json"], (method, path, status)


CONTRACT = schemathesis.openapi.from_dict(json.loads(document()))
# What the warehouse may ask waits for a worker: it has tests of its own.
OPERATIONS = [
    (path, method)
    for path, operations in json.loads(document())["paths"].items()
    for method in operations
    if not path.startswith(("/v1/fulfilment/", "/health/"))
]


@pytest.fixture(scope="module")
def known(shop):
    """Real things to call by id, and who may."""
    buyer = shop.buyer()
    checkout = shop.buyer().checkout().json()
    ids = {
        "cart_id": buyer.cart_id,
        "item_id": buyer.last["items"][0]["id"],
        "checkout_id": checkout["checkout_id"],
        "order_id": checkout["order"]["id"],
        "sku": buyer.last["items"][0]["sku"],
        "key": "trail-rain-jacket",
    }
    return ids, {**buyer.headers, **shop.bearer(Role.ADMIN, "usr_fuzz")}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_generated_requests_are_answered_as_documented(shop, known, path, method):
    ids, headers = known

    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=CONTRACT[path][method].as_strategy(), real=st.booleans())
    def answered_as_documented(case, real):
        if real:
            case.path_parameters = {name: ids.get(name, value) for name, value in (case.path_parameters or {}).items()}
        case.headers = {
            name: value for name, value in (case.headers or {}).items() if name != "X-Cart-Token" and _sendable(value)
        }
        case.call_and_validate(
            base_url=shop.url, headers={**headers, "Idempotency-Key": new_key()}, checks=HELD_TO, excluded_checks=[]
        )

    answered_as_documented()


def _sendable(value):
    """No HTTP client sends other header values than these."""
    return isinstance(value, str) and value == value.strip() and value.isprintable() and value.isascii()
