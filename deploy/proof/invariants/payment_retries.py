"""Payments that failed after their order was placed: each waits with its order, and its buyer is told once."""

from collections import Counter
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts


def orders_wait_with_their_payment(facts: Facts) -> Iterator[str]:
    """An order waits for its payment exactly as long as it is being retried; at rest no try is under way."""
    waiting = {order["id"] for order in facts.orders if order["status"] == "payment_retrying"}
    retrying = {retry["order_id"] for retry in facts.retries if retry["state"] == "retrying"}
    for order_id in sorted(waiting ^ retrying):
        yield f"{order_id} {'waits, and nobody retries' if order_id in waiting else 'is retried, and does not wait'}"
    for retry in facts.retries:
        if retry["open_try"] is not None:
            yield f"{retry['order_id']}: the outcome of a try was never noted"


def paid_orders_have_their_new_payment(facts: Facts) -> Iterator[str]:
    """Where another payment has taken over, the one that failed has nothing left to take."""
    payments = {payment["id"]: payment for payment in facts.payments}
    for retry in facts.retries:
        failed = payments.get(retry["payment_id"])
        if failed is None:
            yield f"{retry['order_id']}: its failed payment {retry['payment_id']} is gone"
        elif retry["state"] == "paid" and failed["captured"] + failed["released"] < failed["amount"]:
            yield f"{retry['order_id']} is paid anew, and {failed['id']} could still be taken"


def texts_are_sent_once(facts: Facts) -> Iterator[str]:
    """Each has a reference of its own: the same words to the same number are a repeat."""
    for (to, words), count in Counter((text["to"], text["text"]) for text in facts.texts).items():
        if count > 1:
            yield f"{to} was sent {count} times: {words}"
