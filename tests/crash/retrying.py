"""What happens to an order whose payment is refused when its parcel is to leave."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from deploy.proof.crashtest.client import PAUSE, TooLate, insist
from models.ids import payment_retry_workflow
from tests.crash.afterwards import Afterwards

PATIENCE = 120.0
VISA, THREE_D_SECURE = "pm_card_visa", "pm_card_threeDSecure2Required"


def have_it_refused(order: Afterwards) -> None:
    """The bank refuses the capture: the parcel stays."""
    (intent,) = _intents(order)
    match = {"path": f"/v1/payment_intents/{intent['id']}/capture"}
    decline = {"kind": "decline", "code": "insufficient_funds"}
    order.sandbox("/script", {"service": "stripe", "match": match, "outcomes": [decline]})
    body = {"lines": order.all_lines(), "carrier": "ups", "tracking_number": f"1Z{uuid.uuid4().hex[:16].upper()}"}
    order.staff(f"/v1/fulfilment/orders/{order.id}/shipments", body, expected=402)
    order.wait_for(lambda found: found["status"] == "payment_retrying")


def pay_anew(order: Afterwards) -> None:
    """Refused, paid with another card, shipped."""
    have_it_refused(order)
    finish_with_another_card(order)


def finish_with_another_card(order: Afterwards) -> None:
    order.buyer(f"/v1/orders/{order.id}/payment-method", {"method": VISA}, expected=(200, 202))
    order.wait_for(lambda found: found["status"] == "processing")
    order.ship()


def pay_at_the_bank(order: Afterwards) -> None:
    """The bank wants to see the buyer of the other card."""
    order.buyer(f"/v1/orders/{order.id}/payment-method", {"method": THREE_D_SECURE}, expected=202)
    waiting = _until(order, lambda: [i for i in _intents(order) if i["status"] == "requires_action"])
    order.sandbox(f"/stripe/payment_intents/{waiting[0]['id']}/authenticate", {"result": "success"})
    order.wait_for(lambda found: found["status"] == "processing")
    order.ship()


def give_up(order: Afterwards) -> None:
    order.operator("give_up", workflow_id=payment_retry_workflow(order.id))
    order.wait_for(lambda found: found["payment_status"] == "voided")


def be_texted(order: Afterwards) -> None:
    """Nothing was kept, so only the buyer can help, and has a telephone."""
    phone = f"+1415{uuid.uuid4().int % 10**7:07d}"
    engine = create_engine(order.settings.database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE orders SET shipping_address = jsonb_set(shipping_address, '{phone}',"
                " to_jsonb(CAST(:phone AS text))) WHERE id = :id"
            ),
            {"phone": phone, "id": order.id},
        )
    engine.dispose()
    have_it_refused(order)
    _until(order, lambda: _sandbox(order, f"/sms?to=%2B{phone[1:]}"))
    give_up(order)


def _intents(order: Afterwards) -> list[Any]:
    return [i for i in _sandbox(order, "/stripe/payment_intents") if i["metadata"].get("order_id") == order.id]


def _sandbox(order: Afterwards, path: str) -> Any:
    url = order.settings.sandbox_url
    return json.loads(insist(url, "GET", f"/_sandbox{path}", until=time.monotonic() + PATIENCE).raw)


def _until(order: Afterwards, check: Any) -> Any:
    until = time.monotonic() + PATIENCE
    while not (found := check()):
        if time.monotonic() > until:
            raise TooLate(f"{order.id}: it never came true")
        time.sleep(PAUSE)
    return found
