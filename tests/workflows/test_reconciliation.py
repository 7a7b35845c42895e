"""What happens at the provider behind our back is found, and put right or put before a person."""

from __future__ import annotations

from datetime import timedelta

import pytest
import stripe

from deploy.cli.reconcile import trigger
from models.accounts.access import Role
from models.db.repositories.orders import shipments
from models.db.session import Database
from models.ids import new_id, order_workflow
from models.orders.fulfilment import CreateShipment
from models.orders.orders import SYSTEM, LineQuantity
from models.payments.reconciliation import Reconcile, RunState
from tests.fixtures.parcels import ship
from tests.fixtures.reconciliation import balances, differences, payment_of, reconcile
from tests.fixtures.shop import THREE_D_SECURE, eventually, new_key
from workflows import queues
from workflows.reconciliation import Reconciliation


@pytest.fixture(scope="module")
def provider(shop):
    """The provider's own API: whoever has the key can do everything behind our back."""
    return stripe.StripeClient("sk_test_sandbox", base_addresses={"api": shop.world.url})


class TestWhereNothingHappened:
    def test_there_is_no_difference(self, shop):
        order = shop.buyer(quantity=2).buy()
        ship(shop, order, 1)
        waiting = shop.buyer().buy()
        bought = shop.buyer().buy()
        ship(shop, bought)
        headers = {**shop.bearer(Role.SUPPORT), "Idempotency-Key": new_key()}
        shop.post(f"/v1/support/orders/{bought['id']}/refunds", {"reason": "late"}, headers)
        eventually(
            lambda: shop.sql("SELECT 1 FROM refunds WHERE order_id = :id AND state = 'succeeded'", id=bought["id"])
        )
        assert set(reconcile(shop).values()) == {RunState.DONE}
        for each in (order, waiting, bought):
            assert differences(shop, each["id"]) == []

    def test_a_buyer_at_the_bank_is_left_alone(self, shop, world):
        buyer = shop.buyer()
        checkout_id = buyer.checkout(THREE_D_SECURE).json()["checkout_id"]
        reconcile(shop)
        world.authenticate(buyer.cart_id)
        assert buyer.ended(checkout_id)["status"] == "confirmed"

    def test_an_account_that_settles_in_another_currency(self, shop, world):
        """Stripe's balance is in dollars: what the exchange makes of it is nobody's capture."""
        world.post("/stripe/settlement", currency="usd", rates={"eur": 1.08, "jpy": 0.0067})
        try:
            euros = shop.buyer(quantity=2, country="DE").buy()
            ship(shop, euros, 1)
            yen = shop.buyer(country="JP").buy()
            ship(shop, yen)
            reconcile(shop)
            ship(shop, euros, 1)
            reconcile(shop)
        finally:
            world.post("/stripe/settlement", currency=None)
        for order in (euros, yen):
            total = order["totals"]["total"]["amount"]
            assert differences(shop, order["id"]) == []
            assert balances(shop, order) == {"provider_balance": total, "sales": -total}

    def test_lines_in_no_currency_of_the_shop_are_counted(self, shop, provider):
        """Of another product on the same account."""
        provider.v1.payment_intents.create(
            {
                "amount": 500,
                "currency": "gbp",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        )
        assert set(reconcile(shop).values()) == {RunState.DONE}
        (run,) = shop.get("/v1/ops/reconciliations", shop.bearer(Role.SUPPORT), limit=1).json()["items"]
        assert run["skipped"] == 1

    def test_each_run_is_told(self, shop):
        reconcile(shop)
        runs = shop.get("/v1/ops/reconciliations", shop.bearer(Role.SUPPORT), limit=1).json()
        (run,) = runs["items"]
        assert (run["provider"], run["state"]) == ("stripe", "done")
        assert run["movements"] >= 0
        assert runs["next_cursor"]


class TestWhatIsPutRight:
    def test_an_authorisation_whose_checkout_has_ended_is_voided(self, shop, world, provider):
        """Its metadata name an attempt that ended without it."""
        buyer = shop.buyer()
        declined = buyer.checkout("pm_card_visa_chargeDeclined").json()
        checkout_id = declined["checkout_id"]
        intent = authorise(provider, {"checkout_id": checkout_id, "cart_id": buyer.cart_id, "attempt": "9"})
        reconcile(shop)
        assert provider.v1.payment_intents.retrieve(intent.id).status == "canceled"
        ((order_id,),) = shop.sql("SELECT order_id FROM checkouts WHERE id = :id", id=checkout_id)
        assert differences(shop, order_id) == [("orphaned-authorisation", "healed")]

    def test_a_capture_by_hand_is_written_down(self, shop, provider):
        order = shop.buyer(quantity=2).buy()
        total = order["totals"]["total"]["amount"]
        with shop.world.webhooks(mode="drop"):
            provider.v1.payment_intents.capture(payment_of(shop, order).reference)
        reconcile(shop)
        assert differences(shop, order["id"]) == [("capture-unrecorded", "healed")]
        assert balances(shop, order) == {"provider_balance": total, "sales": -total}
        shown = shop.get(f"/v1/orders/{order['id']}", shop.bearer(Role.SUPPORT)).json()
        assert shown["payment_status"] == "captured"
        reconcile(shop)
        assert differences(shop, order["id"]) == [("capture-unrecorded", "healed")]

    def test_a_parcel_whose_process_died_between_the_capture_and_its_recording_goes_out(self, shop, provider):
        order = shop.buyer(quantity=2).buy()
        eventually(lambda: shop.running(order_workflow(order["id"])))
        shop.temporal(lambda client: client.get_workflow_handle(order_workflow(order["id"])).terminate())
        total = order["totals"]["total"]["amount"]
        shipment_id = self.plan(shop, order)
        with shop.world.webhooks(mode="drop"):
            provider.v1.payment_intents.capture(payment_of(shop, order).reference)
        reconcile(shop)
        assert differences(shop, order["id"]) == [("capture-unrecorded", "healed")]
        assert balances(shop, order) == {"provider_balance": total, "sales": -total}
        shown = shop.get(f"/v1/orders/{order['id']}", shop.bearer(Role.SUPPORT)).json()
        assert [shipment["id"] for shipment in shown["shipments"]] == [shipment_id]
        assert shown["status"] == "shipped"

    def plan(self, shop, order):
        """The first step of a parcel, and no more of it."""
        command = CreateShipment(
            order_id=order["id"],
            shipment_id=new_id("shp"),
            lines=[LineQuantity(line_id=line["id"], quantity=line["quantity"]) for line in order["lines"]],
            carrier="ups",
            tracking_number=new_key(),
            actor=SYSTEM,
            cause="test",
        )
        database = Database(shop.settings.database, pool_size=1)
        with database.transaction() as connection:
            shipments.plan_shipment(connection, command)
        database.close()
        return command.shipment_id

    def test_a_refund_by_hand_whose_webhook_was_lost_becomes_the_orders(self, shop, provider):
        order = shop.buyer().buy()
        ship(shop, order)
        with shop.world.webhooks(mode="drop"):
            provider.v1.refunds.create({"payment_intent": payment_of(shop, order).reference, "amount": 700})
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-unrecorded", "healed")]
        eventually(lambda: balances(shop, order)["sales"] == 700 - order["totals"]["total"]["amount"])
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-unrecorded", "healed")]

    def test_a_dispute_whose_webhook_was_lost_is_followed(self, shop):
        order = shop.buyer().buy("pm_card_createDispute")
        with shop.world.webhooks(mode="drop"):
            ship(shop, order)
        reconcile(shop)
        assert differences(shop, order["id"]) == [("dispute-unrecorded", "healed")]
        eventually(lambda: balances(shop, order).get("disputes") == order["totals"]["total"]["amount"])
        reconcile(shop)
        assert differences(shop, order["id"]) == [("dispute-unrecorded", "healed")]


class TestWhatIsAPersons:
    def test_a_payment_that_is_not_ours(self, shop, provider):
        intent = authorise(provider, {})
        taken = provider.v1.payment_intents.create(
            {
                "amount": 500,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            }
        )
        reconcile(shop)
        assert shop.tasks(intent.id) == ["unknown-payment"]
        assert shop.tasks(taken.id) == ["unknown-payment"]
        provider.v1.payment_intents.cancel(intent.id)

    def test_what_the_provider_does_not_know_of(self, shop, provider):
        """Our books say that more was taken."""
        order = shop.buyer(quantity=2).buy()
        ship(shop, order, 1)
        payment = payment_of(shop, order)
        shop.sql(
            "INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)"
            " VALUES ('capture', :id, 'never', 'provider_balance', 'sales', 'USD', 1)",
            id=payment.id,
        )
        reconcile(shop)
        assert differences(shop, order["id"]) == [("capture-missing", "open")]
        assert shop.tasks(order["id"]) == ["capture-missing"]

    def test_a_movement_in_another_currency_than_the_payments(self, shop):
        order = shop.buyer(country="DE", quantity=2).buy()
        ship(shop, order, 1)
        payment = payment_of(shop, order)
        reconcile(shop)
        shop.sql(
            "INSERT INTO provider_movements (provider, reference, kind, payment, currency, amount, at, run_id)"
            " SELECT 'stripe', :reference, 'capture', :payment, 'USD', 400, now(), max(id) FROM reconciliation_runs",
            reference=new_key(),
            payment=payment.reference,
        )
        reconcile(shop)
        assert differences(shop, order["id"]) == [("capture-unrecorded", "open")]
        assert shop.tasks(order["id"]) == ["capture-unrecorded"]
        assert payment_of(shop, order).captured == payment.captured

    def test_a_persons_word_closes_it_for_good(self, shop, provider):
        order = shop.buyer().buy()
        ship(shop, order)
        shop.sql(
            "INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)"
            " VALUES ('refund', :id, 'never', 'sales', 'provider_balance', 'USD', 1)",
            id=payment_of(shop, order).id,
        )
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-missing", "open")]
        ((task_id,),) = shop.sql("SELECT id FROM tasks WHERE subject = :id", id=order["id"])
        answer = shop.post(f"/v1/ops/needs-attention/{task_id}/resolve", {"outcome": "done"}, shop.bearer(Role.SUPPORT))
        assert answer.status_code == 200, answer.text
        assert differences(shop, order["id"]) == [("refund-missing", "closed")]
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-missing", "closed")]

    def test_one_that_goes_by_itself_is_closed_with_its_task(self, shop, provider):
        order = shop.buyer().buy()
        ship(shop, order)
        enter = (
            "INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)"
            " VALUES (:kind, :id, 'never', :debit, :credit, 'USD', 1)"
        )
        payment_id = payment_of(shop, order).id
        shop.sql(enter, kind="refund", id=payment_id, debit="sales", credit="provider_balance")
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-missing", "open")]
        shop.sql(enter, kind="refund_failed", id=payment_id, debit="provider_balance", credit="sales")
        reconcile(shop)
        assert differences(shop, order["id"]) == [("refund-missing", "healed")]
        tasks = shop.sql("SELECT outcome FROM tasks WHERE subject = :id", id=order["id"])
        assert [row.outcome for row in tasks] == ["done"]


class TestTheRun:
    def test_begins_where_the_last_one_ended_less_the_overlap(self, shop):
        reconcile(shop)
        reconcile(shop, overlap_seconds=60)
        runs = "SELECT since, until FROM reconciliation_runs WHERE provider = 'stripe' ORDER BY id DESC LIMIT 2"
        last, before = shop.sql(runs)
        assert last.since == before.until - timedelta(seconds=60)

    def test_goes_on_in_a_new_execution_where_there_is_much_to_settle(self, shop, provider):
        intents = [authorise(provider, {}) for _ in range(3)]
        workflow_id = f"reconciliation/{new_key()}"

        async def run(client):
            command = Reconcile(margin_seconds=0, at_most=1)
            handle = await client.start_workflow(Reconciliation.run, command, id=workflow_id, task_queue=queues.ORDERS)
            ended = await handle.result()
            last = await client.get_workflow_handle(workflow_id).describe()
            return ended, last.run_id != handle.first_execution_run_id

        ended, went_on = shop.temporal(run)
        assert ended["stripe"] is RunState.DONE
        assert went_on
        for intent in intents:
            assert shop.tasks(intent.id) == ["unknown-payment"]
            provider.v1.payment_intents.cancel(intent.id)

    def test_is_scheduled_once_however_many_workers_start(self, shop):
        async def schedules(client):
            return [found.id async for found in await client.list_schedules()]

        assert eventually(lambda: shop.temporal(schedules)) == ["reconciliation"]

    def test_can_be_asked_for_by_command(self, shop):
        ((before,),) = shop.sql("SELECT count(*) FROM reconciliation_runs")
        assert "is triggered" in trigger(shop.settings)
        eventually(lambda: shop.sql("SELECT count(*) AS n FROM reconciliation_runs")[0].n > before)
        eventually(lambda: not shop.sql("SELECT 1 FROM reconciliation_runs WHERE state = 'running'"))


def authorise(provider, metadata):
    """An authorisation that no process of ours has asked for."""
    return provider.v1.payment_intents.create(
        {
            "amount": 4_200,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "capture_method": "manual",
            "confirm": True,
            "metadata": metadata,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
    )
