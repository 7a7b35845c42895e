"""The transactions of a checkout: hold, require action, confirm. Each is idempotent.

The ends without an order are in closing.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.exc import IntegrityError

from models import topics
from models.accounts.accounts import email_key
from models.catalogue.inventory import Movement
from models.checkout.carts import Cart, Quote, chosen_option, quote
from models.checkout.checkouts import ActionRequired, BeginCheckout, ConfirmOrder, RequireAction, StockHeld
from models.db.repositories import ledger
from models.db.repositories.catalogue import inventory
from models.db.repositories.checkout import holds
from models.db.repositories.checkout.carts import lock_cart, read_cart, read_rules
from models.db.repositories.checkout.closing import problem_response
from models.db.repositories.delivery import outbox, stored_responses
from models.db.repositories.orders.search import terms
from models.db.tables.base import one_of
from models.delivery.stored_responses import CommandResponse, StoredResponse, rfc3339
from models.errors import (
    CartCompleted,
    CartIncomplete,
    CheckoutInProgress,
    IdempotencyKeyReused,
    NotFound,
    PriceChanged,
    Unavailable,
)
from models.ids import derived_id, payment_of
from models.ledger import EntryKind
from models.money import Money
from models.orders import orders
from models.orders.events import apply
from models.states import CHECKOUT_TRANSITIONS, LIVE_CHECKOUT, CheckoutStatus, PaymentStatus, advance

_STATE = text(f"""
SELECT
    (SELECT row_to_json(c) FROM checkouts c WHERE c.id = :checkout_id) AS mine,
    (SELECT c.id FROM checkouts c WHERE c.cart_id = :cart_id AND c.id <> :checkout_id
        AND {one_of("c.status", LIVE_CHECKOUT)}) AS other,
    (SELECT k.fingerprint FROM kept_answers k WHERE k.key_digest = :key_digest) AS fingerprint
""")  # noqa: S608  constants

_HOLD = inventory.statement(
    """
WITH checkout AS (
        INSERT INTO checkouts (id, cart_id, order_id, customer_id, status, key_digest, currency, total, snapshot,
            contact, hold_expires_at)
        VALUES (:checkout_id, :cart_id, :order_id, :customer_id, 'processing', :key_digest, :currency, :total,
            CAST(:snapshot AS jsonb), CAST(:contact AS jsonb), now() + make_interval(secs => :hold_seconds))
        RETURNING hold_expires_at),
    response AS (INSERT INTO kept_answers (key_digest, fingerprint) VALUES (:key_digest, :fingerprint)
        ON CONFLICT (key_digest) DO NOTHING),
    payment AS (
        INSERT INTO payments (id, checkout_id, order_id, provider, state, currency, amount, payment_method_id)
        SELECT :payment_id, :checkout_id, :order_id, :provider, 'pending', :currency, :total, :payment_method_id
        WHERE :total > 0),
    wanted AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:quantities AS int[]))
        AS w (sku, location, quantity)),
    held AS (INSERT INTO stock_holds (checkout_id, sku, location, quantity, state)
        SELECT :checkout_id, w.sku, w.location, w.quantity, 'held' FROM wanted w),
    {moved}
