"""The sandbox's PayPal: approved by its payer, held, taken in parts and given back, as PayPal documents it."""

import base64
import json
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import Sandbox, Shop

CLIENT = base64.b64encode(b"sandbox-paypal:sandbox-paypal-secret").decode()
HOME = {"return_url": "https://shop.example/back", "cancel_url": "https://shop.example/cart"}


class PayPal:
    """One merchant, over plain HTTP."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._keys = 0
        answer = sandbox.http.post(
            f"{sandbox.url}/paypal/v1/oauth2/token",
            headers={"authorization": f"Basic {CLIENT}"},
            data={"grant_type": "client_credentials"},
        )
        assert answer.status_code == 200, answer.text
        self.headers = {"authorization": f"Bearer {answer.json()['access_token']}"}

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, **query: Any) -> httpx.Response:
        self._keys += 1
        headers = {**self.headers, "paypal-request-id": key or f"key-{self._keys}"}
        return self.sandbox.http.request(
            method, f"{self.sandbox.url}/paypal{path}", headers=headers, json=body, params=query
        )

    def order(self, value: str = "10.00", currency: str = "USD", **unit: Any) -> httpx.Response:
        body = {
            "intent": "AUTHORIZE",
            "purchase_units": [{"amount": {"currency_code": currency, "value": value}, "custom_id": "chk_1:1", **unit}],
            "payment_source": {"paypal": {"experience_context": HOME}},
        }
        return self.ask("POST", "/v2/checkout/orders", body)

    def approve(self, order_id: str, result: str = "success") -> Any:
        return self.sandbox.control(f"/paypal/orders/{order_id}/approve", {"result": result})

    def held(self, value: str = "10.00", currency: str = "USD", **unit: Any) -> str:
        """The id of an authorisation of that much."""
        order = self.order(value, currency, **unit).json()
        self.approve(order["id"])
        done = self.ask("POST", f"/v2/checkout/orders/{order['id']}/authorize", {})
        assert done.status_code == 201, done.text
        return str(done.json()["purchase_units"][0]["payments"]["authorizations"][0]["id"])

    def capture(self, held: str, value: str | None = None, invoice: str = "", **more: Any) -> httpx.Response:
        body = {"invoice_id": invoice or f"inv-{self._keys}", **more}
        if value:
            body["amount"] = {"currency_code": "USD", "value": value}
        return self.ask("POST", f"/v2/payments/authorizations/{held}/capture", body)

    def refund(self, capture: str, value: str | None = None) -> httpx.Response:
        body = {"amount": {"currency_code": "USD", "value": value}} if value else {}
        return self.ask("POST", f"/v2/payments/captures/{capture}/refund", body)


@pytest.fixture
def paypal(sandbox: Sandbox) -> PayPal:
    return PayPal(sandbox)


def issue(answer: httpx.Response, status: int = 422) -> str:
    """What PayPal has against it."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["debug_id"]
    assert body["name"]
    return str(body["details"][0]["issue"])


def test_nothing_without_a_token(sandbox: Sandbox) -> None:
    bare = sandbox.http.get(f"{sandbox.url}/paypal/v2/checkout/orders/X")
    assert (bare.status_code, bare.json()["name"]) == (401, "AUTHENTICATION_FAILURE")
    wrong = sandbox.http.post(
        f"{sandbox.url}/paypal/v1/oauth2/token", auth=("somebody", "else"), data={"grant_type": "client_credentials"}
    )
    assert wrong.status_code == 401


