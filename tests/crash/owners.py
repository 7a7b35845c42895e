"""Somebody who has a card kept for later, and goes on asking with the same key until there is a final answer."""

from __future__ import annotations

import time
import uuid

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from api.tokens import Tokens
from deploy.proof.crashtest.buyers import ADDRESS, SHIPPING
from deploy.proof.crashtest.client import Body, Response, TooLate, insist
from deploy.proof.crashtest.script import AtTheBank
from models.accounts.access import Principal, Role
from models.ids import new_id
from runtime.settings import Settings

PATH = "/v1/me/payment-methods"
SKU = "HF-TRAIL-JKT-M-RED"
PAUSE = 0.3


class CardOwner:
    """A new account. `patience` in seconds, for each final answer."""

    def __init__(self, settings: Settings, tokens: Tokens, patience: float) -> None:
        self._settings = settings
        self._patience = patience
        self.user_id = new_id("usr")
        token = tokens.issue(Principal(user_id=self.user_id, role=Role.CUSTOMER))
        self._headers = {"Authorization": f"Bearer {token}"}
        engine = create_engine(settings.database, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO users (id, email, email_key, name, role, verified_at)"
                    " VALUES (:id, :email, :email, 'Owner', 'customer', now())"
                ),
                {"id": self.user_id, "email": f"{self.user_id}@example.com"},
            )
        engine.dispose()

    def lose_the_next_set_up(self) -> None:
        """The provider resets its connection before anything happens."""
        script = {
            "service": "stripe",
            "match": {"path": "/v1/setup_intents", "method": "POST", "metadata": {"user_id": self.user_id}},
            "outcomes": [{"kind": "reset_connection_before"}],
        }
        until = time.monotonic() + self._patience
        insist(self._settings.sandbox_url, "POST", "/_sandbox/script", script, until=until)

    def save(self, token: str, bank: AtTheBank) -> Response:
        """The final answer: 201, 402, or 409 when the bank's patience ended. Raises TooLate."""
        headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
        body = {"provider": "stripe", "method": token}
        been_there = bank is AtTheBank.WALK_AWAY
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            answer = insist(self._settings.api_url, "POST", PATH, body, headers, until=until)
            if answer.status in (201, 402, 422) or answer.slug == "setup-expired":
                return answer
            if answer.body.get("status") == "requires_action" and not been_there:
                self._go_to_the_bank(answer.body, bank, until)
                been_there = True
            time.sleep(PAUSE)
        raise TooLate("no final answer about a card")

    def _go_to_the_bank(self, entry: Body, bank: AtTheBank, until: float) -> None:
        setup = entry["next_action"]["client_secret"].split("_secret_")[0]
        path = f"/_sandbox/stripe/setup_intents/{setup}/authenticate"
        result = "failure" if bank is AtTheBank.FAIL else "success"
        insist(self._settings.sandbox_url, "POST", path, {"result": result}, until=until)
        insist(self._settings.api_url, "POST", f"{PATH}/{entry['id']}/resume", None, self._headers, until=until)

    def buy(self, token: str) -> Response:
        """A purchase whose card is to be kept; the final answer. Raises TooLate."""
        until = time.monotonic() + self._patience
        cart = self._ask("POST", "/v1/carts", {"currency": "USD", "country": "US"}, until).body
        path = f"/v1/carts/{cart['id']}"
        self._ask("POST", f"{path}/items", {"sku": SKU, "quantity": 1}, until)
        self._ask("PUT", f"{path}/email", {"email": f"{self.user_id}@example.com"}, until)
        self._ask("PUT", f"{path}/shipping-address", ADDRESS, until)
        total = self._ask("PUT", f"{path}/shipping-option", {"id": SHIPPING}, until).body["totals"]["total"]
        payment = {"provider": "stripe", "method": token, "save": True}
        body = {"cart_id": cart["id"], "expected_total": total, "payment": payment}
        key = {"Idempotency-Key": uuid.uuid4().hex}
        while time.monotonic() < until:
            answer = self._ask("POST", "/v1/checkouts", body, until, **key)
            if answer.status in (201, 402, 422):
                return answer
            time.sleep(PAUSE)
        raise TooLate("no final answer about a purchase")

    def _ask(self, method: str, path: str, body: Body, until: float, **headers: str) -> Response:
        return insist(self._settings.api_url, method, path, body, {**self._headers, **headers}, until=until)

    def remove(self, payment_method_id: str) -> Response:
        until = time.monotonic() + self._patience
        return insist(self._settings.api_url, "DELETE", f"{PATH}/{payment_method_id}", None, self._headers, until=until)
