"""What only a person can finish: it stands in a queue, and their word lets the same process go on."""

from __future__ import annotations

import pytest

from activities.gateways.secrets import token_digest
from api.auth import API_KEY_PREFIX
from models.accounts.access import Role
from models.db.repositories.delivery import tasks as repository
from models.delivery.tasks import OpenTask
from models.ids import checkout_workflow, new_id, remove_payment_method_workflow, save_payment_method_workflow
from tests.fixtures.cards import Wallet
from tests.fixtures.record import clean_up
from tests.fixtures.shop import THREE_D_SECURE, at_once, eventually, new_key, slug

QUEUE = "/v1/ops/needs-attention"
REFUSED = {"kind": "status_before", "status": 400}  # for good: Stripe will never do it


@pytest.fixture
def support(shop):
    return Support(shop)


class Support:
    """Somebody who works through the queue."""

    def __init__(self, shop):
        self.shop = shop
        self.headers = shop.bearer(Role.SUPPORT)

    def list(self, **params):
        answer = self.shop.get(QUEUE, self.headers, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def open(self, subject):
        return self.list(subject=subject, status="open")["items"]

    def waits_for(self, subject):
        """The one open task about it, as soon as there is one."""
        (task,) = eventually(lambda: self.open(subject))
        return task

    def resolve(self, task_id, outcome, note="", **headers):
        body = {"outcome": outcome, "note": note}
        return self.shop.post(f"{QUEUE}/{task_id}/resolve", body, {**self.headers, **headers})

    def resolved(self, task_id, outcome):
        answer = self.resolve(task_id, outcome)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def stuck(shop, world):
    """A checkout whose payment the provider will not cancel: its buyer has failed at the bank."""
    sku = shop.sku(stock=1)
    buyer = shop.buyer(sku)
    checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
    (intent,) = world.intents(buyer.cart_id)
    match = {"path": f"/v1/payment_intents/{intent['id']}/cancel"}
    world.post("/script", service="stripe", match=match, outcomes=[REFUSED], repeat="forever")
    world.authenticate(buyer.cart_id, "failure")
    yield buyer, checkout_id, sku
    world.forget_scripts()


class TestAnUndoThatNeverSucceeds:
    def test_waits_for_a_person_and_goes_on_with_their_word(self, shop, world, support, stuck):
        buyer, checkout_id, sku = stuck
        task = support.waits_for(checkout_id)
        assert task["kind"] == "void-payment"
        assert task["workflow_id"] == checkout_workflow(checkout_id)
        assert task["actions"] == ["retry", "done"]
        assert "Stripe" in task["detail"]
        assert task["advice"]
        assert shop.running(checkout_workflow(checkout_id))
        assert support.resolved(task["id"], "retry")["status"] == "resolved"
        again = eventually(lambda: [t for t in support.open(checkout_id) if t["id"] != task["id"]])[0]
        world.forget_scripts()
        support.resolved(again["id"], "retry")
        assert buyer.ended(checkout_id)["status"] == "declined"
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]
        assert shop.stock(sku) == (1, 0)
        eventually(lambda: shop.ended(checkout_workflow(checkout_id)))
        assert support.open(checkout_id) == []

    def test_is_taken_as_done_if_they_say_so(self, shop, support, stuck):
        buyer, checkout_id, sku = stuck
        task = support.waits_for(checkout_id)
        support.resolved(task["id"], "done")
        assert buyer.ended(checkout_id)["status"] == "declined"
        assert shop.stock(sku) == (1, 0)

    def test_can_be_answered_in_the_temporal_ui(self, shop, support, stuck):
        """By a signal with arguments that a person can type; the queue follows."""
        buyer, checkout_id, _ = stuck
        task = support.waits_for(checkout_id)
        handle = checkout_workflow(checkout_id)
        eventually(lambda: "Waiting for a person" in _details(shop, handle))
        shop.temporal(lambda client: client.get_workflow_handle(handle).signal("resolve_task", {"outcome": "done"}))
        assert buyer.ended(checkout_id)["status"] == "declined"
        closed = shop.get(f"{QUEUE}/{task['id']}", support.headers).json()
        assert (closed["status"], closed["outcome"]) == ("resolved", "done")
        assert closed["closed_by"] == {"type": "staff", "id": None}

    def test_is_finished_also_when_an_operator_cancels_meanwhile(self, shop, world, support, stuck):
        buyer, checkout_id, sku = stuck
        task = support.waits_for(checkout_id)
        handle = checkout_workflow(checkout_id)
        eventually(lambda: "Waiting for a person" in _details(shop, handle))
        shop.temporal(lambda client: client.get_workflow_handle(handle).cancel())
        world.forget_scripts()
        support.resolved(task["id"], "retry")
        assert buyer.ended(checkout_id)["status"] == "declined"
        assert [intent["status"] for intent in world.intents(buyer.cart_id)] == ["canceled"]
        assert shop.stock(sku) == (1, 0)

    def test_asks_again_after_it_was_terminated(self, shop, world, support, stuck):
        buyer, checkout_id, sku = stuck
        task = support.waits_for(checkout_id)
        shop.temporal(lambda client: client.get_workflow_handle(checkout_workflow(checkout_id)).terminate())
        assert checkout_id in clean_up(shop)
        cleaning = f"checkout-cleanup/{checkout_id}"
        taken_over = eventually(lambda: [t for t in support.open(checkout_id) if t["workflow_id"] == cleaning])
        assert [t["id"] for t in taken_over] == [task["id"]]
        world.forget_scripts()
        support.resolved(task["id"], "retry")
        assert buyer.ended(checkout_id)["status"] == "expired"
        assert shop.stock(sku) == (1, 0)

    def test_of_a_removed_card(self, shop, world, support):
        wallet = Wallet(shop)
        entry = wallet.saved()["id"]
        path = f"/v1/payment_methods/{wallet.row(entry).reference}/detach"
        world.post("/script", service="stripe", match={"path": path}, outcomes=[REFUSED], repeat="forever")
        wallet.call("DELETE", f"/{entry}")
        task = support.waits_for(entry)
        assert task["kind"] == "detach-payment-method"
        world.forget_scripts()
        support.resolved(task["id"], "done")
        assert wallet.ended(entry).state == "removed"
        eventually(lambda: shop.ended(remove_payment_method_workflow(entry)))

    def test_of_a_card_that_was_not_saved(self, shop, world, support):
        wallet = Wallet(shop)
        entry = wallet.save(THREE_D_SECURE).json()["id"]
        (setup,) = wallet.setups()
        path = f"/v1/setup_intents/{setup['id']}/cancel"
        world.post("/script", service="stripe", match={"path": path}, outcomes=[REFUSED], repeat="forever")
        wallet.authenticate(entry, "failure")
        task = support.waits_for(entry)
        assert task["kind"] == "undo-payment-method"
        world.forget_scripts()
        support.resolved(task["id"], "retry")
        assert wallet.ended(entry).state == "failed"
        eventually(lambda: shop.ended(save_payment_method_workflow(entry)))


