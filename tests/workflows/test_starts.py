"""An execution looks the same in Temporal whichever process started it: the API, the relay or the sweeper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.ids import order_workflow, payment_retry_workflow, save_payment_method_workflow
from tests.fixtures.cards import Wallet
from tests.fixtures.record import clean_up
from tests.fixtures.retries import Failed
from tests.fixtures.shop import THREE_D_SECURE, eventually
from workflows import starts
from workflows.client import signal, start

ROOMS = ("api", "workers", "workflows", "activities", "deploy")
CALLS = (".start_workflow(", "WithStartWorkflowOperation(", "ScheduleActionStartWorkflow(")


@pytest.fixture
def started(shop):
    """What the first event of an execution says of its start, once there is one."""

    def read(workflow_id):
        async def first_event(client):
            return await anext(client.get_workflow_handle(workflow_id).fetch_history_events())

        event = eventually(lambda: shop.running(workflow_id) and shop.temporal(first_event))
        start = event.workflow_execution_started_event_attributes
        return {
            "type": start.workflow_type.name,
            "queue": start.task_queue.name,
            "task_timeout": start.workflow_task_timeout.ToSeconds(),
            "attributes": {
                key: json.loads(value.data) for key, value in start.search_attributes.indexed_fields.items()
            },
            "summary": json.loads(event.user_metadata.summary.data),
        }

    return read


@pytest.fixture
def terminate(shop):
    def act(workflow_id):
        eventually(lambda: shop.running(workflow_id))
        shop.temporal(lambda client: client.get_workflow_handle(workflow_id).terminate())

    return act


def test_an_order_by_the_relay_and_by_the_api(shop, started, terminate):
    found = Failed(shop, shop.sku(stock=1))
    by_relay = started(order_workflow(found.id))
    terminate(order_workflow(found.id))
    assert found.ship().status_code == 201
    assert started(order_workflow(found.id)) == by_relay
    assert by_relay["attributes"] == {"OrderId": found.id, "OrderStatus": "confirmed"}


def test_a_payment_retry_by_the_relay_and_by_the_api(shop, started, terminate):
    found = Failed(shop, shop.sku(stock=1))
    found.refuse()
    found.waits_for("next_try")
    by_relay = started(payment_retry_workflow(found.id))
    terminate(payment_retry_workflow(found.id))
    assert found.steer("extend").status_code == 200
    assert started(payment_retry_workflow(found.id)) == by_relay
    assert by_relay["attributes"] == {"OrderId": found.id, "PaymentRetryState": "provider"}


def test_a_card_to_save_by_the_api_and_by_the_sweeper(shop, started, terminate):
    wallet = Wallet(shop)
    saving = wallet.save(THREE_D_SECURE).json()["id"]
    workflow_id = save_payment_method_workflow(saving)
    by_api = started(workflow_id)
    match = {"path": f"/v1/setup_intents/{wallet.row(saving).reference}"}
    down = {"kind": "status_before", "status": 503}
    shop.world.post("/script", service="stripe", match=match, outcomes=[down], repeat="forever")
    terminate(workflow_id)
    assert saving in clean_up(shop)
    try:
        assert started(workflow_id) == by_api
    finally:
        shop.world.forget_scripts()
    assert by_api["attributes"] == {"UserId": wallet.person.id, "PaymentMethodState": "saving"}


def test_what_has_completed_is_neither_started_again_nor_signalled(shop):
    wallet = Wallet(shop)
    entry = wallet.saved()["id"]
    wallet.call("DELETE", f"/{entry}")
    assert wallet.ended(entry).state == "removed"
    process = starts.remove_payment_method(entry)
    eventually(lambda: shop.ended(process.id))
    assert shop.temporal(lambda client: start(client, process)) is False
    assert shop.temporal(lambda client: signal(client, process.id, "changed")) is False
    assert shop.temporal(lambda client: signal(client, "no/such", "changed")) is False


def test_nothing_starts_beside_the_table():
    root = Path(__file__).parents[2]
    files = {path for room in ROOMS for path in (root / room).rglob("*.py")} - {root / "workflows" / "client.py"}
    assert len(files) > 100
    assert [path.name for path in files for call in CALLS if call in path.read_text()] == []
