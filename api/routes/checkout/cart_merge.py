"""Merges a guest's cart into the customer's after sign-in."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from activities.gateways.secrets import token_digest
from api.auth import CartToken, Person
from api.fields import Id
from api.schemas.responses import CartOut, Problem
from api.services import Services, Shop
from models.checkout import carts as rules
from models.db.repositories.checkout import cart_merge
from models.db.repositories.checkout.cart_merge import Merged

router = APIRouter(prefix="/v1/carts", tags=["carts"], responses={404: {"model": Problem}, 409: {"model": Problem}})


@router.post("/{cart_id}/merge", response_model=CartOut)
def merge_cart(shop: Shop, caller: Person, cart_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """Merges the guest's cart into the customer's newest open one of the same currency, or makes it the customer's.

    Returns the cart, with a `quantity_reduced` warning for each line that got less than wanted. A repeat, also a
    concurrent one, returns the same; for every other route the guest's cart is gone.
    """
    merged, quoted = _merge(shop, cart_id, token_digest(cart_token) if cart_token else None, caller.user_id)
    shown = rules.view(merged.cart, quoted)
    shown["warnings"] += merged.warnings
    return JSONResponse(shown, headers={"ETag": f'"{merged.cart.version}"'})


def _merge(shop: Services, cart_id: str, digest: bytes | None, customer_id: str) -> tuple[Merged, rules.Quote]:
    while True:
        with shop.database.transaction() as connection:
            merged = cart_merge.merge(connection, cart_id, digest, customer_id)
            if merged is not None:
                return merged, rules.quote(merged.cart, shop.rules.read(connection, merged.cart))
