"""Money: the provider's records agree with the ledger, and each payment belongs to exactly one order."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts, Row
from models.money import SMALLEST
from models.orders.orders import Order

# The states that an intent may have, by the state of our payment.
_MATCHES = {
    "authorised": {"requires_capture"},
    "captured": {"requires_capture", "succeeded", "canceled"},  # cancelled: the rest was released
    "voided": {"canceled"},
    "declined": {"requires_payment_method", "canceled"},
    "refunded": {"succeeded"},
}
_UNDECIDED = ("requires_action", "requires_confirmation", "processing")


def is_live(intent: Row) -> bool:
    """Authorised or captured, and not voided or refunded in full."""
    return bool(intent["status"] == "requires_capture" or intent["amount_received"] > intent["amount_refunded"])


def at_most_one_capture_per_checkout(facts: Facts) -> Iterator[str]:
    """One click is at most one charge. At most one replacement payment may be capturable at a time."""
    for checkout_id, intents in _by_checkout(facts).items():
        clicked = [intent for intent in intents if is_live(intent) and not _stands_in(intent)]
        promised = [intent for intent in intents if intent["status"] == "requires_capture"]
        for live in (clicked, promised):
            if len(live) > 1:
                yield f"{checkout_id} is paid {len(live)} times: {', '.join(intent['id'] for intent in live)}"


def every_payment_has_its_order(facts: Facts) -> Iterator[str]:
    """A live payment belongs to exactly one order, with the same amount; a replacement payment is over what was left of
    the failed one.
    """
    orders = {order["checkout_id"]: order for order in facts.orders}
    for checkout_id, intents in _by_checkout(facts).items():
        for intent in filter(is_live, intents):
            order = orders.get(checkout_id)
            amount = intent["amount"], intent["currency"].upper()
            if order is None:
                yield f"{intent['id']} ({amount}) of {checkout_id} is paid and has no order"
            elif amount != (order["total"], order["currency"]) and not _stands_in(intent):
                yield f"{intent['id']} holds {amount}, {order['id']} costs {order['total']} {order['currency']}"
        order = orders.get(checkout_id)
        received = sum(intent["amount_received"] for intent in intents)
        if order is not None and received > order["total"]:
            yield f"{order['id']} costs {order['total']}, {received} was taken"


def every_order_is_paid(facts: Facts) -> Iterator[str]:
    """Every order with a total has a live payment (or several, one after another), which its payment rows name. An
    order that waits for its payment has none that could still be captured.
    """
    intents = _by_checkout(facts)
    rows = defaultdict(set)
    for payment in facts.payments:
        if payment["state"] in ("authorised", "captured"):
            rows[payment["checkout_id"]].add(payment["reference"])
    for order in facts.orders:
        if not order["total"] or order["payment_status"] in ("voided", "refunded"):
            continue
        live = {intent["id"]: intent["status"] for intent in intents[order["checkout_id"]] if is_live(intent)}
        booked = rows[order["checkout_id"]]
        waits = order["status"] == "payment_retrying"
        if not (live.keys() <= booked if waits else live and live.keys() <= booked):
            yield f"{order['id']} is paid by {sorted(live)}, its payment rows say {sorted(booked)}"
        if waits and "requires_capture" in live.values():
            yield f"{order['id']} waits for its payment, and {sorted(live)} could be taken"


def nothing_is_undecided_at_the_provider(facts: Facts) -> Iterator[str]:
    """No payment waits for a buyer whose checkout has ended, unless it is being retried: it could be captured."""
    waiting = {checkout["id"] for checkout in facts.checkouts if checkout["status"] == "requires_action"}
    waiting |= {order["checkout_id"] for order in facts.orders if order["status"] == "payment_retrying"}
    for intent in facts.intents:
        if intent["status"] in _UNDECIDED and intent["metadata"].get("checkout_id") not in waiting:
            yield f"{intent['id']} of {intent['metadata'].get('checkout_id')} is still {intent['status']}"


def payments_are_what_the_provider_says(facts: Facts) -> Iterator[str]:
    """State, amount and captured amount of each payment row are its intent's; without an intent nothing happened."""
    intents = {intent["id"]: intent for intent in facts.intents}
    live = {checkout["id"] for checkout in facts.checkouts if checkout["status"] in ("processing", "requires_action")}
    failed = _awaiting_payment(facts)  # the ledger keeps the authorisation until it is replaced
    for payment in facts.payments:
        if payment["checkout_id"] in live:
            continue
        intent = intents.get(payment["reference"] or "")
        if intent is None:
            if payment["state"] not in ("voided", "declined") or payment["reference"]:
                yield f"{payment['id']} is {payment['state']} ({payment['reference']}), unknown to the provider"
            continue
        let_go = payment["order_id"] in failed and intent["status"] == "canceled"
        if intent["status"] not in _MATCHES.get(payment["state"], set()) and not let_go:
            yield f"{payment['id']} is {payment['state']}, {intent['id']} {intent['status']}"
        if (payment["amount"], payment["currency"]) != (intent["amount"], intent["currency"].upper()):
            yield f"{payment['id']} is over {payment['amount']}, {intent['id']} over {intent['amount']}"
        if payment["state"] != "refunded" and payment["captured"] != intent["amount_received"]:
            yield f"{payment['id']}: {payment['captured']} captured, {intent['id']} took {intent['amount_received']}"


