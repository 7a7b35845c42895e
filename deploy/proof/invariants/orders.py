"""Orders: exactly one for a cart, no gap in its events, the row their fold, and all responses true."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC

from deploy.proof.invariants.facts import Facts, Row
from models.errors import HoldfastError
from models.orders.events import fold
from models.orders.orders import Event, Order
from models.orders.search_terms import terms_of


def one_order_per_cart(facts: Facts) -> Iterator[str]:
    """A cart becomes one order, through one checkout, and both say so."""
    for name in ("cart_id", "checkout_id", "number"):
        for value, count in Counter(order[name] for order in facts.orders).items():
            if count > 1:
                yield f"{value} has {count} orders"
    completed = {cart["id"]: cart["completed_order_id"] for cart in facts.completed_carts}
    orders = {order["cart_id"]: order["id"] for order in facts.orders}
    for cart_id in sorted(completed.keys() | orders.keys()):
        if completed.get(cart_id) != orders.get(cart_id):
            yield f"{cart_id} says {completed.get(cart_id)}, its order is {orders.get(cart_id)}"


def orders_are_their_checkouts(facts: Facts) -> Iterator[str]:
    """A confirmed checkout is an order of its total, and an order a confirmed checkout."""
    orders = {order["checkout_id"]: order for order in facts.orders}
    for checkout in facts.checkouts:
        order = orders.get(checkout["id"])
        if (checkout["status"] == "confirmed") != (order is not None):
            yield f"{checkout['id']} is {checkout['status']}, its order {order['id'] if order else 'missing'}"
        elif order and (order["id"], order["total"]) != (checkout["order_id"], checkout["total"]):
            yield f"{checkout['id']} is {checkout['order_id']} over {checkout['total']}, not {order['id']}"


def events_have_no_gaps(facts: Facts) -> Iterator[str]:
    """Versions 1 to n, once each; n is the order's version."""
    events = _events(facts)
    for order in facts.orders:
        versions = [event["version"] for event in events.pop(order["id"], [])]
        if versions != list(range(1, order["version"] + 1)):
            yield f"{order['id']} is at version {order['version']}, its events are {versions}"
    for order_id in events:
        yield f"{order_id} has events and no order"


def replay_gives_the_row(facts: Facts) -> Iterator[str]:
    """The fold of the events is the stored document, and the columns are the document's."""
    events = _events(facts)
    for order in facts.orders:
        try:
            folded = fold([_event(row) for row in events.get(order["id"], [])], order["id"])
        except (HoldfastError, ValueError, KeyError) as error:
            yield f"{order['id']} can't be replayed: {error!r}"
            continue
        if folded != _stored(order["document"]):
            yield f"{order['id']}: its document is not the fold of its events"
        for name in (
            "number",
            "version",
            "status",
            "payment_status",
            "customer_id",
            "cart_id",
            "checkout_id",
            "placed_at",
        ):
            if order[name] != getattr(folded, name):
                yield f"{order['id']}: {name} is {order[name]}, its events say {getattr(folded, name)}"
        if (order["total"], order["currency"]) != (folded.totals.total.amount, folded.currency):
            yield f"{order['id']}: total {order['total']}, its events say {folded.totals.total.amount}"


