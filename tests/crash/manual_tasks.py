"""An order whose undo a person has to finish, and the comparison of the provider's list with the books."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import httpx
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from deploy.proof.crashtest.client import PAUSE, TooLate, insist
from models.payments.reconciliation import Reconcile, RunState
from tests.crash.afterwards import Afterwards
from workflows import queues
from workflows.failures import DATA_CONVERTER
from workflows.reconciliation import Reconciliation

PATIENCE = 400.0
HOUR = 3600.0


def be_let_go_of_by_a_person(order: Afterwards) -> None:
    """The provider refuses once, and for good as far as it says; a person has it tried again."""
    script = {
        "service": "stripe",
        "match": {"path": f"/v1/payment_intents/{_intent(order)}/cancel"},
        "outcomes": [{"kind": "status_before", "status": 400}],
    }
    order.sandbox("/script", script)
    order.buyer(f"/v1/orders/{order.id}/cancel", {"reason": "Changed my mind"})
    path = f"/v1/ops/needs-attention?status=open&subject={order.id}"
    until = time.monotonic() + PATIENCE
    while not (found := order.look(path)["items"]):
        if order.read()["payment_status"] == "voided":
            return  # the refusal was lost with a worker, and the next try needed nobody
        if time.monotonic() > until:
            raise TooLate("nobody was asked")
        time.sleep(PAUSE)
    order.staff(f"/v1/ops/needs-attention/{found[0]['id']}/resolve", {"outcome": "retry"}, expected=200)
    order.wait_for(lambda now: now["payment_status"] == "voided")


def be_reconciled(order: Afterwards) -> None:
    """Among all others, of which nothing is old enough to be judged."""
    _reconcile(order, HOUR)


def have_another_authorisation(order: Afterwards) -> None:
    """At the provider, of the order's own checkout; no process of ours knows of it."""
    answer = httpx.post(
        f"{order.settings.sandbox_url}/v1/payment_intents",
        data={
            "amount": "4200",
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "capture_method": "manual",
            "confirm": "true",
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
            "metadata[checkout_id]": order.order["checkout_id"],
        },
        headers={"Authorization": f"Bearer {order.settings.stripe_api_key.get_secret_value()}"},
    )
    assert answer.status_code == 200, answer.text


def have_it_found(order: Afterwards) -> None:
    """And voided."""
    _reconcile(order, 0.0)


def _reconcile(order: Afterwards, margin: float) -> None:
    workflow_id = f"reconciliation/{uuid.uuid4().hex}"

    async def run() -> dict[str, RunState]:
        client = await Client.connect(
            order.settings.temporal, namespace=order.settings.temporal_namespace, data_converter=DATA_CONVERTER
        )
        handle = await client.start_workflow(
            Reconciliation.run,
            Reconcile(margin_seconds=margin),
            id=workflow_id,
            task_queue=queues.ORDERS,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return await handle.result()

    until = time.monotonic() + PATIENCE
    while True:
        try:
            ended = asyncio.run(asyncio.wait_for(run(), until - time.monotonic()))
            assert set(ended.values()) == {RunState.DONE}, ended
            return
        except (RPCError, RuntimeError, TimeoutError) as error:
            if time.monotonic() > until:
                raise TooLate(f"reconciliation: {error}") from error
            time.sleep(PAUSE)


def _intent(order: Afterwards) -> Any:
    url = "/_sandbox/stripe/payment_intents"
    found = json.loads(insist(order.settings.sandbox_url, "GET", url, until=time.monotonic() + PATIENCE).raw)
    return next(made["id"] for made in found if made["metadata"].get("order_id") == order.id)
