"""Carts: a cart and the inputs of its quote are read in two statements; changes lock the cart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from models.addresses import Address
from models.checkout.carts import Cart, CartItem, Rules
from models.checkout.promotions import Promotion
from models.checkout.shipping import ShippingZone
from models.checkout.tax import TaxRate
from models.db.tables.checkout import cart_items, carts
from models.ids import new_id

# One statement: the cart with its items at present prices and stock.
_CART = """
SELECT c.*, coalesce((
    SELECT json_agg(json_build_array(i.id, i.sku, p.title, v.title, i.quantity, vp.amount, i.seen_price,
               CASE WHEN p.status = 'active' THEN coalesce(
                   (SELECT sum(s.on_hand - s.reserved) FROM stock_levels s WHERE s.sku = i.sku), 0) ELSE 0 END)
               ORDER BY i.added_at, i.sku)
    FROM cart_items i
    JOIN variants v ON v.sku = i.sku
    JOIN products p ON p.id = v.product_id
    LEFT JOIN variant_prices vp ON vp.sku = i.sku AND vp.currency = c.currency
    WHERE i.cart_id = c.id), '[]') AS items
FROM carts c WHERE c.id = :cart_id
"""
_READ = text(_CART)

_RULES = text("""
SELECT now() AS now,
    (SELECT json_agg(t) FROM tax_rates t WHERE t.country = :country) AS tax_rates,
    (SELECT json_agg(json_build_object('id', z.id, 'title', z.title, 'places', z.places, 'options', (
        SELECT coalesce(json_agg(json_build_object('id', o.id, 'title', o.title, 'prices', o.prices,
            'free_over', o.free_over, 'min_days', o.min_days, 'max_days', o.max_days)), '[]')
        FROM shipping_options o WHERE o.zone_id = z.id)))
     FROM shipping_zones z WHERE z.places && ARRAY[:place, :country, '*']) AS zones,
    (SELECT json_agg(p ORDER BY array_position(:codes, p.code)) FROM promotions p WHERE p.code = ANY(:codes))
        AS promotions,
    (SELECT json_object_agg(u.promotion_id, u.uses) FROM (
        SELECT promotion_id, count(*) AS uses FROM promotion_uses
        WHERE customer_id = :customer_id GROUP BY promotion_id) u) AS uses
""")


def read_cart(connection: Connection, cart_id: str) -> tuple[Cart, bytes | None] | None:
    """The cart and the digest of its guest's token; None: no such cart."""
    row = connection.execute(_READ, {"cart_id": cart_id}).mappings().first()
    return (_cart(row), bytes(row["token_digest"]) if row["token_digest"] else None) if row else None


def lock_cart(connection: Connection, cart_id: str) -> bool:
    """Locks the cart's row. False: no such cart."""
    return connection.execute(select(carts.c.id).where(carts.c.id == cart_id).with_for_update()).first() is not None


def read_rules(connection: Connection, cart: Cart, codes: list[str] | None = None) -> Rules:
    """The rules for this cart's destination, with `codes` instead of the cart's, if given."""
    country, region = cart.destination
    row = (
        connection.execute(
            _RULES,
            {
                "country": country,
                "place": f"{country}-{region or ''}",
                "codes": list(cart.discount_codes) if codes is None else codes,
                "customer_id": cart.customer_id,
            },
        )
        .mappings()
        .one()
    )
    return Rules(
        now=row["now"],
        tax_rates=[TaxRate(**{**rate, "region": rate["region"] or None}) for rate in row["tax_rates"] or ()],
        zones=[ShippingZone(**zone) for zone in row["zones"] or ()],
        promotions=[Promotion(**promotion) for promotion in row["promotions"] or ()],
        used_by_customer=row["uses"] or {},
    )


def create_cart(
    connection: Connection,
    cart_id: str,
    *,
    currency: str,
    country: str,
    customer_id: str | None,
    token_digest: bytes | None,
) -> None:
    connection.execute(
        insert(carts).values(
            id=cart_id,
            currency=currency,
            country=country,
            customer_id=customer_id,
            token_digest=token_digest,
        )
    )


def change_cart(connection: Connection, cart_id: str, values: Mapping[str, Any], *, seen: int | None = None) -> bool:
    """Sets columns of the cart and increments its version; with `seen`, only if that is the present version."""
    statement = update(carts).where(carts.c.id == cart_id)
    if seen is not None:
        statement = statement.where(carts.c.version == seen)
    changed = connection.execute(statement.values({"version": carts.c.version + 1, "updated_at": func.now(), **values}))
    return changed.rowcount == 1


def with_values(cart: Cart, values: Mapping[str, Any]) -> Cart:
    """The cart as it is after `change_cart`."""
    shown: dict[str, Any] = {
        name: Address(**value) if name.endswith("_address") and value is not None else value
        for name, value in values.items()
    }
    return replace(cart, version=cart.version + 1, **shown)


def put_item(
    connection: Connection, cart_id: str, item_id: str, sku: str, quantity: int, seen_price: int | None
) -> None:
    """Sets the quantity of the SKU's line; a new line is added at the end."""
    statement = upsert(cart_items).values(
        cart_id=cart_id, sku=sku, id=item_id, quantity=quantity, seen_price=seen_price
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[cart_items.c.cart_id, cart_items.c.sku],
            set_={"quantity": quantity, "seen_price": seen_price},
        )
    )


def remove_item(connection: Connection, cart_id: str, item_id: str) -> None:
    connection.execute(delete(cart_items).where(cart_items.c.cart_id == cart_id, cart_items.c.id == item_id))


_VARIANT = text("""
SELECT p.title AS product, v.title AS variant, vp.amount, coalesce(
    (SELECT sum(s.on_hand - s.reserved) FROM stock_levels s WHERE s.sku = v.sku), 0) AS available
FROM variants v JOIN products p ON p.id = v.product_id AND p.status = 'active'
LEFT JOIN variant_prices vp ON vp.sku = v.sku AND vp.currency = :currency
WHERE v.sku = :sku
""")


def find_item(connection: Connection, sku: str, currency: str) -> CartItem | None:
    """A new line for an active product's variant, with quantity 0; None: no such SKU."""
    row = connection.execute(_VARIANT, {"sku": sku, "currency": currency}).first()
    if row is None:
        return None
    return CartItem(
        id=new_id("item"),
        sku=sku,
        title=_title(row.product, row.variant),
        quantity=0,
        unit_price=row.amount,
        seen_price=None,
        available=int(row.available),
    )


def set_codes(connection: Connection, cart_id: str, codes: list[str]) -> None:
    connection.execute(update(carts).where(carts.c.id == cart_id).values(discount_codes=codes))


def _title(product: str, variant: str) -> str:
    return f"{product}, {variant}" if variant and variant != product else product


def _cart(row: Mapping[Any, Any]) -> Cart:
    return Cart(
        id=row["id"],
        version=row["version"],
        customer_id=row["customer_id"],
        currency=row["currency"],
        country=row["country"],
        email=row["email"],
        shipping_address=Address(**row["shipping_address"]) if row["shipping_address"] else None,
        billing_address=Address(**row["billing_address"]) if row["billing_address"] else None,
        shipping_option_id=row["shipping_option_id"],
        discount_codes=tuple(row["discount_codes"]),
        completed_order_id=row["completed_order_id"],
        merged_into=row["merged_into"],
        items=tuple(
            CartItem(
                id=item_id,
                sku=sku,
                title=_title(product, variant),
                quantity=quantity,
                unit_price=price,
                seen_price=seen,
                available=int(available),
            )
            for item_id, sku, product, variant, quantity, price, seen, available in row["items"]
        ),
    )