def orders_are_found_by_their_terms(facts: Facts) -> Iterator[str]:
    """The search terms are those of number, products, recipient and e-mail address, with their positions, and no
    others.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in facts.terms:
        rows[row["order_id"]].append(row)
    for order in facts.orders:
        products = [(line["sku"], line["title"]) for line in order["document"].get("lines", ())]
        wanted = {*terms_of(order["number"], products, order["recipient"], order["email"])}
        kept = {(term, row["placed_at"]) for row in rows[order["id"]] for term in row["terms"]}
        if kept != {(term, order["placed_at"]) for term in wanted}:
            yield f"{order['id']}: its search terms differ"


def acknowledged_orders_exist(facts: Facts) -> Iterator[str]:
    """Every order in a response exists, with the total of the response."""
    orders = {order["id"]: order for order in facts.orders}
    for response in facts.responses:
        shown = response.body.get("order")
        if shown is None:
            continue
        order = orders.get(shown["id"])
        if order is None:
            yield f"{response.cart_id} got order {shown['id']}, which does not exist"
        elif (order["total"], order["number"]) != (shown["totals"]["total"]["amount"], shown["number"]):
            yield f"{response.cart_id} got {shown['number']} over {shown['totals']['total']}, not {order['number']}"


def refusals_are_true(facts: Facts) -> Iterator[str]:
    """A checkout whose response was an error is not confirmed."""
    status = {checkout["id"]: checkout["status"] for checkout in facts.checkouts}
    for response in facts.responses:
        checkout_id = response.body.get("checkout_id")
        named_by_another = str(response.body.get("type", "")).endswith("/checkout-in-progress")
        if response.status < 400 or checkout_id is None or named_by_another:
            continue
        if status.get(checkout_id) == "confirmed":
            yield f"{response.cart_id} got {response.status} for {checkout_id}, which is confirmed"


def one_key_has_one_response(facts: Facts) -> Iterator[str]:
    """One key has the same bytes in all final responses of a workflow, except 5xx."""
    answers: dict[str, set[str]] = defaultdict(set)
    for response in facts.responses:
        if response.raw and (
            response.status in (201, 402) or (response.status == 409 and "checkout_id" in response.body)
        ):
            kind = str(response.body.get("type", ""))
            if not kind.endswith(("/checkout-in-progress", "/request-in-progress")):
                answers[response.key].add(response.raw)
    for key, different in answers.items():
        if len(different) > 1:
            yield f"key {key} got {len(different)} answers: {sorted(answer[:120] for answer in different)}"


def stored_responses_are_true(facts: Facts) -> Iterator[str]:
    """A stored response agrees with its checkout's outcome; every ended checkout with a key has one."""
    stored = {row["key_digest"]: row for row in facts.stored_responses}
    attempts = defaultdict(list)
    for checkout in facts.checkouts:
        attempts[checkout["key_digest"]].append(checkout)
    wanted = {"confirmed": 201, "requires_action": 202, "declined": 402, "expired": 409, "processing": None}
    for key_digest, checkouts in attempts.items():
        answer = stored.get(key_digest)
        final = [checkout for checkout in checkouts if not checkout["retryable"]]
        if answer is None:
            if final:
                yield f"no response is stored for {[c['id'] for c in final]}"
            continue
        if not final:
            yield f"a response ({answer['status']}) is stored for {[c['id'] for c in checkouts]}, which may be repeated"
        for checkout in final:
            if checkout["status"] in wanted and answer["status"] != wanted[checkout["status"]]:
                yield f"{checkout['id']} is {checkout['status']}, {answer['status']} is stored"
            if checkout["status"] == "confirmed" and _order_in(answer) != checkout["order_id"]:
                yield f"{checkout['id']} is {checkout['order_id']}, the stored response names {_order_in(answer)}"


def _order_in(answer: Row) -> str | None:
    body = json.loads(answer["body"] or "{}")
    return str(body["order"]["id"]) if "order" in body else None


def _events(facts: Facts) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in facts.events:
        found[row["order_id"]].append(row)
    return found


def _stored(document: Row) -> Order | None:
    """None for a document that is not a valid order."""
    try:
        return Order.model_validate(document)
    except (ValueError, KeyError):
        return None


def _event(row: Row) -> Event:
    return Event.model_validate({**{k: row[k] for k in Event.model_fields}, "at": row["at"].astimezone(UTC)})


OF_ONE_ORDER = (events_have_no_gaps, replay_gives_the_row, orders_are_found_by_their_terms)
"""The invariants of a single order."""
