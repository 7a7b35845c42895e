"""Each refusal that matters to security is one event in the log, with who, where, what and why; and nothing typed."""

from __future__ import annotations

import json

import pytest
import structlog
from structlog.testing import LogCapture

from api import access_log
from api.access_log import SECURITY_PROBLEMS
from models.accounts.access import Role
from tests.fixtures.people import member
from tests.fixtures.shop import eventually, new_key

NUMBER = "4242424242424242"


@pytest.fixture
def log(monkeypatch):
    """What the API logs meanwhile; it runs in this process."""
    capture = LogCapture()
    monkeypatch.setattr(access_log, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


def logged(log, answer):
    """The access line of an answer, and its security events."""
    request_id = answer.headers["x-request-id"]

    def mine():
        return [line for line in log if line.get("request_id") == request_id]

    eventually(lambda: [line for line in mine() if line["event"] == "request"])
    (access,) = [line for line in mine() if line["event"] == "request"]
    return access, [line for line in mine() if line["event"] == "security_event"]


def bad_token(shop):
    return shop.get("/v1/me", {"Authorization": "Bearer nonsense"}), "anonymous"


def wrong_password(shop):
    return member(shop).try_login(password="a wrong pass phrase"), "anonymous"


def missing_scope(shop):
    person = member(shop)
    return shop.get("/v1/audit", shop.bearer(person.role, person.id)), person.id


def forged_webhook(shop):
    headers = {"Stripe-Signature": "t=1,v1=00", "Content-Type": "application/json"}
    return shop.http.post(f"{shop.url}/v1/webhooks/stripe", content=b"{}", headers=headers), "anonymous"


def card_number(shop):
    return shop.post("/v1/carts", {"country": NUMBER}), "anonymous"


def too_many(shop):
    url = shop.api(code_rate_limit="1/day", redis_url=f"{shop.settings.redis[:-1]}6")
    buyer = shop.buyer(url=url)
    tried = [buyer.call("POST", f"/v1/carts/{buyer.cart_id}/discounts", {"code": new_key()[:9]}) for _ in range(2)]
    return tried[-1], "anonymous"


def used_link(shop):
    return shop.post("/v1/auth/email-verification/confirm", {"token": new_key() * 2}), "anonymous"


CASES = {
    "unauthenticated": bad_token,
    "invalid-credentials": wrong_password,
    "forbidden": missing_scope,
    "bad-signature": forged_webhook,
    "card-number-refused": card_number,
    "too-many-requests": too_many,
    "gone": used_link,
}
# Their tests are beside what raises them: the log does not tell one slug from another.
ELSEWHERE = {"sign-in-refused", "sign-in-expired", "address-not-verified", "too-many-attempts"}


def test_every_class_is_tried():
    assert CASES.keys() | ELSEWHERE == SECURITY_PROBLEMS


@pytest.mark.parametrize("reason", CASES)
def test_a_refusal_is_one_event(shop, log, reason):
    answer, caller = CASES[reason](shop)
    access, events = logged(log, answer)
    assert [(event["reason"], event["caller"], event["log_level"]) for event in events] == [(reason, caller, "warning")]
    (event,) = events
    assert event["status"] == access["status"] == answer.status_code
    assert event["route"] == access["route"]
    assert event["network"] == "127.0.0.0/24"


def test_what_was_typed_is_in_no_line(shop, log):
    answers = [
        shop.get("/v1/orders/ord_typed-by-somebody?q=typed-by-somebody", {"Authorization": "Bearer typed-by-somebody"}),
        shop.post("/v1/auth/login", {"email": "typed-by-somebody@example.com", "password": "typed-by-somebody"}),
        shop.get("/typed-by-somebody"),
    ]
    for answer in answers:
        logged(log, answer)
    assert "typed-by-somebody" not in json.dumps(log, default=str)


def test_an_ordinary_request_is_a_line_and_no_event(shop, log):
    access, events = logged(log, shop.get("/v1/products?limit=1", shop.bearer(Role.SUPPORT)))
    assert (access["method"], access["route"], access["status"], events) == ("GET", "/v1/products", 200, [])
    assert access["ms"] > 0


def test_probes_leave_none(shop, log):
    answer = shop.get("/health/live")
    logged(log, shop.get("/v1/categories"))
    assert [line for line in log if line.get("request_id") == answer.headers["x-request-id"]] == []
