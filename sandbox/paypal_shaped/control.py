"""PayPal's part of the control API: act as the payer, read all objects."""

from collections.abc import Callable
from typing import Any

from sandbox.paypal_shaped import disputes, orders, refunds
from sandbox.paypal_shaped.account import KINDS, Account, shown
from sandbox.paypal_shaped.errors import BadRequest
from sandbox.paypal_shaped.service import PayPalService, shop_ids
from sandbox.store import Row

Action = Callable[[PayPalService, dict[str, Any], Row], Any]  # (service, from the path, body) -> JSON value
LISTS = {f"{kind}s": kind for kind in KINDS}


def _forget_keys(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    return {"forgotten": service.keys.forget()}


def _approve(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    """Acts as the payer: `success`, or `cancel` (also `failure`)."""
    result = _word(body, "result", "success", "cancel", "failure")
    return _seen(service.account, orders.approve(service.account, path["id"], result))


def _settle_refund(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    refund = service.account.get("refund", path["id"])
    return _seen(service.account, refunds.settle(service.account, refund, _word(body, "status", "succeeded", "failed")))


def _open_dispute(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    """Opens a dispute about a capture."""
    return _seen(service.account, disputes.open_for(service.account, service.account.get("capture", path["id"])))


def _settle_dispute(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    dispute = service.account.get("dispute", path["id"].removeprefix("PP-D-"))
    return _seen(service.account, disputes.settle(service.account, dispute, _word(body, "outcome", "won", "lost")))


def _truth(service: PayPalService, path: dict[str, Any], body: Row) -> Any:
    """All objects of a kind, oldest first."""
    if path["kind"] not in LISTS:
        raise BadRequest("UNKNOWN_KIND", f"There are {', '.join(LISTS)}.")
    return [_seen(service.account, row) for row in service.account.rows(LISTS[path["kind"]])]


def _word(body: Row, name: str, *words: str) -> str:
    if set(body) != {name} or body[name] not in words:
        raise BadRequest("INVALID_PARAMETER_VALUE", f"{name} must be one of {', '.join(words)}.")
    return str(body[name])


ACTIONS: tuple[tuple[str, str, Action], ...] = (
    ("POST", "/forget-keys", _forget_keys),
    ("POST", "/orders/{id}/approve", _approve),
    ("POST", "/refunds/{id}/settle", _settle_refund),
    ("POST", "/captures/{id}/dispute", _open_dispute),
    ("POST", "/disputes/{id}/settle", _settle_dispute),
    ("GET", "/{kind}", _truth),
)


def _seen(account: Account, row: Row) -> Row:
    """An object with its metadata; amounts in whole units of the currency's last decimal at PayPal."""
    order = account.get("order", str(row.get("_order", row["id"])))
    captures = account.of("capture", "_order", order["id"])
    if row["_kind"] == "capture":
        captures = [row]
    truth: Row = {
        "amount": row["_amount"],
        "currency": row["_currency"].lower(),
        "amount_received": sum(one["_amount"] for one in captures if one["_took"]),
        "amount_refunded": sum(one["_refunded"] for one in captures),
        "metadata": shop_ids(order["_unit"]),
        "order_id": order["id"],
    }
    if row["_kind"] == "refund":
        truth.update(amount_received=0, amount_refunded=row["_amount"] if row["status"] == "COMPLETED" else 0)
    if row["_kind"] == "order":
        held = account.of("authorization", "_order", order["id"])
        truth["amount_capturable"] = sum(
            one["_amount"] - one["_captured"] for one in held if one["status"] in ("CREATED", "PARTIALLY_CAPTURED")
        )
    whole = orders.render(account, row) if row["_kind"] == "order" else shown(row)
    return {**truth, "id": row["id"], "status": row["status"], "paypal": whole}
