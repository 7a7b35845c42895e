"""Money back over HTTP: what was asked for, once, never more than was taken, and the books the same at each step."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from tests.fixtures.refunds import at_the_provider, balances, given
from tests.fixtures.shop import at_once, eventually, new_key, slug


@pytest.fixture(scope="module")
def bought_once(bought):
    return bought()[1]


class TestWhatIsRefunded:
    @pytest.mark.parametrize("country", ["US", "JP", "KW"])
    def test_all_of_it_in_the_currencys_own_units(self, shop, world, bought, give, settled, country):
        buyer, order = bought(country=country)
        refund = give(order)
        assert refund["status"] == "pending"
        assert refund["amount"] == order["totals"]["total"]
        assert refund["tax"] == order["totals"]["tax"]
        assert refund["lines"] == [{"line_id": line["id"], "quantity": 2} for line in order["lines"]]
        after = settled(order)
        assert (after["payment_status"], after["status"]) == ("refunded", "shipped")
        assert [r["status"] for r in after["refunds"]] == ["succeeded"]
        assert [line["refunded"] for line in after["lines"]] == [2]
        (made,) = at_the_provider(world, refund["id"])
        assert (made["amount"], made["currency"].upper()) == (refund["amount"]["amount"], refund["amount"]["currency"])
        assert given(world, buyer) == order["totals"]["total"]["amount"]
        assert not any(balances(shop, order).values())

    def test_an_amount(self, shop, world, bought, give, settled):
        buyer, order = bought()
        refund = give(order, amount={"amount": 1234, "currency": "USD"})
        assert refund["lines"] == []
        total, tax = order["totals"]["total"]["amount"], order["totals"]["tax"]["amount"]
        assert refund["tax"]["amount"] == tax * 1234 // total
        after = settled(order)
        assert after["payment_status"] == "partially_refunded"
        assert [line["refunded"] for line in after["lines"]] == [0]
        assert given(world, buyer) == 1234
        assert balances(shop, order)["sales"] == 1234 - total

    def test_lines_cost_what_was_paid_for_them(self, world, bought, give, settled):
        buyer, order = bought(quantity=3)
        (line,) = order["lines"]
        shares, taxes = [], []
        for _ in range(3):
            refund = give(order, lines=[{"line_id": line["id"], "quantity": 1}])
            shares.append(refund["amount"]["amount"])
            taxes.append(refund["tax"]["amount"])
        assert sum(shares) == line["total"]["amount"]
        assert sum(taxes) == line["tax"]["amount"]
        assert settled(order)["lines"][0]["refunded"] == 3
        assert given(world, buyer) == line["total"]["amount"]

    def test_part_of_what_lines_cost(self, bought, give, ask, settled):
        _, order = bought()
        (line,) = order["lines"]
        chosen = [{"line_id": line["id"], "quantity": 1}]
        too_much = ask(order, lines=chosen, amount=line["total"])
        assert (too_much.status_code, slug(too_much)) == (409, "refund-exceeds-balance")
        refund = give(order, lines=chosen, amount={"amount": 100, "currency": "USD"})
        assert (refund["amount"]["amount"], refund["lines"]) == (100, chosen)
        assert settled(order)["lines"][0]["refunded"] == 1

    def test_only_the_parcel_that_has_left(self, shop, world, ship, give, settled):
        buyer = shop.buyer(quantity=2)
        order = buyer.buy()
        captured = ship(order, 1)["captured"]
        refund = give(order)
        assert refund["amount"] == captured
        assert settled(order)["status"] == "partially_shipped"
        second = ship(order, 1)
        assert given(world, buyer) == captured["amount"]
        assert second["captured"]["amount"] == order["totals"]["total"]["amount"] - captured["amount"]
        assert second["order"]["payment_status"] == "partially_refunded"

    def test_the_buyer_is_told_once(self, world, bought, give, settled):
        buyer, order = bought()
        give(order)
        settled(order)

        def told():
            return [mail for mail in world.mail(buyer.email) if "efund" in mail["subject"]]

        eventually(told)
        assert len(told()) == 1


class TestWhatIsRefused:
    def test_more_than_is_left(self, bought, give, ask, settled):
        _, order = bought()
        total = order["totals"]["total"]["amount"]
        give(order, amount={"amount": 1000, "currency": "USD"})
        answer = ask(order, amount={"amount": total - 999, "currency": "USD"})
        assert (answer.status_code, slug(answer)) == (409, "refund-exceeds-balance")
        assert answer.json()["left"] == {"amount": total - 1000, "currency": "USD"}
        give(order, amount={"amount": total - 1000, "currency": "USD"})
        again = ask(order)
        assert (again.status_code, again.json()["left"]["amount"]) == (409, 0)
        assert len(settled(order)["refunds"]) == 2

    def test_what_was_never_captured(self, shop, ask):
        order = shop.buyer().buy()
        answer = ask(order)
        assert (answer.status_code, slug(answer)) == (409, "refund-exceeds-balance")
        assert "cancel" in answer.json()["detail"]

    def test_more_units_than_were_shipped(self, bought, ask):
        _, order = bought()
        answer = ask(order, lines=[{"line_id": order["lines"][0]["id"], "quantity": 3}])
        assert (answer.status_code, slug(answer)) == (409, "refund-exceeds-balance")

    @pytest.mark.parametrize(
        ("body", "slug_", "pointer"),
        [
            ({"amount": {"amount": 100, "currency": "EUR"}}, "currency-mismatch", "/amount"),
            ({"amount": {"amount": 0, "currency": "USD"}}, "invalid-request", "/amount/amount"),
            ({"amount": {"amount": -5, "currency": "USD"}}, "invalid-request", "/amount/amount"),
            ({"amount": {"amount": 1.5, "currency": "USD"}}, "invalid-request", "/amount/amount"),
            ({"amount": 100}, "invalid-request", "/amount"),
            ({"lines": []}, "invalid-request", "/lines"),
            (
                {"lines": [{"line_id": "l", "quantity": 1}, {"line_id": "l", "quantity": 1}]},
                "invalid-request",
                "/lines",
            ),
            ({"lines": [{"line_id": "l", "quantity": 0}]}, "invalid-request", "/lines/0/quantity"),
            ({"reason": ""}, "invalid-request", "/reason"),
            ({"reason": None}, "invalid-request", "/reason"),
            ({"why": "x"}, "invalid-request", "/why"),
        ],
    )
    def test_what_makes_no_sense(self, bought_once, ask, body, slug_, pointer):
        answer = ask(bought_once, **body)
        assert (answer.status_code, slug(answer)) == (422, slug_), answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]

    def test_without_a_key_or_the_scope_or_the_order(self, shop, bought_once, support, ask):
        path = f"/v1/support/orders/{bought_once['id']}/refunds"
        answer = shop.post(path, {"reason": "late"}, support)
        assert (answer.status_code, slug(answer)) == (400, "idempotency-key-required")
        key = {"Idempotency-Key": new_key()}
        assert shop.post(path, {"reason": "late"}, key).status_code == 401
        assert shop.post(path, {"reason": "late"}, {**shop.bearer(Role.WAREHOUSE), **key}).status_code == 403
        assert ask({"id": "ord_none"}).status_code == 404


class TestOnce:
    def test_the_same_key_gets_the_same_bytes_and_one_refund(self, world, bought, ask, settled):
        buyer, order = bought()
        key = new_key()
        body = {"amount": {"amount": 500, "currency": "USD"}}
        first = ask(order, key=key, **body)
        settled(order)
        again = ask(order, key=key, **body)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        other = ask(order, key=key)
        assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")
        assert given(world, buyer) == 500
        assert len(settled(order)["refunds"]) == 1

    def test_the_same_key_ten_times_at_once(self, world, bought, ask, settled):
        buyer, order = bought()
        key = new_key()
        answers = at_once([lambda: ask(order, key=key)] * 10)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert len(settled(order)["refunds"]) == 1
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_ten_at_once_never_give_more_than_was_taken(self, shop, world, bought, ask, settled):
        buyer, order = bought()
        total = order["totals"]["total"]["amount"]
        part = {"amount": total // 4, "currency": "USD"}
        answers = at_once([lambda: ask(order, amount=part)] * 10)
        assert sorted(answer.status_code for answer in answers) == [201] * 4 + [409] * 6
        assert {slug(answer) for answer in answers if answer.status_code == 409} == {"refund-exceeds-balance"}
        after = settled(order)
        assert [refund["status"] for refund in after["refunds"]] == ["succeeded"] * 4
        assert given(world, buyer) == 4 * (total // 4)
        (payment,) = shop.sql("SELECT captured, refunded FROM payments WHERE order_id = :id", id=order["id"])
        assert (payment.captured, payment.refunded) == (total, given(world, buyer))
        assert balances(shop, order)["provider_balance"] == total - given(world, buyer)

    def test_all_of_it_ten_times_at_once_is_once(self, world, bought, ask, settled):
        buyer, order = bought()
        answers = at_once([lambda: ask(order)] * 10)
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
        settled(order)
        assert given(world, buyer) == order["totals"]["total"]["amount"]


class TestTheRecord:
    def test_reasons_are_kept_beside_the_events_and_for_staff_only(self, shop, bought, give, settled, support):
        buyer, order = bought()
        words = f"Ada of Howard Street waited {new_key()}"
        refund = give(order, reason=words)
        settled(order)
        listed = shop.get(f"/v1/support/orders/{order['id']}/refunds", support).json()["items"]
        assert [(item["id"], item["reason"], item["status"]) for item in listed] == [(refund["id"], words, "succeeded")]
        (part,) = listed[0]["parts"]
        assert (part["amount"], part["provider"], part["status"]) == (refund["amount"], "stripe", "succeeded")
        notes = shop.get(f"/v1/support/orders/{order['id']}/notes", support).json()["items"]
        assert [(note["kind"], note["text"]) for note in notes] == [("refund", words)]
        assert words not in buyer.call("GET", f"/v1/orders/{order['id']}").text
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events", limit="100").text
        assert words not in events
        assert "refund.requested" in events
        assert "payment.refunded" in events

    def test_who_asked_is_in_the_audit_log(self, shop, bought, give):
        _, order = bought()
        refund = give(order)
        rows = shop.sql("SELECT action, actor_id, data FROM audit_log WHERE subject = :id", id=order["id"])
        found = [row for row in rows if row.action == "refund.requested"]
        assert [(row.actor_id, row.data["refund"]) for row in found] == [("usr_support", refund["id"])]
