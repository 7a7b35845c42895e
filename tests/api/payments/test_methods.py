"""Cards kept for later: once each, at the provider only, and gone there too when they are removed."""

from __future__ import annotations

import pytest

from api import paging
from models.accounts.access import Role
from models.ids import new_id, remove_payment_method_workflow, save_payment_method_workflow
from tests.fixtures.cards import DECLINED, PATH, Wallet
from tests.fixtures.record import clean_up
from tests.fixtures.shop import THREE_D_SECURE, VISA, at_once, eventually, new_key, slug

THREE_D_SECURE_TOO = "pm_card_authenticationRequired"
MASTERCARD, AMEX, DISCOVER = "pm_card_mastercard", "pm_card_amex", "pm_card_discover"


@pytest.fixture
def wallet(shop):
    return Wallet(shop)


class TestSaving:
    def test_a_card_is_kept_at_the_provider_for_use_while_its_owner_is_away(self, wallet):
        answer = wallet.save()
        assert answer.status_code == 201, answer.text
        entry = answer.json()
        assert entry["id"].startswith("pm_")
        assert (entry["provider"], entry["status"], entry["default"]) == ("stripe", "saved", True)
        assert entry["card"] == {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034}
        assert wallet.items() == [entry]
        (setup,) = wallet.setups()
        assert (setup["status"], setup["usage"]) == ("succeeded", "off_session")
        assert wallet.attached() == [setup["payment_method"]]
        assert setup["payment_method"] not in answer.text

    def test_the_first_is_the_default_and_another_can_be(self, wallet):
        first, second = wallet.saved(), wallet.saved(MASTERCARD)
        assert (first["default"], second["default"]) == (True, False)
        chosen = wallet.call("PUT", f"/{second['id']}/default")
        assert (chosen.status_code, chosen.json()["default"]) == (200, True)
        assert wallet.call("PUT", f"/{second['id']}/default").status_code == 200
        assert [item["default"] for item in wallet.items()] == [False, True]

    def test_pages(self, wallet):
        ids = [wallet.saved(token)["id"] for token in (VISA, MASTERCARD, AMEX)]
        page = wallet.call("GET", "?limit=2").json()
        rest = wallet.call("GET", f"?limit=2&cursor={page['next_cursor']}").json()
        assert [item["id"] for item in page["items"] + rest["items"]] == ids
        assert rest["next_cursor"] is None
        for cursor in ("x", paging.encode("x", "pm_1"), paging.encode("0001-01-01T00:00:00+14:00", "pm_1")):
            assert wallet.call("GET", f"?cursor={cursor}").status_code == 400
        naive = paging.encode("2020-01-01T00:00:00", "pm_1")
        assert wallet.call("GET", f"?cursor={naive}").status_code == 200

    def test_a_declined_card_is_402_and_not_kept(self, wallet):
        key = new_key()
        answer, again = wallet.save(DECLINED, key=key), wallet.save(DECLINED, key=key)
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"] == "generic_decline"
        assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
        assert wallet.items() == wallet.attached() == []
        assert len(wallet.setups()) == 1

    def test_a_token_that_is_none_points_at_the_method_and_leaves_the_key_free(self, wallet):
        key = new_key()
        answer = wallet.save("pm_nonsense", key=key)
        assert (answer.status_code, slug(answer)) == (422, "payment-method-invalid")
        assert answer.json()["errors"][0]["pointer"] == "/method"
        assert wallet.call("POST", "", {"provider": "stripe", "method": VISA}, Idempotency_Key=key).status_code == 201

    @pytest.mark.parametrize(
        "body",
        [
            {"provider": "stripe"},
            {"provider": "paypal", "method": VISA},
            {"provider": "stripe", "method": ""},
            {"provider": "stripe", "method": "ada@example.com"},
            {"provider": "stripe", "method": "x" * 256},
            {"provider": "stripe", "method": VISA, "default": True},
            {"provider": "stripe", "method": 1},
        ],
    )
    def test_other_bodies_are_422(self, wallet, body):
        assert wallet.call("POST", "", body).status_code == 422
        assert wallet.customers() == []

    def test_at_most_fifty(self, shop, wallet):
        shop.sql(
            "INSERT INTO payment_methods (id, user_id, provider, state, token)"
            " SELECT 'pm_' || :id || n, :id, 'stripe', 'saved', 't' FROM generate_series(1, 50) n",
            id=wallet.person.id,
        )
        answer = wallet.save()
        assert (answer.status_code, slug(answer)) == (409, "conflict")
        assert wallet.customers() == []


