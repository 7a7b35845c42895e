"""A buyer: six calls from an empty cart to an order, each of them timed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from bench.wire import Wire

ADDRESS = json.dumps(
    {
        "name": "Bench Buyer",
        "line1": "500 Howard Street",
        "city": "San Francisco",
        "region": "CA",
        "postal_code": "94105",
        "country": "US",
        "phone": "+14155550123",
    }
)
OPTION = json.dumps({"id": "us-standard"})


class Unexpected(Exception):
    """An unexpected response."""


class Buyer:
    """One purchase. `seconds` says how long each step took."""

    def __init__(self, wire: Wire, sku: str, number: int) -> None:
        self._wire = wire
        self._sku = sku
        self._number = number
        self._path = ""
        self._token = ""
        self._cart: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.checkout_id = ""
        self.order_id = ""

    @property
    def steps(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """The calls in order; the API requires an e-mail address before a checkout."""
        return {
            "create": self._create,
            "item": self._item,
            "email": self._email,
            "address": self._address,
            "option": self._option,
            "checkout": self._checkout,
        }

    async def buy(self) -> None:
        """The whole sequence."""
        for step in self.steps:
            await self.take(step)

    async def fill(self) -> None:
        """All but the checkout."""
        for step in list(self.steps)[:-1]:
            await self.take(step)

    async def take(self, step: str) -> None:
        began = time.perf_counter()
        await self.steps[step]()
        self.seconds[step] = time.perf_counter() - began

    async def _create(self) -> None:
        cart = json.loads(await self._call("POST", "/v1/carts", '{"currency":"USD","country":"US"}', 201))
        self._path = f"/v1/carts/{cart['id']}"
        self._token = f"X-Cart-Token: {cart['token']}\r\n"

    async def _item(self) -> None:
        await self._call("POST", f"{self._path}/items", json.dumps({"sku": self._sku, "quantity": 1}))

    async def _email(self) -> None:
        await self._call("PUT", f"{self._path}/email", json.dumps({"email": f"buyer{self._number}@bench.example"}))

    async def _address(self) -> None:
        await self._call("PUT", f"{self._path}/shipping-address", ADDRESS)

    async def _option(self) -> None:
        self._cart = json.loads(await self._call("PUT", f"{self._path}/shipping-option", OPTION))

    async def _checkout(self) -> None:
        body = {
            "cart_id": self._cart["id"],
            "expected_total": self._cart["totals"]["total"],
            "payment": {"provider": "stripe", "method": "pm_card_visa"},
        }
        key = f"Idempotency-Key: {uuid.uuid4()}\r\n"
        answer = json.loads(await self._call("POST", "/v1/checkouts", json.dumps(body), 201, key))
        self.checkout_id, self.order_id = answer["checkout_id"], answer["order"]["id"]

    async def _call(self, method: str, path: str, body: str, expected: int = 200, headers: str = "") -> bytes:
        status, answer = await self._wire.call(method, path, body, self._token + headers)
        if status != expected:
            raise Unexpected(f"{status} at {method} {path}: {answer[:300].decode(errors='replace')}")
        return answer