def ledger_is_balanced(facts: Facts) -> Iterator[str]:
    """By payment, open authorisations and balances are what the payment and its refunds say; each account has its
    counterpart.
    """
    accounts = _accounts(facts)
    given = Counter[str]()
    for part in facts.refund_parts:
        given[part["payment_id"]] += part["amount"] if part["state"] == "succeeded" else 0
    for payment in facts.payments:
        found = accounts[payment["id"]]
        kept = payment["captured"] - given[payment["id"]]
        ordered = payment["state"] in ("authorised", "captured")
        promised = payment["amount"] - payment["captured"] - payment["released"] if ordered else 0
        for account, counterpart, due in (
            ("provider_authorised", "authorisations", promised),
            ("provider_balance", "sales", kept),
        ):
            if found[account] != due or found[counterpart] != -due:
                yield (
                    f"{payment['id']} ({payment['state']}): {account} {found[account]}, {counterpart} "
                    f"{found[counterpart]} where {due} is due"
                )
    for entry in facts.ledger:
        if entry["amount"] <= 0 or entry["debit"] == entry["credit"]:
            yield f"entry {entry['id']} moves {entry['amount']} from {entry['credit']} to {entry['debit']}"


def ledger_is_what_the_provider_says(facts: Facts) -> Iterator[str]:
    """Over all payments of a currency, the open authorisations are what may be captured, the balance what was received
    and not refunded.
    """
    currency = {payment["id"]: payment["currency"] for payment in facts.payments}
    failed = _awaiting_payment(facts)
    let_go = {payment["id"] for payment in facts.payments if payment["order_id"] in failed}
    books, provider = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for payment_id, accounts in _accounts(facts).items():
        for account in ("provider_authorised", "provider_balance"):
            if account == "provider_balance" or payment_id not in let_go:
                books[currency[payment_id], account] += accounts[account]
    for intent in facts.intents:
        code = intent["currency"].upper()
        provider[code, "provider_authorised"] += intent["amount_capturable"]
        provider[code, "provider_balance"] += intent["amount_received"] - intent["amount_refunded"]
    for place in sorted(books.keys() | provider.keys()):
        if books[place] != provider[place]:
            yield f"{place}: the ledger says {books[place]}, the provider {provider[place]}"


def orders_keep_what_has_left(facts: Facts) -> Iterator[str]:
    """Captured is at least the value of the units that have shipped, with shipping; what is kept of it after refunds
    and disputes is no more than that (or, before the last parcel, than the order's total). Else an open task says why.
    """
    explained = {task["subject"] for task in facts.tasks}
    explained |= {refund["order_id"] for refund in facts.refunds if refund["id"] in explained}
    captured, returned = Counter[str](), Counter[str]()
    for payment in facts.payments:
        captured[payment["order_id"]] += payment["captured"]
        returned[payment["order_id"]] += payment["refunded"] + payment["disputed"]
    for row in facts.orders:
        if row["id"] in explained:
            continue
        order = Order.model_validate(row["document"])
        left = _value_of_what_left(order)
        step = SMALLEST.get(order.currency, 1)
        rounded = len(order.shipments) * (step - 1)  # each parcel's share is rounded to what can be paid
        most = order.due.amount if order.shipments or order.left_to_ship() else 0
        kept = captured[order.id] - returned[order.id]
        if captured[order.id] < left - rounded:
            yield f"{order.id}: {left} has left, {captured[order.id]} was captured"
        if kept > most:
            yield f"{order.id} ({order.status}): {kept} is kept, {most} is due"


def _value_of_what_left(order: Order) -> int:
    """Minor units: with the first parcel the shipping."""
    if not order.shipments:
        return 0
    shipping = order.totals.total.amount - sum(line.total.amount for line in order.lines)
    return shipping + sum(line.share(line.shipped) for line in order.lines)


def _stands_in(intent: Row) -> bool:
    """Made for a payment that failed after its order was placed (activities/payments/retry.py)."""
    return str(intent["metadata"].get("attempt", "")).startswith("retry-")


def _awaiting_payment(facts: Facts) -> set[str]:
    return {order["id"] for order in facts.orders if order["status"] == "payment_retrying"}


def _by_checkout(facts: Facts) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for intent in facts.intents:
        found[intent["metadata"].get("checkout_id", "no checkout")].append(intent)
    return found


def _accounts(facts: Facts) -> dict[str, Counter[str]]:
    """By payment, the balance of each account: debits less credits."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in facts.ledger:
        found[entry["payment_id"]][entry["debit"]] += entry["amount"]
        found[entry["payment_id"]][entry["credit"]] -= entry["amount"]
    return found
