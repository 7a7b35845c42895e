"""Places one order through the HTTP API, which shows that a stack works end to end."""

import http.client
import json
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

from deploy.errors import StackError
from runtime.settings import Settings

EMAIL = "demo.buyer@holdfast.example"
ADDRESS = {
    "name": "Demo Buyer",
    "line1": "500 Howard Street",
    "city": "San Francisco",
    "region": "CA",
    "postal_code": "94105",
    "country": "US",
    "phone": "+14155550123",
}
REMEDY = "is the shop up (`make run`)? see the logs of api and workers in the data folder"


@dataclass(frozen=True)
class DemoOrder:
    order_id: str
    number: str
    cart_token: str
    total: str

    @property
    def summary(self) -> str:
        return f"Order {self.number} over {self.total} is confirmed; its mail is in the sandbox's inbox."


class Shop:
    """The calls of a buyer. Raises StackError with the call for every unexpected response."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._headers = {"Content-Type": "application/json"}

    def as_guest(self, cart_token: str) -> None:
        self._headers["X-Cart-Token"] = cart_token

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  our own address
            self._base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read(2000).decode(errors="replace")
            raise StackError(f"the demo order met {error.code} at {method} {path} ({text})", REMEDY) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise StackError(f"the demo order failed at {method} {path} ({error})", REMEDY) from None
        assert isinstance(found, dict)
        return found


def place(settings: Settings) -> DemoOrder:
    shop = Shop(settings.api_url)
    sku = _in_stock(shop)
    cart = shop.call("POST", "/v1/carts", {"currency": "USD", "country": "US"})
    shop.as_guest(cart["token"])
    path = f"/v1/carts/{cart['id']}"
    shop.call("POST", f"{path}/items", {"sku": sku, "quantity": 1})
    shop.call("PUT", f"{path}/email", {"email": EMAIL})
    shop.call("PUT", f"{path}/shipping-address", ADDRESS)
    options = shop.call("GET", f"{path}/shipping-options")["items"]
    priced = shop.call("PUT", f"{path}/shipping-option", {"id": options[0]["id"]})
    order = _pay(shop, cart["id"], priced["totals"]["total"])
    total = order["totals"]["total"]
    return DemoOrder(order["id"], order["number"], cart["token"], f"{total['amount'] / 100:.2f} USD")


def _in_stock(shop: Shop) -> str:
    for product in shop.call("GET", "/v1/products?in_stock=true&limit=20")["items"]:
        for variant in product["variants"]:
            if variant["available"] > 0:
                return str(variant["sku"])
    raise StackError("the demo order found nothing in stock", "start over with `make reset`")


def _pay(shop: Shop, cart_id: str, total: dict[str, Any]) -> dict[str, Any]:
    answer = shop.call(
        "POST",
        "/v1/checkouts",
        {
            "cart_id": cart_id,
            "expected_total": total,
            "payment": {"provider": "stripe", "method": "pm_card_visa"},
        },
        **{"Idempotency-Key": str(uuid.uuid4())},
    )
    order = answer.get("order")
    if not isinstance(order, dict) or order["status"] != "confirmed":
        raise StackError(f"the demo order ended as {answer.get('status')}", REMEDY)
    return order
