"""Payment retries: each agrees with its order, and each text message is sent once."""

from collections import Counter
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts


def orders_wait_with_their_payment(facts: Facts) -> Iterator[str]:
    """An order waits for its payment exactly as long as the payment is retried; when idle, no attempt is under way."""
    waiting = {order["id"] for order in facts.orders if order["status"] == "payment_retrying"}
    retrying = {retry["order_id"] for retry in facts.retries if retry["state"] == "retrying"}
    for order_id in sorted(waiting ^ retrying):
        yield f"{order_id} {'waits without a retry' if order_id in waiting else 'is retried, and does not wait'}"
    for retry in facts.retries:
        if retry["open_try"] is not None:
            yield f"{retry['order_id']}: the outcome of an attempt was not recorded"


def paid_orders_have_their_new_payment(facts: Facts) -> Iterator[str]:
    """Where another payment has taken over, nothing of the failed one can still be captured."""
    payments = {payment["id"]: payment for payment in facts.payments}
    for retry in facts.retries:
        failed = payments.get(retry["payment_id"])
        if failed is None:
            yield f"{retry['order_id']}: its failed payment {retry['payment_id']} is gone"
        elif retry["state"] == "paid" and failed["captured"] + failed["released"] < failed["amount"]:
            yield f"{retry['order_id']} is paid anew, and {failed['id']} could still be taken"


def texts_are_sent_once(facts: Facts) -> Iterator[str]:
    """Each message has a reference of its own; the same text to the same number is a repeat."""
    for (to, words), count in Counter((text["to"], text["text"]) for text in facts.texts).items():
        if count > 1:
            yield f"{to} was sent {count} times: {words}"