SELECT hold_expires_at FROM checkout
""",
    Movement.RESERVE,
    "wanted",
)

_LOCK_PROMOTIONS = text("""
SELECT id FROM promotions WHERE code = ANY(CAST(:codes AS text[])) ORDER BY id FOR UPDATE
""")

_USE_PROMOTIONS = text("""
WITH used AS (UPDATE promotions SET used = used + 1 WHERE id = ANY(CAST(:ids AS text[])) RETURNING id)
INSERT INTO promotion_uses (promotion_id, checkout_id, customer_id)
SELECT id, :checkout_id, :customer_id FROM used
""")


def hold(connection: Connection, begin: BeginCheckout) -> StockHeld:
    """T1: reprices the cart as of now and holds its stock and promotions. Changes nothing if it raises."""
    if not lock_cart(connection, begin.cart_id):
        raise NotFound("There is no such cart")
    state = (
        connection.execute(
            _STATE,
            {"checkout_id": begin.checkout_id, "cart_id": begin.cart_id, "key_digest": begin.key_digest},
        )
        .mappings()
        .one()
    )
    if state["mine"]:
        return _held_before(connection, begin, state["mine"])
    if state["fingerprint"] not in (None, begin.fingerprint):
        raise IdempotencyKeyReused()
    found = read_cart(connection, begin.cart_id)
    assert found is not None
    cart = found[0]
    if cart.merged_into or cart.customer_id != begin.customer_id:
        raise NotFound("The cart has become a customer's since")
    if state["other"]:
        raise CheckoutInProgress(checkout_id=state["other"])
    if cart.discount_codes:  # their limits can't change between check and use
        connection.execute(_LOCK_PROMOTIONS, {"codes": list(cart.discount_codes)})
    rules = read_rules(connection, cart)
    quoted = quote(cart, rules)
    check(cart, quoted, begin.expected_total)
    contact = _contact(cart)
    to = holds.place_of(contact["shipping"])
    taken = holds.lock_stock(connection, {item.sku: item.quantity for item in cart.items}, to)
    expires_at = _HOLD.execute(
        connection,
        {
            **begin.model_dump(include={"checkout_id", "cart_id", "order_id", "customer_id", "key_digest"}),
            "fingerprint": begin.fingerprint,
            "provider": begin.provider,
            "payment_method_id": begin.payment_method_id,
            "hold_seconds": begin.hold_seconds,
            "payment_id": payment_of(begin.checkout_id),
            "currency": cart.currency,
            "total": quoted.total.amount,
            "snapshot": json.dumps(snapshot(begin, cart, quoted)),
            "contact": json.dumps(contact),
            **holds.columns(taken),
        },
    ).scalar_one()
    if quoted.promotions:
        connection.execute(
            _USE_PROMOTIONS,
            {
                "ids": [promotion.id for promotion in quoted.promotions],
                "checkout_id": begin.checkout_id,
                "customer_id": begin.customer_id,
            },
        )
    return StockHeld(
        total=quoted.total,
        payment_id=payment_of(begin.checkout_id) if quoted.total.amount else None,
        expires_at=expires_at,
    )


def check(cart: Cart, quoted: Quote, expected_total: Money) -> None:
    """Checks before the workflow and at the hold. Raises CartCompleted, CartIncomplete, or PriceChanged if the total is
    above `expected_total`."""
    if cart.completed_order_id:
        raise CartCompleted(order_id=cart.completed_order_id)
    if quoted.requirements:
        raise CartIncomplete(
            "Still missing: " + ", ".join(quoted.requirements),
            requirements=list(quoted.requirements),
            errors=[{"pointer": f"/cart/{name}", "detail": "is missing"} for name in quoted.requirements],
        )
    if quoted.total > expected_total:
        raise PriceChanged(totals=quoted.priced.totals.model_dump())


def _held_before(connection: Connection, begin: BeginCheckout, mine: Mapping[str, Any]) -> StockHeld:
    total = Money.of(mine["total"], mine["currency"])
    status = CheckoutStatus(mine["status"])
    live = status in (CheckoutStatus.PROCESSING, CheckoutStatus.REQUIRES_ACTION)
    held = StockHeld(
        total=total,
        payment_id=payment_of(begin.checkout_id) if total.amount else None,
        expires_at=mine["hold_expires_at"] or mine["created_at"],
        repeated=True,
    )
    if live:
        return held
    stored = stored_responses.find(connection, begin.key_digest, begin.fingerprint)
    lost = problem_response(Unavailable(), begin)
    response = CommandResponse(status=stored.status) if stored else CommandResponse(status=lost.status, body=lost.body)
    return held.model_copy(update={"ended": status, "response": response})


def snapshot(begin: BeginCheckout, cart: Cart, quoted: Quote) -> dict[str, Any]:
    """The order's data: the priced cart, without personal data."""
    priced = quoted.priced
    return {
        "customer_id": cart.customer_id,
        "cart_id": cart.id,
        "checkout_id": begin.checkout_id,
        "currency": cart.currency,
        "lines": [
            {
                "id": derived_id("line", begin.order_id, item.sku),
                "sku": item.sku,
                "title": item.title,
                "quantity": item.quantity,
                **line.model_dump(include={"unit_price", "discount", "tax", "total"}),
            }
            for item, line in zip(cart.items, priced.lines, strict=True)
        ],
        "totals": priced.totals.model_dump(),
        "tax_lines": [line.model_dump() for line in priced.tax_lines],
        "discounts": [{"code": d.code, "amount": d.amount.model_dump()} for d in priced.discounts],
        "shipping_option": chosen_option(quoted.option, priced),
    }


