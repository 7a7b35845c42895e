"""The warehouse: ships what was bought, whole or in parts, and the carrier delivers it."""

import time
import uuid
from typing import Any

from api.tokens import Tokens
from deploy.crashtest.buyers import PATIENCE, Notebook
from deploy.crashtest.client import PAUSE, Body, Response, TooLate, insist
from models.access import Principal, Role
from models.ids import new_id
from models.settings import Settings


class Warehouse:
    """Every command carries its key and is repeated until it is answered."""

    def __init__(self, settings: Settings, tokens: Tokens, notebook: Notebook) -> None:
        self._settings = settings
        self._notebook = notebook
        clerk = Principal(user_id=new_id("usr"), role=Role.WAREHOUSE)
        self._headers = {"Authorization": f"Bearer {tokens.issue(clerk)}"}

    def ship(self, order: Body, *, in_parts: bool) -> None:
        """Everything of an order leaves and arrives."""
        lines = [{"line_id": line["id"], "quantity": line["quantity"]} for line in order["lines"]]
        parcels = [lines]
        if in_parts and sum(line["quantity"] for line in lines) > 1:
            parcels = _two_parcels(lines)
        try:
            for parcel in parcels:
                body = {"lines": parcel, "carrier": "ups", "tracking_number": f"1Z{uuid.uuid4().hex[:16].upper()}"}
                shipment = self._tell(f"/v1/fulfilment/orders/{order['id']}/shipments", body)
                if shipment.status == 201:
                    self._tell(f"/v1/fulfilment/shipments/{shipment.body['id']}/events", {"status": "delivered"})
        except TooLate as error:
            self._notebook.complain(f"the warehouse was never answered about {order['id']}: {error}")

    def _tell(self, path: str, body: Any) -> Response:
        until = time.monotonic() + PATIENCE
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        while True:
            answer = insist(self._settings.api_url, "POST", path, body, headers, until=until)
            if answer.slug != "request-in-progress":
                break
            time.sleep(PAUSE)
        if answer.status != 201:
            self._notebook.complain(f"POST {path} answered {answer.status} {answer.raw[:300]}")
        return answer


def _two_parcels(lines: list[Body]) -> list[list[Body]]:
    """One unit of the first line, then the rest."""
    first, *others = lines
    rest = [{**first, "quantity": first["quantity"] - 1}] if first["quantity"] > 1 else []
    return [[{**first, "quantity": 1}], [*rest, *others]]