class TestOnce:
    def test_the_same_key_gives_the_same_bytes(self, wallet):
        key = new_key()
        first, again = wallet.save(key=key), wallet.save(key=key)
        assert first.status_code == 201
        assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
        assert len(wallet.setups()) == 1
        other = wallet.save(MASTERCARD, key=key)
        assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")

    def test_twenty_at_once_with_one_key_are_one(self, wallet):
        key = new_key()
        answers = at_once([lambda: wallet.save(key=key)] * 20)
        assert {answer.status_code for answer in answers} <= {201, 409}
        final = {answer.content for answer in answers if answer.status_code == 201}
        assert len(final) == 1
        assert len(wallet.setups()) == len(wallet.customers()) == len(wallet.items()) == 1

    def test_another_persons_key_is_another_key(self, shop, wallet):
        key, other = new_key(), Wallet(shop)
        assert wallet.save(key=key).json()["id"] != other.save(key=key).json()["id"]

    def test_the_same_card_again_is_the_same_entry(self, wallet):
        entry = wallet.saved()
        again = wallet.save(key=None)
        assert again.status_code == 201
        assert again.json() == entry
        assert wallet.items() == [entry]
        assert len(eventually(lambda: len(wallet.attached()) == 1 and wallet.attached())) == 1

    def test_the_same_card_at_once_is_one_entry(self, wallet):
        answers = at_once([wallet.save] * 6)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        (item,) = wallet.items()
        (reference,) = eventually(lambda: len(wallet.attached()) == 1 and wallet.attached())
        assert wallet.row(item["id"]).reference == reference
        assert len(wallet.customers()) == 1

    def test_a_card_with_a_later_date_renews_its_entry(self, shop, wallet):
        entry = wallet.saved()
        made = shop.http.post(
            f"{shop.world.url}/v1/payment_methods",
            data={"type": "card", "card[token]": "tok_visa", "card[exp_month]": 1, "card[exp_year]": 2040},
            headers={"Authorization": "Bearer sk_test_sandbox"},
        ).json()
        renewed = wallet.saved(made["id"])
        assert renewed == {**entry, "card": {**entry["card"], "exp_month": 1, "exp_year": 2040}}
        eventually(lambda: wallet.attached() == [made["id"]])

    def test_the_very_token_that_is_kept_stays_kept(self, shop, wallet):
        entry = wallet.saved()
        (reference,) = wallet.attached()
        assert wallet.saved(reference) == entry
        (again,) = shop.sql("SELECT id FROM payment_methods WHERE same_as = :id", id=entry["id"])
        assert wallet.ended(again.id).state == "removed"
        assert wallet.attached() == [reference]

    def test_first_cards_at_once_make_one_customer_and_one_default(self, wallet):
        tokens = [VISA, MASTERCARD, AMEX, DISCOVER]
        answers = at_once([lambda token=token: wallet.save(token) for token in tokens])
        assert [answer.status_code for answer in answers] == [201] * 4
        assert len(wallet.customers()) == 1
        assert sorted(item["default"] for item in wallet.items()) == [False, False, False, True]

    def test_somebody_elses_card_can_not_be_taken(self, shop, wallet):
        entry = wallet.saved()
        (reference,) = wallet.attached()
        thief = Wallet(shop)
        answer = thief.save(reference)
        assert (answer.status_code, slug(answer)) == (422, "payment-method-invalid")
        assert thief.items() == thief.attached() == []
        assert (wallet.items(), wallet.attached()) == ([entry], [reference])