class TestTheQueue:
    def put(self, shop, kind="confirmation-mail", subject=None):
        subject = subject or new_id("ord")
        with shop.engine.connect() as connection:
            opened = repository.open_task(connection, OpenTask(kind=kind, subject=subject, detail="x"))
        return opened.task_id, subject

    def test_pages_newest_first(self, shop, support):
        kind = f"test-{new_key()}"
        ids = [self.put(shop, kind)[0] for _ in range(5)]
        found, cursor = [], None
        while True:
            page = support.list(kind=kind, limit=2, **({"cursor": cursor} if cursor else {}))
            found += [task["id"] for task in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert found == sorted(ids, reverse=True)

    def test_tells_open_from_resolved(self, shop, support):
        task_id, subject = self.put(shop)
        assert [t["id"] for t in support.list(subject=subject, status="open")["items"]] == [task_id]
        assert support.list(subject=subject, status="resolved")["items"] == []
        support.resolved(task_id, "done")
        assert support.open(subject) == []
        (task,) = support.list(subject=subject, status="resolved")["items"]
        assert (task["outcome"], task["actions"]) == ("done", [])

    def test_what_nobody_waits_for_can_only_be_done(self, shop, support):
        task_id, _ = self.put(shop)
        answer = support.resolve(task_id, "retry")
        assert (answer.status_code, slug(answer)) == (409, "invalid-transition")

    def test_is_resolved_once(self, shop, support):
        task_id, _ = self.put(shop)
        answers = at_once([lambda: support.resolve(task_id, "done")] * 5)
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]

    def test_with_a_key_the_same_bytes_again(self, shop, support):
        task_id, _ = self.put(shop)
        key = {"Idempotency-Key": new_key()}
        first, second = (support.resolve(task_id, "done", "called them", **key) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.content == second.content
        assert second.headers["Idempotency-Replayed"] == "true"

    def test_keeps_who_and_why_and_the_audit_log_who_and_what(self, shop, support):
        task_id, subject = self.put(shop)
        told = support.resolve(task_id, "done", "called Ada: all is well").json()
        assert told["note"] == "called Ada: all is well"
        assert told["closed_by"]["type"] == "staff"
        (row,) = shop.sql("SELECT action, data FROM audit_log WHERE subject = :id", id=task_id)
        assert (row.action, row.data["outcome"], row.data["about"]) == ("task.resolved", "done", subject)
        assert "Ada" not in str(row.data)

    def test_about_money_asks_for_more_than_the_rest(self, shop):
        key = API_KEY_PREFIX + new_key()
        shop.sql(
            "INSERT INTO api_keys (id, name, hint, digest, scopes, created_by)"
            " VALUES (:id, 'test', '', :digest, :scopes, 'test')",
            id=new_id("key"),
            digest=token_digest(key),
            scopes=["orders:write"],
        )
        headers = {"Authorization": f"Bearer {key}"}
        outcomes = {}
        for kind in ("dispute", "confirmation-mail"):
            task_id, _ = self.put(shop, kind)
            answer = shop.post(f"{QUEUE}/{task_id}/resolve", {"outcome": "done"}, headers)
            outcomes[kind] = answer.status_code
        assert outcomes == {"dispute": 403, "confirmation-mail": 200}

    def test_unknown_ones_are_not_found(self, shop, support):
        assert shop.get(f"{QUEUE}/none", support.headers).status_code == 404
        assert support.resolve("none", "done").status_code == 404


def _details(shop, workflow_id):
    async def ask(client):
        return await client.get_workflow_handle(workflow_id).query("__temporal_workflow_metadata")

    found = shop.temporal(ask)
    return found.get("currentDetails", "") if isinstance(found, dict) else found.current_details
