"""Simulated buyers: they click twice, leave at the bank, and repeat a call with the same key."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from api.tokens import Tokens
from deploy.proof.crashtest.client import PAUSE, Body, Response, TooLate, Unanswered, call, insist
from deploy.proof.crashtest.script import PAYPAL, VISA, AtTheBank, Clicks, Visit
from deploy.proof.invariants.facts import ClientResponse
from models.accounts.access import Principal, Role
from models.ids import new_id
from runtime.settings import Settings

ADDRESS = {
    "name": "Ada Buyer",
    "line1": "500 Howard Street",
    "city": "San Francisco",
    "region": "CA",
    "postal_code": "94105",
    "country": "US",
}
SHIPPING = "us-standard"
PATIENCE = 120.0  # seconds that a buyer repeats a call
TRIES = 4  # clicks with a new key, after "the price has changed" and the like
AGAIN = ("request-in-progress", "checkout-in-progress")
ENDS = ("payment-declined", "out-of-stock", "checkout-expired", "cart-completed", "price-changed", "invalid-transition")


@dataclass
class Notebook:
    """All buyers' responses, and unexpected events."""

    responses: list[ClientResponse] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, response: ClientResponse) -> None:
        with self._lock:
            self.responses.append(response)

    def complain(self, what: str) -> None:
        with self._lock:
            self.complaints.append(what)