class TestTheBank:
    def test_asks_for_the_owner_and_the_webhook_says_when_it_is_done(self, shop, wallet):
        key = new_key()
        answer = wallet.save(THREE_D_SECURE, key=key)
        assert answer.status_code == 202
        found = answer.json()
        assert (found["status"], found["next_action"]["type"]) == ("requires_action", "use_stripe_sdk")
        assert "_secret_" in found["next_action"]["client_secret"]
        assert found["expires_at"].endswith("Z")
        assert wallet.save(THREE_D_SECURE, key=key).content == answer.content
        assert wallet.items() == []
        wallet.authenticate(found["id"])
        assert wallet.ended(found["id"]).state == "saved"
        (item,) = wallet.items()
        assert (item["id"], item["default"]) == (found["id"], True)
        assert wallet.resume(found["id"]).json() == item
        final = wallet.save(THREE_D_SECURE, key=key)
        assert (final.status_code, final.json()) == (201, item)

    def test_or_the_owner_who_is_back(self, shop, wallet):
        with shop.world.webhooks(mode="drop"):
            found = wallet.save(THREE_D_SECURE, key=None).json()
            waiting = wallet.resume(found["id"])
            assert (waiting.status_code, waiting.json()) == (202, found)
            wallet.authenticate(found["id"])
            back = wallet.resume(found["id"])
        assert (back.status_code, back.json()["status"]) == (200, "saved")

    def test_or_a_look_at_intervals(self, shop):
        wallet = Wallet(shop, url=shop.api(payment_lookup_seconds=0.5))
        with shop.world.webhooks(mode="drop"):
            found = wallet.save(THREE_D_SECURE).json()
            wallet.authenticate(found["id"])
            assert wallet.ended(found["id"]).state == "saved"

    def test_a_failed_authentication_is_declined_and_nothing_can_complete_it(self, shop, wallet):
        key = new_key()
        found = wallet.save(THREE_D_SECURE, key=key).json()
        wallet.authenticate(found["id"], "failure")
        assert wallet.ended(found["id"]).state == "failed"
        answer = wallet.resume(found["id"])
        assert (answer.status_code, slug(answer)) == (402, "payment-declined")
        assert answer.json()["decline_code"] == "setup_intent_authentication_failure"
        assert wallet.save(THREE_D_SECURE, key=key).status_code == 402
        assert [setup["status"] for setup in wallet.setups()] == ["canceled"]
        assert wallet.items() == wallet.attached() == []

    def test_too_late_is_expired_and_cancelled(self, shop):
        wallet = Wallet(shop, url=shop.api(payment_action_seconds=3))
        found = wallet.save(THREE_D_SECURE).json()
        assert wallet.ended(found["id"]).state == "failed"
        answer = wallet.resume(found["id"])
        assert (answer.status_code, slug(answer)) == (409, "setup-expired")
        assert [setup["status"] for setup in wallet.setups()] == ["canceled"]

    def test_what_turns_up_after_the_deadline_is_not_saved(self, shop):
        wallet = Wallet(shop, url=shop.api(payment_action_seconds=3))
        wallet.script({"kind": "reset_connection_after"})
        key = new_key()
        with shop.world.down(method="GET"):
            found = wallet.save(key=key)
        entry = found.json().get("id") or found.json()["payment_method_id"]
        assert wallet.ended(entry, within=60.0).state == "failed"
        answer = wallet.save(key=key)
        assert (answer.status_code, slug(answer)) == (409, "setup-expired")
        eventually(lambda: wallet.attached() == [])
        assert wallet.items() == []

    @pytest.mark.parametrize("end", ["success", "failure"])
    def test_the_banks_secret_is_gone_when_it_is_over(self, shop, wallet, end):
        key = new_key()
        found = wallet.save(THREE_D_SECURE, key=key).json()
        secret = found["next_action"]["client_secret"]
        wallet.authenticate(found["id"], end)
        row = wallet.ended(found["id"])
        assert row.next_action is None
        sql = "SELECT status FROM kept_answers WHERE key_digest = :key AND body LIKE '%' || :secret || '%'"
        assert shop.sql(sql, key=row.key_digest, secret=secret) == []

    def test_webhooks_that_come_early_twice_and_shuffled_do_no_harm(self, shop, wallet):
        with shop.world.webhooks(duplicate=3, shuffle=True):
            found = wallet.save(THREE_D_SECURE).json()
            wallet.authenticate(found["id"])
            assert wallet.ended(found["id"]).state == "saved"
        assert len(wallet.items()) == 1

    def test_a_card_that_waits_is_neither_default_nor_removed(self, wallet):
        found = wallet.save(THREE_D_SECURE).json()
        for method, path in (("PUT", f"/{found['id']}/default"), ("DELETE", f"/{found['id']}")):
            answer = wallet.call(method, path)
            assert (answer.status_code, slug(answer)) == (409, "invalid-transition")

    def test_an_operator_who_cancels_leaves_nothing_behind(self, shop, wallet):
        found = wallet.save(THREE_D_SECURE).json()
        workflow_id = save_payment_method_workflow(found["id"])
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).cancel())
        assert wallet.ended(found["id"]).state == "failed"
        assert [setup["status"] for setup in wallet.setups()] == ["canceled"]

    def test_whose_process_was_terminated_the_sweeper_brings_it_to_its_end(self, shop, wallet):
        key = new_key()
        found = wallet.save(THREE_D_SECURE, key=key).json()
        done = wallet.save(THREE_D_SECURE_TOO).json()
        workflow_ids = [save_payment_method_workflow(entry["id"]) for entry in (found, done)]
        for workflow_id in workflow_ids:
            shop.temporal(lambda client, id_=workflow_id: client.get_workflow_handle(id_).terminate())
        wallet.authenticate(done["id"])
        assert {found["id"], done["id"]} <= set(clean_up(shop))
        assert (wallet.ended(found["id"]).reason, wallet.ended(done["id"]).state) == ("setup-expired", "saved")
        assert wallet.save(THREE_D_SECURE, key=key).status_code == 409
        assert sorted(setup["status"] for setup in wallet.setups()) == ["canceled", "succeeded"]

    def test_the_sweeper_leaves_the_living_alone(self, shop, wallet):
        found = wallet.save(THREE_D_SECURE).json()
        assert found["id"] not in clean_up(shop)

    def test_operators_find_it_by_its_owner_and_state(self, shop, wallet):
        found = wallet.save(THREE_D_SECURE).json()
        query = f'UserId = "{wallet.person.id}" AND PaymentMethodState = "requires_action"'

        async def listed(client):
            return [each.id async for each in client.list_workflows(query)]

        expected = [save_payment_method_workflow(found["id"])]
        assert eventually(lambda: shop.temporal(listed)) == expected