def _contact(cart: Cart) -> dict[str, Any]:
    shipping = cart.shipping_address.model_dump() if cart.shipping_address else None
    billing = cart.billing_address.model_dump() if cart.billing_address else shipping
    return {"email": cart.email, "shipping": shipping, "billing": billing}


_REQUIRE_ACTION = text(f"""
WITH waiting AS (
    UPDATE checkouts SET status = 'requires_action', next_action = CAST(:next_action AS jsonb),
        action_expires_at = :expires_at, updated_at = now()
    WHERE id = :checkout_id AND {one_of("status", LIVE_CHECKOUT)} RETURNING id, key_digest),
    payment AS (UPDATE payments p SET state = 'requires_action', reference = :reference
        FROM waiting w WHERE p.checkout_id = w.id AND p.state IN ('pending', 'requires_action')),
    response AS (UPDATE kept_answers k SET status = 202, body = :body FROM waiting w WHERE k.key_digest = w.key_digest)
SELECT id FROM waiting
""")  # noqa: S608  constants


def require_action(connection: Connection, command: RequireAction) -> ActionRequired:
    """Step 3. The row's lock serialises this with the webhook's transaction: one of the two sees the other."""
    answer = StoredResponse.of(
        202,
        {
            "checkout_id": command.checkout_id,
            "status": CheckoutStatus.REQUIRES_ACTION,
            "next_action": command.next_action,
            "expires_at": rfc3339(command.expires_at),
        },
    )
    connection.execute(
        _REQUIRE_ACTION,
        {
            **command.model_dump(include={"checkout_id", "reference", "expires_at"}),
            "next_action": json.dumps(command.next_action),
            "body": answer.body,
        },
    )
    changed = connection.execute(_CHANGED, {"reference": command.reference}).scalar_one()
    return ActionRequired(response=CommandResponse(status=answer.status), changed=changed)


# The events of `requires_action` itself and of `created` are not changes.
_CHANGED = text("""
SELECT EXISTS (SELECT 1 FROM webhook_events WHERE subject = :reference
    AND type NOT IN ('payment_intent.created', 'payment_intent.requires_action'))
""")

_LOCK = text("""
SELECT c.*, now() AS now, nextval('order_numbers') AS number,
    EXISTS (SELECT 1 FROM stock_holds h WHERE h.checkout_id = c.id AND h.state = 'released') AS released
FROM checkouts c WHERE c.id = :checkout_id FOR UPDATE
""")

CONFIRMED = CommandResponse(status=201)

_CONFIRM = outbox.statement(
    f"""
WITH placed AS (
        INSERT INTO orders (id, number, version, status, payment_status, customer_id, cart_id, checkout_id, currency,
            total, document, email, email_key, shipping_address, billing_address, placed_at)
        SELECT c.order_id, :number, 1, 'confirmed', :payment_status, c.customer_id, c.cart_id, c.id, c.currency,
            c.total, CAST(:document AS jsonb), c.contact ->> 'email', :email_key, c.contact -> 'shipping',
            c.contact -> 'billing', :now
        FROM checkouts c WHERE c.id = :checkout_id),
    event AS (INSERT INTO order_events (order_id, version, type, at, actor, cause, data)
        VALUES (:order_id, 1, 'order.confirmed', :now, CAST(:actor AS jsonb), :checkout_id, CAST(:data AS jsonb))),
    found_by AS (INSERT INTO order_terms (term, placed_at, order_id)
        SELECT term, :now, :order_id FROM unnest(CAST(:terms AS text[])) AS term),
    published AS ({{order_confirmed}}),
    allocated AS (UPDATE stock_holds SET state = 'allocated' WHERE checkout_id = :checkout_id AND state = 'held'),
    used AS (UPDATE promotion_uses SET final = true WHERE checkout_id = :checkout_id),
    payment AS (UPDATE payments SET state = 'authorised', reference = :reference WHERE id = :payment_id
        RETURNING id, currency, amount),
    entry AS ({ledger.insert(ledger.entry(EntryKind.AUTHORISE, "payment", ":checkout_id"))}),
    cart AS (UPDATE carts SET completed_order_id = :order_id, version = version + 1, updated_at = now()
        WHERE id = :cart_id),
    checkout AS (UPDATE checkouts SET status = 'confirmed', next_action = NULL, updated_at = now()
        WHERE id = :checkout_id),
    answered AS (UPDATE kept_answers SET status = 201, body = :body WHERE key_digest = :key_digest)
SELECT EXISTS (SELECT 1 FROM stock_holds WHERE checkout_id = :checkout_id AND state = 'released')
""",  # noqa: S608  constants
    order_confirmed=outbox.insert(
        topics.ORDER_CONFIRMED, "SELECT CAST(:order_id AS text), CAST(:published AS jsonb)", trace=":trace"
    ),
)


