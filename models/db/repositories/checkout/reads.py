"""Reads checkouts: for their buyers, and for the cleanup of orphans."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.checkout.checkouts import BeginCheckout, OrphanedCheckout
from models.db.tables.base import one_of
from models.delivery.stored_responses import rfc3339
from models.money import Money
from models.orders import orders
from models.states import LIVE_CHECKOUT, CheckoutStatus


class StoredCheckout(NamedTuple):
    """The API's Checkout and its owner."""

    view: dict[str, Any]
    customer_id: str | None
    token_digest: bytes | None


_READ = text("""
SELECT c.id, c.status, c.next_action, c.decline_code, c.action_expires_at, c.reason, t.token_digest,
    coalesce(c.customer_id, t.customer_id) AS customer_id,  -- a guest's cart may have become a customer's since
    o.document, o.email, o.shipping_address, o.billing_address
FROM checkouts c JOIN carts t ON t.id = c.cart_id LEFT JOIN orders o ON o.checkout_id = c.id
WHERE c.id = :checkout_id
""")


def read(connection: Connection, checkout_id: str) -> StoredCheckout | None:
    """The checkout; None: no such checkout."""
    row = connection.execute(_READ, {"checkout_id": checkout_id}).mappings().first()
    if row is None:
        return None
    view = {"checkout_id": row["id"], "status": row["status"]}
    if row["document"] is not None:
        order = orders.Order.model_validate(row["document"])
        view["order"] = orders.view(order, row["email"], row["shipping_address"], row["billing_address"])
    if row["status"] == CheckoutStatus.REQUIRES_ACTION:
        view |= {"next_action": row["next_action"], "expires_at": rfc3339(row["action_expires_at"])}
    if row["status"] == CheckoutStatus.DECLINED:
        view["decline_code"] = row["decline_code"]
    if row["reason"]:
        view["reason"] = row["reason"]
    digest = row["token_digest"]
    return StoredCheckout(view, row["customer_id"], bytes(digest) if digest is not None else None)


_LIVE = text(f"""
SELECT c.*, p.provider, k.fingerprint FROM checkouts c
LEFT JOIN payments p ON p.checkout_id = c.id
LEFT JOIN kept_answers k ON k.key_digest = c.key_digest
WHERE c.id = :checkout_id AND {one_of("c.status", LIVE_CHECKOUT)}
""")  # noqa: S608  constants


def orphaned(connection: Connection, checkout_id: str) -> OrphanedCheckout | None:
    """A live checkout as stored in its row; None if it has ended."""
    row = connection.execute(_LIVE, {"checkout_id": checkout_id}).mappings().first()
    if row is None:
        return None
    begin = BeginCheckout(
        checkout_id=row["id"],
        order_id=row["order_id"],
        cart_id=row["cart_id"],
        customer_id=row["customer_id"],
        key_digest=row["key_digest"],
        fingerprint=row["fingerprint"] or "",
        request_id="",
        expected_total=Money.of(row["total"], row["currency"]),
        provider=row["provider"] or "",
        method="",
        hold_seconds=0,
        payment_action_seconds=0,
        payment_lookup_seconds=0,
    )
    return OrphanedCheckout(begin=begin, paying=row["provider"] is not None, created_at=row["created_at"])
