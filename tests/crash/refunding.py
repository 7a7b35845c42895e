"""What becomes of an order's refunds beside the ordinary: the bank sends one back, somebody makes one by hand."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from deploy.proof.crashtest.client import insist
from tests.crash.afterwards import Afterwards

PATIENCE = 120.0


def have_a_refund_sent_back(order: Afterwards) -> None:
    """It had succeeded; a person is asked what to do."""
    order.refund()
    (refund,) = [made for made in _sandbox(order, "refunds") if made["metadata"].get("order_id") == order.id]
    order.sandbox(f"/stripe/refunds/{refund['id']}/settle", {"status": "failed"})
    order.wait_for(lambda found: [refund["status"] for refund in found["refunds"]] == ["failed"])


def try_it_again(order: Afterwards) -> None:
    """So says the person, in the queue."""
    (refund,) = order.order["refunds"]
    path = f"/v1/ops/needs-attention?status=open&kind=refund-failed&subject={refund['id']}"
    (task,) = order.look(path)["items"]
    order.staff(f"/v1/ops/needs-attention/{task['id']}/resolve", {"outcome": "retry"}, expected=200)
    order.wait_for(lambda found: [refund["status"] for refund in found["refunds"]] == ["succeeded"])


def refund_at_the_provider(order: Afterwards) -> None:
    """Somebody at Stripe's dashboard; the books follow."""
    (intent,) = [made for made in _sandbox(order, "payment_intents") if made["metadata"].get("order_id") == order.id]
    answer = httpx.post(
        f"{order.settings.sandbox_url}/v1/refunds",
        data={"payment_intent": intent["id"], "amount": "100"},
        headers={"Authorization": f"Bearer {order.settings.stripe_api_key.get_secret_value()}"},
    )
    assert answer.status_code == 200, answer.text
    order.wait_for(lambda found: [refund["status"] for refund in found["refunds"]] == ["succeeded"])


def _sandbox(order: Afterwards, kind: str) -> Any:
    url = f"/_sandbox/stripe/{kind}"
    return json.loads(insist(order.settings.sandbox_url, "GET", url, until=time.monotonic() + PATIENCE).raw)
