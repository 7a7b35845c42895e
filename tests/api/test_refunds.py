"""Money back over HTTP: what was asked for, once, never more than was taken, and the books the same at each step."""

from __future__ import annotations

import pytest

from models.access import Role
from models.db.session import Database
from models.ids import derived_id, refund_workflow
from tests.fixtures.shop import at_once, eventually, new_key, slug
from workers.janitor import Janitor

FAILS = "pm_card_refundFail"
WAITS = "pm_card_pendingRefund"


@pytest.fixture(scope="module")
def support(shop):
    return shop.bearer(Role.SUPPORT, "usr_support")


@pytest.fixture(scope="module")
def ask(shop, support):
    """Asks for a refund; the answer."""

    def act(order, *, key=None, **body):
        headers = {**support, "Idempotency-Key": key or new_key()}
        return shop.post(f"/v1/support/orders/{order['id']}/refunds", {"reason": "late", **body}, headers)

    return act


@pytest.fixture(scope="module")
def give(ask):
    """The same, where it has to be taken on."""

    def act(order, **body):
        answer = ask(order, **body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return act


@pytest.fixture(scope="module")
def now(shop, support):
    """The order as it stands."""
    return lambda order: shop.get(f"/v1/orders/{order['id']}", support).json()


@pytest.fixture(scope="module")
def settled(now):
    """The order once none of its refunds is on its way."""

    def act(order):
        def check():
            found = now(order)
            return found if all(r["status"] != "pending" for r in found["refunds"]) else None

        return eventually(check)

    return act


@pytest.fixture(scope="module")
def bought(shop, ship):
    """A buyer, and the order that was shipped to them whole."""

    def act(method="pm_card_visa", quantity=2, **more):
        buyer = shop.buyer(quantity=quantity, **more)
        order = buyer.buy(method)
        return buyer, ship(order, quantity)["order"]

    return act


@pytest.fixture(scope="module")
def bought_once(bought):
    return bought()[1]


@pytest.fixture
def by_hand(shop, world):
    """Somebody at Stripe's dashboard."""

    def act(buyer, amount):
        (intent,) = world.intents(buyer.cart_id)
        answer = shop.http.post(
            f"{world.url}/v1/refunds",
            data={"payment_intent": intent["id"], "amount": amount},
            headers={"Authorization": f"Bearer {shop.settings.stripe_api_key.get_secret_value()}"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    return act


def given(world, buyer):
    """Minor units that the provider has given back, over all payments of the cart."""
    return sum(intent["amount_refunded"] for intent in world.intents(buyer.cart_id))


def at_the_provider(world, refund_id):
    return [r for r in world.get("/stripe/refunds") if r["metadata"].get("refund_id", "").split("/")[0] == refund_id]


def balances(shop, order):
    """Every account of the order's ledger."""
    rows = shop.sql(
        "SELECT account, sum(amount)::bigint AS balance FROM ("
        " SELECT l.debit AS account, l.amount FROM ledger_entries l JOIN payments p ON p.id = l.payment_id"
        " WHERE p.order_id = :id UNION ALL SELECT l.credit, -l.amount FROM ledger_entries l"
        " JOIN payments p ON p.id = l.payment_id WHERE p.order_id = :id) moved GROUP BY account",
        id=order["id"],
    )
    return {row.account: row.balance for row in rows}


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


class TestTheProvidersMoods:
    @pytest.mark.parametrize("kind", ["timeout_after", "reset_connection_before", "status_before", "status_after"])
    def test_what_is_not_known_is_looked_up(self, world, bought, give, settled, kind):
        buyer, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post("/script", service="stripe", match=match, outcomes=[{"kind": kind, "ms": 100}])
        refund = give(order)
        assert settled(order)["payment_status"] == "refunded"
        assert len(at_the_provider(world, refund["id"])) == 1
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_the_webhook_comes_before_the_answer(self, shop, world, bought, give, settled):
        buyer, order = bought()
        match = {"path": "/v1/refunds", "method": "POST", "metadata": {"order_id": order["id"]}}
        world.post("/script", service="stripe", match=match, outcomes=[{"kind": "timeout_after"}])
        refund = give(order)
        assert settled(order)["payment_status"] == "refunded"
        assert len(at_the_provider(world, refund["id"])) == 1
        stored = shop.sql(
            "SELECT 1 FROM webhook_events w JOIN refund_parts f ON true WHERE f.refund_id = :id"
            " AND w.type = 'refund.created'",
            id=refund["id"],
        )
        assert stored
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_one_that_takes_its_time_ends_with_the_webhook(self, shop, world, bought, give, now, settled):
        _, order = bought(WAITS)
        refund = give(order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))
        assert now(order)["refunds"][0]["status"] == "pending"
        world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        assert settled(order)["payment_status"] == "refunded"
        eventually(lambda: not shop.running(refund_workflow(refund["id"])))

    def test_refunds_wait_for_the_workers(self, shop, world, bought, give, now, settled):
        buyer, order = bought()
        with shop.without(*shop.workers):
            give(order)
            assert now(order)["refunds"][0]["status"] == "pending"
            assert given(world, buyer) == 0
        assert settled(order)["payment_status"] == "refunded"
        assert given(world, buyer) == order["totals"]["total"]["amount"]

    def test_storms_of_webhooks_in_any_order(self, shop, world, bought, give, settled):
        with world.webhooks(mode="hold", duplicate=3, shuffle=True, seed=7):
            orders = [bought(method)[1] for method in (WAITS, FAILS, "pm_card_visa")]
            refunds = [give(order) for order in orders]
            made = [eventually(lambda r=r: at_the_provider(world, r["id"])) for r in refunds]
            world.post(f"/stripe/refunds/{made[0][0]['id']}/settle", status="succeeded")
            world.post(f"/stripe/refunds/{made[0][0]['id']}/settle", status="failed")
            settled(orders[2])
        for order, status in zip(orders, ("failed", "failed", "succeeded"), strict=True):
            eventually(lambda o=order, s=status: settled(o)["refunds"][0]["status"] == s)
        for order in orders[:2]:
            assert balances(shop, order)["provider_balance"] == order["totals"]["total"]["amount"]


class TestFailure:
    def test_gives_the_money_back_to_the_books_and_the_matter_to_a_person(self, shop, world, bought, give, settled):
        buyer, order = bought(FAILS)
        refund = give(order)
        after = settled(order)
        assert [r["status"] for r in after["refunds"]] == ["failed"]
        assert after["payment_status"] == "captured"
        assert [line["refunded"] for line in after["lines"]] == [0]
        assert shop.tasks(refund["id"]) == ["refund-failed"]
        assert given(world, buyer) == 0
        (payment,) = shop.sql("SELECT refunded FROM payments WHERE order_id = :id", id=order["id"])
        assert payment.refunded == 0
        assert shop.running(refund_workflow(refund["id"]))

    def test_of_a_refund_that_had_succeeded_is_taken_back(self, shop, world, bought, give, settled):
        _, order = bought()
        refund = give(order)
        assert settled(order)["payment_status"] == "refunded"
        (made,) = at_the_provider(world, refund["id"])
        eventually(lambda: not shop.running(refund_workflow(refund["id"])))
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        after = eventually(lambda: (found := settled(order))["refunds"][0]["status"] == "failed" and found)
        assert after["payment_status"] == "captured"
        total = order["totals"]["total"]["amount"]
        assert balances(shop, order) == {
            "provider_balance": total,
            "sales": -total,
            "provider_authorised": 0,
            "authorisations": 0,
        }
        assert shop.tasks(refund["id"]) == ["refund-failed"]
        kinds = shop.sql("SELECT kind FROM ledger_entries WHERE cause = :id ORDER BY id", id=refund["id"])
        assert [row.kind for row in kinds] == ["refund", "refund_failed"]

    def test_is_tried_again_when_a_person_says_so(self, shop, world, support, bought, give, settled):
        buyer, order = bought()
        refund = give(order)
        settled(order)
        (made,) = at_the_provider(world, refund["id"])
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        eventually(lambda: shop.tasks(refund["id"]))
        needs = "/v1/ops/needs-attention"
        (task,) = shop.get(needs, support, subject=refund["id"], status="open").json()["items"]
        assert (task["kind"], task["actions"]) == ("refund-failed", ["retry", "done"])
        answer = shop.post(f"{needs}/{task['id']}/resolve", {"outcome": "retry"}, support)
        assert answer.status_code == 200, answer.text
        after = eventually(lambda: (found := settled(order))["refunds"][0]["status"] == "succeeded" and found)
        assert after["payment_status"] == "refunded"
        assert [r["status"] for r in at_the_provider(world, refund["id"])] == ["failed", "succeeded"]
        assert given(world, buyer) == order["totals"]["total"]["amount"]
        assert not any(balances(shop, order).values())
        eventually(lambda: not shop.running(refund_workflow(refund["id"])))
        assert shop.sql("SELECT 1 FROM tasks WHERE subject = :s AND closed_at IS NULL", s=refund["id"]) == []

    def test_is_not_tried_again_once_the_money_has_gone_another_way(self, shop, world, bought, give, settled):
        buyer, order = bought()
        refund = give(order)
        settled(order)
        (made,) = at_the_provider(world, refund["id"])
        world.post(f"/stripe/refunds/{made['id']}/settle", status="failed")
        eventually(lambda: shop.tasks(refund["id"]))
        give(order)
        settled(order)
        resolve(shop, refund, "retry")
        eventually(lambda: len(shop.tasks(refund["id"])) == 2)
        assert given(world, buyer) == order["totals"]["total"]["amount"]
        resolve(shop, refund, "done")
        eventually(lambda: not shop.running(refund_workflow(refund["id"])))
        assert [r["status"] for r in settled(order)["refunds"]] == ["failed", "succeeded"]


class TestByHand:
    def test_a_refund_made_at_the_provider_is_the_orders_once(self, shop, world, bought, ask, settled, by_hand):
        buyer, order = bought()
        with world.webhooks(mode="deliver", duplicate=3, shuffle=True, seed=3):
            made = by_hand(buyer, 700)
            eventually(lambda: settled(order)["refunds"])
        after = settled(order)
        assert [(r["status"], r["amount"]["amount"]) for r in after["refunds"]] == [("succeeded", 700)]
        assert after["payment_status"] == "partially_refunded"
        events = buyer.call("GET", f"/v1/orders/{order['id']}/events").json()["items"]
        (event,) = [event for event in events if event["type"] == "refund.requested"]
        assert (event["actor"]["type"], event["cause"]) == ("system", made["id"])
        assert after["refunds"][0]["id"] == derived_id("rfd", "stripe", made["id"])
        total = order["totals"]["total"]["amount"]
        assert balances(shop, order)["provider_balance"] == total - 700
        over = ask(order, amount={"amount": total - 699, "currency": "USD"})
        assert over.status_code == 409

    def test_made_for_all_while_ours_is_on_its_way(self, shop, world, bought, give, settled, by_hand):
        buyer, order = bought()
        total = order["totals"]["total"]["amount"]
        with shop.without(*shop.workers):
            refund = give(order)
            made = by_hand(buyer, total)
        theirs = derived_id("rfd", "stripe", made["id"])
        after = eventually(lambda: len((found := settled(order))["refunds"]) == 2 and found, 60)
        assert {r["id"]: r["status"] for r in after["refunds"]} == {refund["id"]: "failed", theirs: "succeeded"}
        assert given(world, buyer) == total
        assert not any(balances(shop, order).values())


def resolve(shop, refund, outcome):
    """As an operator types it in the Temporal UI."""

    async def act(client):
        await client.get_workflow_handle(refund_workflow(refund["id"])).signal("resolve_task", {"outcome": outcome})

    shop.temporal(act)


class TestEndedByHand:
    def test_a_process_that_an_operator_has_ended_begins_anew_with_the_next_word(
        self, shop, world, bought, give, settled
    ):
        _, order = bought(WAITS)
        refund = give(order)
        (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
        eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))

        async def terminate(client):
            await client.get_workflow_handle(refund_workflow(refund["id"])).terminate()

        shop.temporal(terminate)
        world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
        assert settled(order)["payment_status"] == "refunded"
        assert len(at_the_provider(world, refund["id"])) == 1

    def test_and_the_janitor_finds_it_where_no_word_comes(self, shop, world, bought, give, settled):
        database = Database(shop.settings.database, pool_size=1)
        with world.webhooks(mode="drop"):
            _, order = bought(WAITS)
            refund = give(order)
            (made,) = eventually(lambda: at_the_provider(world, refund["id"]))
            eventually(lambda: shop.sql("SELECT 1 FROM refund_parts WHERE reference = :r", r=made["id"]))

            async def terminate(client):
                await client.get_workflow_handle(refund_workflow(refund["id"])).terminate()
                world.post(f"/stripe/refunds/{made['id']}/settle", status="succeeded")
                return await Janitor(database, client, margin=0.0).round()

            assert refund["id"] in shop.temporal(terminate)
            assert settled(order)["payment_status"] == "refunded"
        database.close()