def confirm(connection: Connection, command: ConfirmOrder, trace: dict[str, str] | None = None) -> CommandResponse:
    """T2: creates the order with its response and messages in one statement. Raises OutOfStock, CartCompleted;
    Unavailable, for a repetition, when the hold was released meanwhile."""
    row = connection.execute(_LOCK, {"checkout_id": command.checkout_id}).mappings().one()
    if row["status"] == CheckoutStatus.CONFIRMED:
        return CONFIRMED
    advance(CHECKOUT_TRANSITIONS, CheckoutStatus(row["status"]), CheckoutStatus.CONFIRMED)
    if row["released"]:
        wanted = {line["sku"]: line["quantity"] for line in row["snapshot"]["lines"]}
        to = holds.place_of(row["contact"]["shipping"])
        holds.reserve_again(connection, command.checkout_id, wanted, to)
    event = _confirmed(row, command)
    order = apply(None, event, command.order_id)
    contact = row["contact"]
    body = {
        "checkout_id": command.checkout_id,
        "status": CheckoutStatus.CONFIRMED,
        "order": orders.view(order, contact["email"], contact["shipping"], contact["billing"]),
    }
    answer = StoredResponse.of(201, body)
    try:
        unallocated = _CONFIRM.execute(
            connection,
            {
                **command.model_dump(include={"checkout_id", "order_id", "payment_id", "reference"}),
                "cart_id": row["cart_id"],
                "key_digest": row["key_digest"],
                "number": order.number,
                "payment_status": order.payment_status,
                "email_key": email_key(contact["email"]) if contact["email"] else None,
                "document": order.model_dump_json(),
                "terms": terms(order, contact["email"], contact["shipping"]),
                "now": row["now"],
                "actor": event.actor.model_dump_json(),
                "data": json.dumps(event.data),
                "published": topics.OrderConfirmed(order_id=command.order_id, number=order.number).model_dump_json(),
                "trace": json.dumps(trace) if trace else None,
                "body": answer.body,
            },
        ).scalar_one()
    except IntegrityError as error:
        if "uq_orders_cart_id" in str(error.orig):
            raise CartCompleted("Another checkout of this cart has become an order") from error
        raise
    if unallocated:  # the lock waited for the hold's expiry, and `released` is from before
        raise Unavailable("The hold ran out while the order was confirmed")
    return CONFIRMED


def _confirmed(row: RowMapping, command: ConfirmOrder) -> orders.Event:
    total = Money.of(row["total"], row["currency"])
    zero = Money.zero(row["currency"])
    paid = command.payment_id is not None
    status = PaymentStatus.AUTHORISED if paid else PaymentStatus.NOT_REQUIRED
    customer = row["customer_id"]
    return orders.Event(
        version=1,
        type=orders.ORDER_CONFIRMED,
        at=row["now"],
        actor=orders.Actor(type="customer" if customer else "guest", id=customer),
        cause=command.checkout_id,
        data={
            **row["snapshot"],
            "number": f"HF-{row['number']}",
            "payment_status": str(status),
            "payment": {
                "id": command.payment_id,
                "provider": command.provider if paid else None,
                "authorised": total.model_dump(),
                "captured": zero.model_dump(),
                "refunded": zero.model_dump(),
            },
        },
    )
