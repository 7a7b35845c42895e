"""What happens to an order after the checkout: shipped, cancelled, held, returned, refunded, partly concurrently."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from api.tokens import Tokens
from deploy.proof.crashtest.buyers import PATIENCE, Notebook
from deploy.proof.crashtest.client import PAUSE, Body, Response, TooLate, insist
from deploy.proof.crashtest.script import After
from models.accounts.access import Principal, Role
from models.ids import new_id
from runtime.settings import Settings

Headers = dict[str, str]


class Aftercare:
    """Commands of warehouse, support and buyer. Each has a key and is repeated until answered."""

    def __init__(self, settings: Settings, tokens: Tokens, notebook: Notebook, patience: float = PATIENCE) -> None:
        self._settings = settings
        self._patience = patience
        self._notebook = notebook
        staff = Principal(user_id=new_id("usr"), role=Role.ADMIN)
        self._staff = {"Authorization": f"Bearer {tokens.issue(staff)}"}

    def live_on(self, order: Body, after: After, buyer: Headers) -> None:
        """`buyer`: the header that identifies its buyer."""
        stories: dict[After, Callable[[], object]] = {
            After.NOTHING: lambda: None,
            After.SHIPPED: lambda: self.ship(order, in_parts=False),
            After.IN_PARTS: lambda: self.ship(order, in_parts=True),
            After.CANCELLED: lambda: self._cancel(order, buyer),
            After.CANCEL_RACES_SHIP: lambda: self._race(order, buyer),
            After.HELD: lambda: self._hold(order),
            After.RETURNED: lambda: self._return(order, buyer),
            After.REFUNDED: lambda: self._refund(order),
        }
        try:
            stories[after]()
        except TooLate as error:
            self._notebook.complain(f"no answer about {order['id']} ({after}): {error}")

    def ship(self, order: Body, *, in_parts: bool) -> None:
        """Ships and delivers the whole order."""
        lines = [{"line_id": line["id"], "quantity": line["quantity"]} for line in order["lines"]]
        parcels = [lines]
        if in_parts and sum(line["quantity"] for line in lines) > 1:
            parcels = _two_parcels(lines)
        for number, parcel in enumerate(parcels):
            shipment = self._staff_tells(*_shipment(order, parcel, labelled=number > 0))
            if shipment.status == 201:
                self._staff_tells(f"/v1/fulfilment/shipments/{shipment.body['id']}/events", {"status": "delivered"})

    def _cancel(self, order: Body, buyer: Headers) -> Response:
        path = f"/v1/orders/{order['id']}/cancel"
        return self._tell(path, {"reason": "Changed my mind"}, buyer, 200, but=("invalid-transition",))

    def _race(self, order: Body, buyer: Headers) -> None:
        """Cancels and ships concurrently: one wins, as money and stock must show."""
        path, body = _shipment(order, [{"line_id": x["id"], "quantity": x["quantity"]} for x in order["lines"]])
        with ThreadPoolExecutor(2) as hands:
            shipping = hands.submit(lambda: self._tell(path, body, self._staff, 201, but=("invalid-transition",)))
            cancelled = self._cancel(order, buyer).status == 200
            shipped = shipping.result().status == 201
        if shipped == cancelled:
            self._notebook.complain(f"{order['id']}: shipped {shipped}, cancelled {cancelled}")

    def _hold(self, order: Body) -> None:
        self._staff_tells(f"/v1/support/orders/{order['id']}/hold", {"reason": "Looks odd"}, 200)
        self._staff_tells(f"/v1/support/orders/{order['id']}/release", {}, 200)
        self.ship(order, in_parts=False)

    def _return(self, order: Body, buyer: Headers) -> None:
        """Returns one unit of the first line, which is refunded unless the window has closed meanwhile."""
        self.ship(order, in_parts=False)
        line = {"line_id": order["lines"][0]["id"], "quantity": 1, "reason": "Too small"}
        late = ("invalid-transition",)
        announced = self._tell(f"/v1/orders/{order['id']}/returns", {"lines": [line]}, buyer, 201, but=late)
        if announced.status == 201:
            self._staff_tells(f"/v1/fulfilment/returns/{announced.body['id']}/receive", {"restock": True}, 200)

    def _refund(self, order: Body) -> None:
        """Requests a full refund twice at once: one succeeds."""
        self.ship(order, in_parts=False)
        path, body = f"/v1/support/orders/{order['id']}/refunds", {"reason": "Goodwill"}

        def ask(_: int) -> int:
            return self._tell(path, body, self._staff, 201, but=("refund-exceeds-balance",)).status

        with ThreadPoolExecutor(2) as hands:
            answers = sorted(hands.map(ask, range(2)))
        if order["totals"]["total"]["amount"] and answers != [201, 409]:
            self._notebook.complain(f"{order['id']}: two refunds of everything were answered {answers}")

    def _staff_tells(self, path: str, body: Any, expected: int = 201) -> Response:
        return self._tell(path, body, self._staff, expected)

    def _tell(self, path: str, body: Any, headers: Headers, expected: int, *, but: tuple[str, ...] = ()) -> Response:
        until = time.monotonic() + self._patience
        headers = {**headers, "Idempotency-Key": uuid.uuid4().hex}
        while True:
            answer = insist(self._settings.api_url, "POST", path, body, headers, until=until)
            if answer.slug != "request-in-progress":
                break
            time.sleep(PAUSE)
        if answer.status != expected and answer.slug not in but:
            self._notebook.complain(f"POST {path} answered {answer.status} {answer.raw[:300]}")
        return answer


def _shipment(order: Body, lines: list[Body], *, labelled: bool = False) -> tuple[str, Body]:
    """`labelled`: the shop buys the label."""
    by_hand = {"carrier": "ups", "tracking_number": f"1Z{uuid.uuid4().hex[:16].upper()}"}
    return f"/v1/fulfilment/orders/{order['id']}/shipments", {"lines": lines, **({} if labelled else by_hand)}


def _two_parcels(lines: list[Body]) -> list[list[Body]]:
    """One unit of the first line, then the rest."""
    first, *others = lines
    rest = [{**first, "quantity": first["quantity"] - 1}] if first["quantity"] > 1 else []
    return [[{**first, "quantity": 1}], [*rest, *others]]