def test_an_order_is_approved_by_its_payer_and_then_authorised_once(paypal: PayPal) -> None:
    made = paypal.order(reference_id="cart_1")
    order = made.json()
    assert (made.status_code, order["status"]) == (201, "PAYER_ACTION_REQUIRED")
    (page,) = [link["href"] for link in order["links"] if link["rel"] == "payer-action"]
    assert page.endswith(f"/checkoutnow?token={order['id']}")
    path = f"/v2/checkout/orders/{order['id']}"

    assert issue(paypal.ask("POST", f"{path}/authorize", {})) == "ORDER_NOT_APPROVED"
    assert "Pay 10.00 USD?" in paypal.sandbox.http.get(page).text
    assert paypal.approve(order["id"])["status"] == "APPROVED"
    back = paypal.sandbox.http.get(page)
    assert (back.status_code, back.headers["location"]) == (303, f"{HOME['return_url']}?token={order['id']}")

    done = paypal.ask("POST", f"{path}/authorize", {}).json()
    assert done["status"] == "COMPLETED"
    (held,) = done["purchase_units"][0]["payments"]["authorizations"]
    assert (held["status"], held["amount"], held["custom_id"]) == (
        "CREATED",
        {"currency_code": "USD", "value": "10.00"},
        "chk_1:1",
    )
    assert issue(paypal.ask("POST", f"{path}/authorize", {})) == "ORDER_ALREADY_AUTHORIZED"
    (seen,) = paypal.sandbox.seen("/paypal/orders")
    assert (seen["amount"], seen["amount_capturable"], seen["amount_received"]) == (1000, 1000, 0)
    assert seen["metadata"]["cart_id"] == "cart_1"


def test_a_cancelled_approval_is_void_and_an_abandoned_one_runs_out(paypal: PayPal) -> None:
    cancelled, abandoned = (paypal.order().json()["id"] for _ in range(2))
    assert paypal.approve(cancelled, "cancel")["status"] == "VOIDED"
    assert issue(paypal.ask("POST", f"/v2/checkout/orders/{cancelled}/authorize", {})) == "ORDER_NOT_APPROVED"
    paypal.sandbox.control("/clock", {"advance_s": 3 * 3600 + 1})
    assert issue(paypal.ask("GET", f"/v2/checkout/orders/{abandoned}"), 404) == "INVALID_RESOURCE_ID"