class Buyer:
    """One visit. `run` returns the order, if there is one."""

    def __init__(
        self, visit: Visit, settings: Settings, tokens: Tokens, notebook: Notebook, patience: float = PATIENCE
    ) -> None:
        self._visit = visit
        self._settings = settings
        self._notebook = notebook
        self._patience = patience
        self._until = time.monotonic() + patience
        self.cart_id = ""
        self.headers: dict[str, str] = {}
        if visit.customer:
            customer = Principal(user_id=new_id("usr"), role=Role.CUSTOMER)
            self.headers["Authorization"] = f"Bearer {tokens.issue(customer)}"

    def run(self) -> Body | None:
        try:
            if not self.fill_cart():
                return None
            answer = self.buy(self._visit.method)
            if answer.slug == "payment-declined" and self._visit.second_try:
                answer = self.buy(VISA)
        except TooLate as error:
            self._notebook.complain(f"buyer {self._visit.number} ({self.cart_id}) was never answered: {error}")
            return None
        order = answer.body.get("order")
        return order if isinstance(order, dict) else None

    # The cart

    def fill_cart(self) -> bool:
        """False when nothing that was wanted is left."""
        cart = self._insist("POST", "/v1/carts", {"currency": "USD", "country": "US"}).body
        self.cart_id = cart["id"]
        if not self._visit.customer:
            self.headers["X-Cart-Token"] = cart["token"]
        path = f"/v1/carts/{self.cart_id}"
        got = [
            self._insist("POST", f"{path}/items", {"sku": sku, "quantity": quantity}).status == 200
            for sku, quantity in self._visit.items
        ]
        email = f"buyer{self._visit.number}.{uuid.uuid4().hex[:8]}@example.com"
        for what, body in (("email", {"email": email}), ("shipping-address", ADDRESS)):
            self._expect_200("PUT", f"{path}/{what}", body)
        if any(got):
            self._expect_200("PUT", f"{path}/shipping-option", {"id": SHIPPING})
        if any(got) and self._visit.code:
            self._insist("POST", f"{path}/discounts", {"code": self._visit.code})  # it may be used up
        return any(got)

    def _expect_200(self, method: str, path: str, body: Body) -> None:
        answer = self._insist(method, path, body)
        if answer.status != 200:
            self._notebook.complain(f"{self.cart_id}: {method} {path} answered {answer.status} {answer.raw[:200]}")

    # The click

    def buy(self, method: str) -> Response:
        """Clicks until a final response; where only the total has changed, again with the new one."""
        self._until = time.monotonic() + self._patience
        for _ in range(TRIES):
            cart = self._insist("GET", f"/v1/carts/{self.cart_id}").body
            body = {
                "cart_id": self.cart_id,
                "expected_total": cart["totals"]["total"],
                "payment": {"provider": "paypal" if method == PAYPAL else "stripe", "method": method},
            }
            answers = self._click(body)
            best = min(answers, key=lambda answer: answer.status)
            if best.slug != "price-changed":
                break
        return best

    def _click(self, body: Body) -> list[Response]:
        key = uuid.uuid4().hex
        match self._visit.clicks:
            case Clicks.ONE:
                return [self._submit(key, body)]
            case Clicks.SAME_KEY:
                keys = [key, key]
            case Clicks.OTHER_KEY:
                keys = [key, uuid.uuid4().hex]
        with ThreadPoolExecutor(2) as hands:
            return list(hands.map(self._submit, keys, [body, body]))

    def _submit(self, key: str, body: Body) -> Response:
        """The final response of this key, with the bank's challenge if it is asked for."""
        headers = {**self.headers, "Idempotency-Key": key}

        def ask() -> Response | None:
            answer = self._recorded(key, call(self._settings.api_url, "POST", "/v1/checkouts", body, headers))
            if answer.status == 202 and answer.body["status"] == "requires_action":
                return self._at_the_bank(key, answer.body)
            return answer if self._is_final(answer) else None

        return self._until_final(ask)

    def _at_the_bank(self, key: str, waiting: Body) -> Response:
        bank = self._visit.bank
        if bank is AtTheBank.LATE:
            time.sleep(self._settings.hold_seconds + 1)
        if bank is not AtTheBank.WALK_AWAY:
            result = "failure" if bank is AtTheBank.FAIL else "success"
            path = f"/_sandbox/{_page(waiting['next_action'])}"
            insist(self._settings.sandbox_url, "POST", path, {"result": result}, until=self._until)
        path = f"/v1/checkouts/{waiting['checkout_id']}"
        come_back = ("POST", f"{path}/resume") if bank is AtTheBank.RETURN else ("GET", path)

        def ask() -> Response | None:
            answer = call(self._settings.api_url, *come_back, headers=self.headers)
            if answer.status in (200, 201) and come_back[0] == "GET":
                live = answer.body["status"] in ("processing", "requires_action")
                return None if live else self._recorded(key, answer)
            return self._recorded(key, answer) if self._is_final(answer) else None

        return self._until_final(ask)

    # Calls

    def _is_final(self, answer: Response) -> bool:
        if answer.status in (200, 201):
            return True
        if answer.status == 202 or answer.status >= 503 or answer.slug in AGAIN:
            return False
        if answer.slug not in ENDS:
            self._notebook.complain(f"{self.cart_id}: unexpected answer {answer.status} {answer.raw[:300]}")
        return answer.status < 500

    def _recorded(self, key: str, answer: Response) -> Response:
        if answer.status != 202:
            raw = answer.raw if answer.status == 201 or "checkout_id" in answer.body else ""
            self._notebook.note(ClientResponse(key, self.cart_id, answer.status, answer.body, raw))
        return answer

    def _until_final(self, ask: Callable[[], Response | None]) -> Response:
        last = "not yet"
        while time.monotonic() < self._until:
            try:
                answer = ask()
                if answer is not None:
                    return answer
            except Unanswered as error:
                last = str(error)
            time.sleep(PAUSE)
        raise TooLate(f"the checkout has no end ({last})")

    def _insist(self, method: str, path: str, body: Any = None) -> Response:
        return insist(self._settings.api_url, method, path, body, self.headers, until=self._until)


def _page(action: Body) -> str:
    """The sandbox's page of the cardholder at the bank, or of the payer at PayPal."""
    if action["type"] == "redirect":
        return f"paypal/orders/{action['redirect_url'].split('token=')[1]}/approve"
    return f"stripe/payment_intents/{action['client_secret'].split('_secret_')[0]}/authenticate"
