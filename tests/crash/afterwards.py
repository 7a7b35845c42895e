"""What happens to an order after it was bought, each step repeated with its key until it is answered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from temporalio.client import Client, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError

from api.tokens import Tokens
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.client import PAUSE, Body, Response, TooLate, insist
from models import topics
from models.accounts.access import Principal, Role
from models.db.repositories.delivery import outbox
from models.ids import new_id, order_workflow, return_workflow
from runtime.settings import Settings
from workflows.failures import DATA_CONVERTER


class Afterwards:
    """One order, and everybody who has to do with it. `order` is as it was last read."""

    def __init__(
        self, settings: Settings, tokens: Tokens, notebook: Notebook, buyer: Buyer, order: Body, patience: float
    ) -> None:
        self.settings = settings
        self.order = order
        self.shipments: list[Body] = []
        self.returns: list[Body] = []
        self._buyer = buyer
        self._notebook = notebook
        self._patience = patience
        admin = Principal(user_id=new_id("usr"), role=Role.ADMIN)
        self._staff = {"Authorization": f"Bearer {tokens.issue(admin)}"}

    @property
    def id(self) -> str:
        return str(self.order["id"])

    # As staff, as the buyer, as the outside world

    def staff(self, path: str, body: Any = None, expected: int = 201) -> Body:
        return self._tell(path, body, self._staff, expected)

    def buyer(self, path: str, body: Any = None, expected: int | tuple[int, ...] = 200) -> Body:
        return self._tell(path, body, self._buyer.headers, expected)

    def sandbox(self, path: str, body: Any) -> Body:
        until = time.monotonic() + self._patience
        return insist(self.settings.sandbox_url, "POST", f"/_sandbox{path}", body, until=until).body

    def look(self, path: str) -> Body:
        """As staff see it."""
        until = time.monotonic() + self._patience
        return insist(self.settings.api_url, "GET", path, None, self._staff, until=until).body

    def read(self) -> Body:
        self.order = self.look(f"/v1/orders/{self.id}")
        return self.order

    def wait_for(self, check: Callable[[Body], bool]) -> None:
        until = time.monotonic() + self._patience
        while not check(self.read()):
            if time.monotonic() > until:
                raise TooLate(f"{self.id} never came so far: {self.order['status']}, {self.order['payment_status']}")
            time.sleep(PAUSE)

    def operator(self, update: str, argument: Any = None, workflow_id: str | None = None) -> None:
        """What a person types in the Temporal UI, again where the connection or the worker died under it. `workflow_id`
        unless it is the order's."""
        update_id = uuid.uuid4().hex

        async def tell() -> None:
            client = await Client.connect(
                self.settings.temporal, namespace=self.settings.temporal_namespace, data_converter=DATA_CONVERTER
            )
            handle = client.get_workflow_handle(workflow_id or order_workflow(self.id))
            await handle.execute_update(update, argument or {}, id=update_id)

        until = time.monotonic() + self._patience
        while True:
            try:
                asyncio.run(asyncio.wait_for(tell(), 20))
                return
            except (RPCError, RuntimeError, TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
                if "already completed" in str(error):
                    return  # it was done, its answer died with the worker, and the process has ended since
                if time.monotonic() > until:
                    raise TooLate(f"{update} of {self.id}: {error}") from error
                time.sleep(PAUSE)

    # The steps

    def all_lines(self, quantity: int | None = None) -> list[Body]:
        return [{"line_id": line["id"], "quantity": quantity or line["quantity"]} for line in self.order["lines"]]

    def ship(self, quantity: int | None = None) -> None:
        number = f"1Z{uuid.uuid4().hex[:16].upper()}"
        body = {"lines": self.all_lines(quantity), "carrier": "ups", "tracking_number": number}
        self.shipments.append(self.staff(f"/v1/fulfilment/orders/{self.id}/shipments", body))

    def arrive(self) -> None:
        for shipment in self.shipments:
            self.staff(f"/v1/fulfilment/shipments/{shipment['id']}/events", {"status": "delivered"})

    def deliver(self) -> None:
        self.arrive()
        self.wait_for(lambda order: order["status"] in ("delivered", "completed"))

    def cancel(self) -> None:
        self.buyer(f"/v1/orders/{self.id}/cancel", {"reason": "Changed my mind"})
        self.wait_for(lambda order: order["payment_status"] == "voided")

    def cancel_by_operator(self) -> None:
        self.operator("cancel")
        self.wait_for(lambda order: order["payment_status"] == "voided")

    def cancel_the_rest_by_operator(self) -> None:
        self.operator("cancel_remainder")
        self.wait_for(lambda order: order["payment"]["released"]["amount"] > 0)

    def refund(self) -> None:
        self.staff(f"/v1/support/orders/{self.id}/refunds", {"reason": "Goodwill"})
        self.wait_for(lambda order: all(refund["status"] == "succeeded" for refund in order["refunds"]))

    def announce_return(self) -> None:
        lines = [{**line, "reason": "Too small"} for line in self.all_lines()]
        self.returns.append(self.buyer(f"/v1/orders/{self.id}/returns", {"lines": lines}, 201))

    def receive_return(self) -> None:
        for announced in self.returns:
            self.staff(f"/v1/fulfilment/returns/{announced['id']}/receive", {"restock": True}, expected=200)
        self.wait_for(lambda order: all(back["status"] == "refunded" for back in order["returns"]))

    def receive_return_by_operator(self) -> None:
        self._settle_returns("receive", "refunded")

    def refuse_return_by_operator(self) -> None:
        self._settle_returns("refuse", "refused")

    def _settle_returns(self, update: str, end: str) -> None:
        for announced in self.returns:
            self.operator(update, workflow_id=return_workflow(announced["id"]))
        self.wait_for(lambda order: all(back["status"] == end for back in order["returns"]))

    def let_return_expire(self) -> None:
        """Its time is up now, and its process is told to look at its clock."""
        engine = create_engine(self.settings.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        ids = [announced["id"] for announced in self.returns]
        with engine.connect() as connection:
            connection.execute(text("UPDATE returns SET expires_at = now() WHERE id = ANY(:ids)"), {"ids": ids})
            for return_id in ids:
                event = topics.ReturnChanged(return_id=return_id, order_id=self.id)
                outbox.publish(connection, topics.RETURN_CHANGED, return_id, event)
        engine.dispose()
        self.wait_for(lambda order: all(back["status"] == "expired" for back in order["returns"]))

    def _tell(self, path: str, body: Any, headers: dict[str, str], expected: int | tuple[int, ...]) -> Body:
        until = time.monotonic() + self._patience
        headers = {**headers, "Idempotency-Key": uuid.uuid4().hex}
        while True:
            answer: Response = insist(self.settings.api_url, "POST", path, body, headers, until=until)
            if answer.slug != "request-in-progress":
                break
            time.sleep(PAUSE)
        if answer.status not in ((expected,) if isinstance(expected, int) else expected):
            self._notebook.complain(f"POST {path} answered {answer.status} {answer.raw[:300]}")
        return answer.body