@pytest.mark.parametrize(
    ("value", "currency", "status", "problem"),
    [
        ("10", "USD", 201, None),
        ("1000", "JPY", 201, None),
        ("1000.00", "JPY", 422, "DECIMALS_NOT_SUPPORTED"),
        ("1.000", "USD", 422, "DECIMAL_PRECISION"),
        ("1.000", "KWD", 422, "CURRENCY_NOT_SUPPORTED"),
        ("0.00", "USD", 422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("ten", "USD", 400, "INVALID_PARAMETER_SYNTAX"),
    ],
)
def test_amounts_are_strings_with_the_decimals_of_their_currency(
    paypal: PayPal, value: str, currency: str, status: int, problem: str | None
) -> None:
    answer = paypal.order(value, currency)
    if problem is None:
        assert answer.status_code == status
    else:
        assert issue(answer, status) == problem


def test_captures_in_parts_end_with_the_final_one_and_never_exceed(paypal: PayPal) -> None:
    held = paypal.held()
    first = paypal.capture(held, "4.00", "inv-a")
    assert (first.status_code, first.json()["status"]) == (201, "COMPLETED")
    assert issue(paypal.capture(held, "4.00", "inv-a")) == "DUPLICATE_INVOICE_ID"
    assert issue(paypal.capture(held, "6.01")) == "MAX_CAPTURE_AMOUNT_EXCEEDED"
    assert paypal.capture(held, "1.00", final_capture=True).status_code == 201
    assert issue(paypal.capture(held, "1.00")) == "AUTHORIZATION_ALREADY_CAPTURED"
    assert issue(paypal.ask("POST", f"/v2/payments/authorizations/{held}/void")) == "PREVIOUSLY_CAPTURED"


def test_a_void_releases_what_is_left_once(paypal: PayPal) -> None:
    held = paypal.held()
    paypal.capture(held, "4.00")
    void = f"/v2/payments/authorizations/{held}/void"
    assert paypal.ask("POST", void).json()["status"] == "VOIDED"
    assert issue(paypal.ask("POST", void)) == "PREVIOUSLY_VOIDED"
    assert issue(paypal.capture(held, "1.00")) == "AUTHORIZATION_VOIDED"
    (seen,) = paypal.sandbox.seen("/paypal/orders")
    assert (seen["amount_capturable"], seen["amount_received"]) == (0, 400)


def test_an_authorisation_is_renewed_after_three_days_and_gone_after_29(paypal: PayPal) -> None:
    held = paypal.held()
    renew = f"/v2/payments/authorizations/{held}/reauthorize"
    assert issue(paypal.ask("POST", renew, {})) == "REAUTHORIZATION_TOO_SOON"
    paypal.sandbox.control("/clock", {"advance_s": 4 * 86_400})
    fresh = PayPal(paypal.sandbox)  # the token has run out as well
    renewed = fresh.ask("POST", renew, {}, key="renew").json()
    assert renewed["id"] != held
    assert issue(fresh.capture(held)) == "AUTHORIZATION_VOIDED"
    paypal.sandbox.control("/clock", {"advance_s": 26 * 86_400})
    assert issue(PayPal(paypal.sandbox).capture(renewed["id"])) == "AUTHORIZATION_EXPIRED"


def test_refunds_never_exceed_what_was_captured(paypal: PayPal) -> None:
    capture = paypal.capture(paypal.held()).json()["id"]
    assert paypal.refund(capture, "4.00").json()["status"] == "COMPLETED"
    assert issue(paypal.refund(capture, "6.01")) == "REFUND_AMOUNT_EXCEEDED"
    assert paypal.refund(capture).json()["amount"]["value"] == "6.00"
    assert issue(paypal.refund(capture)) == "CAPTURE_FULLY_REFUNDED"
    (seen,) = paypal.sandbox.seen("/paypal/captures")
    assert (seen["status"], seen["amount_refunded"]) == ("REFUNDED", 1000)


def test_a_refund_can_wait_and_fail(paypal: PayPal, shop: Shop) -> None:
    capture = paypal.capture(paypal.held()).json()["id"]
    paypal.sandbox.script({"kind": "refund_status", "status": "pending"}, service="paypal")
    refund = paypal.refund(capture, "3.00").json()
    assert refund["status"] == "PENDING"
    paypal.sandbox.control(f"/paypal/refunds/{refund['id']}/settle", {"status": "failed"})
    assert paypal.ask("GET", f"/v2/payments/refunds/{refund['id']}").json()["status"] == "FAILED"
    assert paypal.sandbox.seen("/paypal/captures")[0]["amount_refunded"] == 0
    paypal.sandbox.eventually(lambda: "PAYMENT.REFUND.FAILED" in types(shop))


def test_one_request_id_is_one_effect(paypal: PayPal) -> None:
    held = paypal.held()
    path, body = f"/v2/payments/authorizations/{held}/capture", {"invoice_id": "inv"}
    first, second = (paypal.ask("POST", path, body, key="once") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert issue(paypal.ask("POST", path, {"invoice_id": "other"}, key="once")) == "DUPLICATE_REQUEST_ID"
    assert len(paypal.sandbox.seen("/paypal/captures")) == 1


def test_a_breakdown_is_not_kept_for_its_request_id(paypal: PayPal) -> None:
    held = paypal.held()
    path, body = f"/v2/payments/authorizations/{held}/capture", {"invoice_id": "inv"}
    for kind, captures in (("status_before", 0), ("status_after", 1)):
        paypal.sandbox.script({"kind": kind}, service="paypal", path="/paypal/v2/payments")
        assert paypal.ask("POST", path, body, key="once").status_code == 500
        assert len(paypal.sandbox.seen("/paypal/captures")) == captures
    assert paypal.ask("POST", path, body, key="once").status_code == 200


def test_scripts_decline_by_cart_where_money_is_asked_for(paypal: PayPal) -> None:
    order = paypal.order(reference_id="cart_9").json()["id"]
    paypal.approve(order)
    match = {"path": "/paypal/v2/checkout/orders", "metadata": {"cart_id": "cart_9"}}
    paypal.sandbox.script({"kind": "decline", "code": "card_declined"}, service="paypal", **match)
    assert paypal.ask("GET", f"/v2/checkout/orders/{order}").status_code == 200
    assert issue(paypal.ask("POST", f"/v2/checkout/orders/{order}/authorize", {})) == "INSTRUMENT_DECLINED"
    assert paypal.sandbox.seen("/paypal/authorizations") == []


def test_webhooks_are_verified_to_the_byte(paypal: PayPal, shop: Shop) -> None:
    paypal.approve(paypal.order().json()["id"])
    (received,) = paypal.sandbox.eventually(lambda: shop.at("/v1/webhooks/paypal"))
    assert received.event["event_type"] == "CHECKOUT.ORDER.APPROVED"
    assert received.event["resource"]["purchase_units"][0]["custom_id"] == "chk_1:1"

    assert verified(paypal, received.headers, received.body)
    assert not verified(paypal, received.headers, received.body.replace(b"APPROVED", b"VOIDED", 1))
    assert not verified(paypal, received.headers, json.dumps(json.loads(received.body), indent=1).encode())
    assert not verified(paypal, received.headers, received.body, webhook_id="WH-OTHER")
    stolen = {**received.headers, "paypal-transmission-time": "2026-01-01T00:00:00Z"}
    assert not verified(paypal, stolen, received.body)


def test_a_forged_webhook_is_not_verified(paypal: PayPal, shop: Shop) -> None:
    paypal.sandbox.control("/webhooks", {"service": "paypal", "mode": "drop", "forge": True})
    paypal.approve(paypal.order().json()["id"])
    (received,) = paypal.sandbox.eventually(lambda: shop.at("/v1/webhooks/paypal"))
    assert not verified(paypal, received.headers, received.body)


def test_disputes_take_the_money_and_block_refunds(paypal: PayPal, shop: Shop) -> None:
    capture = paypal.capture(paypal.held()).json()["id"]
    dispute = paypal.sandbox.control(f"/paypal/captures/{capture}/dispute")
    assert issue(paypal.refund(capture)) == "TRANSACTION_DISPUTED"
    paypal.sandbox.control(f"/paypal/disputes/{dispute['id']}/settle", {"outcome": "won"})
    assert paypal.refund(capture).status_code == 201
    paypal.sandbox.eventually(lambda: "CUSTOMER.DISPUTE.RESOLVED" in types(shop))


def test_transaction_search_lists_all_that_moved(paypal: PayPal) -> None:
    capture = paypal.capture(paypal.held(), "4.00").json()["id"]
    paypal.refund(capture, "1.00")
    window = {"start_date": "2000-01-01T00:00:00Z", "end_date": "2000-01-31T00:00:00Z"}
    assert paypal.ask("GET", "/v1/reporting/transactions", **window).json()["total_items"] == 0
    window = {"start_date": "2026-11-01T00:00:00Z", "end_date": "2099-01-01T00:00:00Z"}
    assert issue(paypal.ask("GET", "/v1/reporting/transactions", **window), 400) == "INVALID_DATE_RANGE"
    found = [info for page in (1, 2, 3) for info in transactions(paypal, page)]
    assert [(info["transaction_event_code"], info["transaction_amount"]["value"]) for info in found] == [
        ("T1300", "10.00"),
        ("T0006", "4.00"),
        ("T1107", "-1.00"),
    ]
    assert found[1]["custom_field"] == "chk_1:1"


def transactions(paypal: PayPal, page: int) -> list[Any]:
    health = paypal.sandbox.seen("/health")["now"]
    query = {"start_date": health[:10] + "T00:00:00Z", "end_date": health[:10] + "T23:59:59Z"}
    answer = paypal.ask("GET", "/v1/reporting/transactions", **query, page_size=1, page=page)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total_pages"] == 3
    return [one["transaction_info"] for one in answer.json()["transaction_details"]]


def verified(paypal: PayPal, headers: dict[str, str], body: bytes, webhook_id: str = "WH-SANDBOX") -> bool:
    fields = {
        name.replace("-", "_"): headers[f"paypal-{name}"]
        for name in ("auth-algo", "cert-url", "transmission-id", "transmission-sig", "transmission-time")
    }
    text = json.dumps({**fields, "webhook_id": webhook_id})[:-1].encode() + b', "webhook_event": ' + body + b"}"
    answer = paypal.sandbox.http.post(
        f"{paypal.sandbox.url}/paypal/v1/notifications/verify-webhook-signature", headers=paypal.headers, content=text
    )
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["verification_status"] == "SUCCESS")


def types(shop: Shop) -> list[str]:
    return [one.event["event_type"] for one in shop.at("/v1/webhooks/paypal")]