class TestRemoving:
    def test_is_at_once_for_the_owner_and_soon_at_the_provider(self, shop, wallet):
        entry = wallet.saved()
        assert wallet.call("DELETE", f"/{entry['id']}").status_code == 204
        assert wallet.items() == []
        assert wallet.call("DELETE", f"/{entry['id']}").status_code == 404
        assert wallet.call("PUT", f"/{entry['id']}/default").status_code == 404
        assert wallet.resume(entry["id"]).status_code == 404
        row = wallet.ended(entry["id"])
        assert (row.state, row.card, row.card_fingerprint) == ("removed", None, None)
        assert wallet.attached() == []

    def test_the_default_moves_to_the_newest_other_or_to_none(self, wallet):
        first, second, third = (wallet.saved(token)["id"] for token in (VISA, MASTERCARD, AMEX))
        wallet.call("DELETE", f"/{first}")
        assert {item["id"]: item["default"] for item in wallet.items()} == {second: False, third: True}
        wallet.call("DELETE", f"/{second}")
        assert [item["default"] for item in wallet.items()] == [True]
        wallet.call("DELETE", f"/{third}")
        assert wallet.items() == []
        assert wallet.saved(DISCOVER)["default"] is True

    def test_removed_and_saved_again_is_a_new_entry(self, wallet):
        old = wallet.saved()["id"]
        wallet.call("DELETE", f"/{old}")
        new = wallet.saved()["id"]
        assert new != old
        assert wallet.ended(old).state == "removed"
        assert wallet.attached() == [wallet.row(new).reference]

    def test_of_ten_at_once_one_removes_it(self, wallet):
        entry = wallet.saved()
        answers = at_once([lambda: wallet.call("DELETE", f"/{entry['id']}")] * 10)
        assert sorted(answer.status_code for answer in answers) == [204] + [404] * 9

    def test_the_provider_is_told_for_as_long_as_it_takes(self, shop, wallet):
        entry = wallet.saved()
        path = f"/v1/payment_methods/{wallet.row(entry['id']).reference}/detach"
        outcomes = [{"kind": "status_before", "status": 500}, {"kind": "reset_connection_after"}]
        shop.world.post("/script", service="stripe", match={"path": path}, outcomes=outcomes)
        assert wallet.call("DELETE", f"/{entry['id']}").status_code == 204
        assert wallet.ended(entry["id"]).state == "removed"
        assert wallet.attached() == []
        assert shop.tasks(entry["id"]) == []

    def test_what_it_refuses_for_good_becomes_a_persons_task(self, shop, wallet):
        entry = wallet.saved()
        path = f"/v1/payment_methods/{wallet.row(entry['id']).reference}/detach"
        shop.world.post(
            "/script",
            service="stripe",
            match={"path": path},
            outcomes=[{"kind": "status_before", "status": 400}],
            repeat="forever",
        )
        wallet.call("DELETE", f"/{entry['id']}")
        assert eventually(lambda: shop.tasks(entry["id"])) == ["detach-payment-method"]
        assert wallet.items() == []
        shop.world.forget_scripts()

    def test_told_twice_it_is_removed_once(self, shop, wallet):
        entry = wallet.saved()
        wallet.call("DELETE", f"/{entry['id']}")
        wallet.ended(entry["id"])
        shop.sql(
            "INSERT INTO outbox (topic, aggregate, data)"
            " VALUES ('payment_method.removed', :id, jsonb_build_object('payment_method_id', CAST(:id AS text)))",
            id=entry["id"],
        )
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE aggregate = :id", id=entry["id"]))

        async def runs(client):
            query = f'WorkflowId = "{remove_payment_method_workflow(entry["id"])}"'
            return [each.run_id async for each in client.list_workflows(query)]

        assert len(eventually(lambda: shop.temporal(runs))) == 1


