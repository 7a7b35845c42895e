"""Merges a guest's cart into a customer's. Idempotent, also under concurrent calls."""

from __future__ import annotations

import hmac
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, text

from models.checkout import carts as rules
from models.checkout.carts import Cart
from models.db.repositories.checkout.carts import change_cart, put_item, read_cart
from models.db.tables.base import one_of
from models.db.tables.checkout import cart_items, carts
from models.errors import CartCompleted, CheckoutInProgress, NotFound
from models.states import LIVE_CHECKOUT


class Merged(NamedTuple):
    """The customer's cart, and warnings for the lines that were limited."""

    cart: Cart
    warnings: list[dict[str, Any]]


# One merge at a time per customer: two guest carts at once must not both become the customer's cart.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('cart-merge/' || :customer_id, 0))")

# A cart in a live checkout is excluded: its order is already priced.
_TARGET = text(f"""
SELECT c.id FROM carts g JOIN carts c ON c.currency = g.currency AND c.id <> g.id
WHERE g.id = :guest_cart_id AND c.customer_id = :customer_id AND c.completed_order_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM checkouts k
        WHERE k.cart_id = c.id AND {one_of("k.status", LIVE_CHECKOUT)})
ORDER BY c.created_at DESC, c.id DESC LIMIT 1
""")  # noqa: S608  constants

_GUEST = text(f"""
SELECT c.customer_id, c.token_digest, c.merged_into, c.merge_warnings, c.completed_order_id,
    (SELECT k.id FROM checkouts k WHERE k.cart_id = c.id AND {one_of("k.status", LIVE_CHECKOUT)}) AS checkout
FROM carts c WHERE c.id = :guest_cart_id
""")  # noqa: S608  constants


_SHOWN_IN_WARNING = ("type", "sku", "wanted", "quantity", "available")  # jsonb does not keep the order


def merge(connection: Connection, guest_cart_id: str, token_digest: bytes | None, customer_id: str) -> Merged | None:
    """Merges into the customer's open cart of the same currency; without one the guest's cart becomes the customer's.

    Returns None if the customer's carts changed meanwhile: repeat in a new transaction. Raises NotFound (also for a
    wrong token), CartCompleted, CheckoutInProgress.
    """
    names = {"guest_cart_id": guest_cart_id, "customer_id": customer_id}
    connection.execute(_ONE_AT_A_TIME, names)
    target = connection.execute(_TARGET, names).scalar()
    wanted = [guest_cart_id] if target is None else [guest_cart_id, target]
    connection.execute(select(carts.c.id).where(carts.c.id.in_(wanted)).order_by(carts.c.id).with_for_update())
    guest = connection.execute(_GUEST, names).mappings().first()
    if guest is None:
        raise NotFound("There is no such cart")
    if guest["customer_id"] is not None:  # merged before, perhaps by this call
        return _shown(connection, guest_cart_id, customer_id)
    if token_digest is None or not hmac.compare_digest(bytes(guest["token_digest"]), token_digest):
        raise NotFound("There is no such cart")
    if guest["merged_into"]:
        warnings = [{name: warning[name] for name in _SHOWN_IN_WARNING} for warning in guest["merge_warnings"]]
        return _shown(connection, guest["merged_into"], customer_id, warnings)
    if guest["completed_order_id"]:
        raise CartCompleted(order_id=guest["completed_order_id"])
    if guest["checkout"]:
        raise CheckoutInProgress(checkout_id=guest["checkout"])
    if connection.execute(_TARGET, names).scalar() != target:
        return None
    if target is None:
        change_cart(connection, guest_cart_id, {"customer_id": customer_id, "token_digest": None})
        return _shown(connection, guest_cart_id, customer_id)
    return _shown(connection, target, customer_id, _move(connection, guest_cart_id, target))


def _move(connection: Connection, guest_cart_id: str, target: str) -> list[dict[str, Any]]:
    """Moves the lines; both carts are locked. Returns the warnings."""
    (into, _), (guest, _) = _read(connection, target), _read(connection, guest_cart_id)
    changed, warnings = rules.merge_lines(into.items, guest.items)
    connection.execute(delete(cart_items).where(cart_items.c.cart_id == guest_cart_id))
    for item in changed:
        put_item(connection, target, item.id, item.sku, item.quantity, item.seen_price)
    change_cart(connection, target, rules.merge_details(into, guest))
    change_cart(connection, guest_cart_id, {"merged_into": target, "merge_warnings": warnings})
    return warnings


def _shown(
    connection: Connection, cart_id: str, customer_id: str, warnings: list[dict[str, Any]] | None = None
) -> Merged:
    cart, _ = _read(connection, cart_id)
    if cart.customer_id != customer_id:
        raise NotFound("There is no such cart")
    return Merged(cart, warnings or [])


def _read(connection: Connection, cart_id: str) -> tuple[Cart, bytes | None]:
    found = read_cart(connection, cart_id)
    assert found is not None, "no cart is ever deleted"
    return found
