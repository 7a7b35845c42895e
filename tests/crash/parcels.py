"""What happens to parcels: labels bought and taken back, and parcels that are asked after or never heard of again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from deploy.proof.crashtest.client import PAUSE, TooLate, insist
from models.ids import shipment_workflow
from models.orders.fulfilment import TrackShipment
from tests.crash.afterwards import Afterwards
from workflows import queues
from workflows.failures import DATA_CONVERTER
from workflows.shipment import Shipment

PATIENCE = 120.0


def label(order: Afterwards) -> None:
    """Without a tracking number: the shop buys a label, one."""
    order.shipments.append(order.staff(f"/v1/fulfilment/orders/{order.id}/shipments", {"lines": order.all_lines()}))
    (shipment,) = order.shipments
    assert len(_sandbox(order, f"/carrier/labels?reference={shipment['id']}")) == 1


def ship_by_label(order: Afterwards) -> None:
    label(order)
    order.arrive()


def have_its_capture_refused(order: Afterwards) -> None:
    """The parcel stays, and nobody pays for its label."""
    intents = _sandbox(order, "/stripe/payment_intents")
    (intent,) = [intent["id"] for intent in intents if intent["metadata"].get("order_id") == order.id]
    decline = {"kind": "decline", "code": "card_declined"}
    match = {"path": f"/v1/payment_intents/{intent}/capture"}
    order.sandbox("/script", {"service": "stripe", "match": match, "outcomes": [decline]})
    before = {label["id"] for label in _sandbox(order, "/carrier/labels")}
    order.staff(f"/v1/fulfilment/orders/{order.id}/shipments", {"lines": order.all_lines()}, expected=402)
    bought = [label for label in _sandbox(order, "/carrier/labels") if label["id"] not in before]
    assert any(label["status"] == "voided" for label in bought)  # others pack at the same time
    order.cancel_by_operator()


def be_asked_after(order: Afterwards) -> None:
    """Its carrier's webhooks never come: what it says when it is asked is enough."""
    _follow(order, silent_seconds=3600)
    order.sandbox("/webhooks", {"service": "carrier", "mode": "drop"})
    for shipment in order.shipments:
        path = f"/carrier/parcels/{shipment['tracking_number']}/events"
        order.sandbox(path, {"status": "delivered"})
    order.wait_for(lambda found: found["status"] in ("delivered", "completed"))


def go_missing(order: Afterwards) -> None:
    """Nobody ever hears of it again."""
    _follow(order, silent_seconds=3)
    order.wait_for(lambda found: all(parcel["status"] == "lost" for parcel in found["shipments"]))
    for shipment in order.shipments:
        _see_to(order, "parcel-lost", str(shipment["id"]))


def _see_to(order: Afterwards, kind: str, subject: str) -> None:
    """A person does: exactly one task of that kind is open."""
    path = f"/v1/ops/needs-attention?kind={kind}&subject={subject}"
    (task,) = [task for task in order.look(path)["items"] if task["status"] == "open"]
    order.staff(f"/v1/ops/needs-attention/{task['id']}/resolve", {"outcome": "done"}, expected=200)


def _sandbox(order: Afterwards, path: str) -> Any:
    url = order.settings.sandbox_url
    return json.loads(insist(url, "GET", f"/_sandbox{path}", until=time.monotonic() + PATIENCE).raw)


def _follow(order: Afterwards, *, silent_seconds: float) -> None:
    """The parcels' processes once more, with the patience of a test."""

    async def again(shipment_id: str) -> None:
        client = await Client.connect(
            order.settings.temporal, namespace=order.settings.temporal_namespace, data_converter=DATA_CONVERTER
        )
        workflow_id = shipment_workflow(shipment_id)
        await client.get_workflow_handle(workflow_id).terminate()
        await client.start_workflow(
            Shipment.run,
            TrackShipment(order_id=order.id, shipment_id=shipment_id, poll_seconds=1, silence_seconds=silent_seconds),
            id=workflow_id,
            task_queue=queues.ORDERS,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        )

    until = time.monotonic() + PATIENCE
    for shipment in order.shipments:
        while True:
            try:
                asyncio.run(again(shipment["id"]))
                break
            except (RPCError, RuntimeError, WorkflowAlreadyStartedError) as error:  # not begun yet, or begun again
                if time.monotonic() > until:
                    raise TooLate(f"{shipment['id']} could not be followed: {error}") from error
                time.sleep(PAUSE)