class TestWhoseItIs:
    def test_anothers_is_not_found(self, shop, wallet):
        entry = wallet.saved()
        waiting = wallet.save(THREE_D_SECURE).json()
        other = Wallet(shop)
        for payment_method_id in (entry["id"], waiting["id"], "pm_none"):
            assert other.resume(payment_method_id).status_code == 404
            assert other.call("PUT", f"/{payment_method_id}/default").status_code == 404
            assert other.call("DELETE", f"/{payment_method_id}").status_code == 404
        assert other.items() == []
        assert wallet.items() == [entry]

    def test_guests_are_401_and_people_without_an_account_404(self, shop):
        body = {"provider": "stripe", "method": VISA}
        assert shop.post(PATH, body).status_code == 401
        assert shop.post(PATH, body, shop.bearer(Role.CUSTOMER, new_id("usr"))).status_code == 404


class TestWhenTheProviderFails:
    def test_down_is_503_with_nothing_saved_and_the_key_free(self, shop):
        wallet, key = Wallet(shop), new_key()
        with shop.without("sandbox"):
            answer = wallet.save(key=key)
            assert (answer.status_code, slug(answer)) == (503, "provider-unavailable")
            assert "retry-after" in answer.headers
            assert wallet.items() == []
        again = wallet.save(key=key)
        assert again.status_code == 201
        assert [item["id"] for item in wallet.items()] == [again.json()["id"]]
        assert len(wallet.setups()) == 1

    @pytest.mark.parametrize(
        "outcome",
        [
            {"kind": "reset_connection_before"},
            {"kind": "reset_connection_after"},
            {"kind": "status_before", "status": 500},
            {"kind": "status_after", "status": 500},
            {"kind": "timeout_after", "ms": 4000},
        ],
        ids=lambda outcome: outcome["kind"],
    )
    @pytest.mark.parametrize("path", ["/v1/customers", "/v1/setup_intents"])
    def test_what_is_unknown_is_looked_up_and_done_once(self, wallet, path, outcome):
        wallet.script(outcome, path=path)
        answer = wallet.save()
        assert answer.status_code in (201, 202), answer.text
        assert wallet.ended(answer.json()["id"]).state == "saved"
        assert len(wallet.customers()) == len(wallet.attached()) == len(wallet.items()) == 1
        assert len([setup for setup in wallet.setups() if setup["status"] == "succeeded"]) == 1

    def test_a_customer_that_was_deleted_there_is_made_again(self, wallet):
        wallet.saved()
        gone = wallet.lose_customer()
        answers = at_once([lambda token=token: wallet.save(token) for token in (MASTERCARD, AMEX)])
        assert [answer.status_code for answer in answers] == [201, 201]
        assert gone not in wallet.customers()
        assert len(wallet.customers()) == 1
        assert len(wallet.attached()) == 2

    def test_that_goes_on_failing_is_503_and_the_key_free(self, wallet):
        wallet.script({"kind": "status_before", "status": 500}, repeat="forever")
        key = new_key()
        assert wallet.save(key=key).status_code == 503
        wallet.shop.world.forget_scripts()
        assert wallet.save(key=key).status_code == 201

    def test_an_answer_that_takes_too_long_is_202_and_saved_in_the_end(self, shop):
        wallet = Wallet(shop, url=shop.api(checkout_deadline_seconds=1))
        wallet.script({"kind": "delay", "ms": 2000})
        key = new_key()
        answer = wallet.save(key=key)
        assert (answer.status_code, answer.json()["status"]) == (202, "processing")
        entry = answer.json()["id"]
        assert wallet.ended(entry).state == "saved"
        final = wallet.save(key=key)
        assert (final.status_code, final.json()["id"]) == (201, entry)


class TestWhenOursFails:
    def test_without_workers_it_is_503_and_never_begins(self, shop):
        wallet = Wallet(shop, url=shop.api(checkout_deadline_seconds=1))
        key = new_key()
        with shop.without(*shop.workers):
            assert wallet.save(key=key).status_code == 503
        again = eventually(lambda: (answer := wallet.save(key=key)).status_code == 201 and answer)
        assert [item["id"] for item in wallet.items()] == [again.json()["id"]]
        assert len(wallet.setups()) == 1
