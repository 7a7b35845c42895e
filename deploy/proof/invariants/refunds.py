"""Refunds: never more than was captured, each once at its provider, in the ledger as at the provider, and finished."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts, Row
from models.ids import refund_workflow
from models.payments.refunds import refund_of
from models.states import RefundStatus


def refunds_never_exceed_captures(facts: Facts) -> Iterator[str]:
    """By payment, in the ledger and at the provider; what is committed is the sum of its refunds' parts."""
    committed = Counter[str]()
    for part in facts.refund_parts:
        if part["state"] != RefundStatus.FAILED:
            committed[part["payment_id"]] += part["amount"]
    for payment in facts.payments:
        if payment["refunded"] != committed[payment["id"]]:
            yield f"{payment['id']}: {payment['refunded']} refunded, its refunds are {committed[payment['id']]}"
        if payment["refunded"] > payment["captured"]:
            yield f"{payment['id']}: {payment['refunded']} refunded of {payment['captured']}"
    for intent in facts.intents:
        if intent["amount_refunded"] > intent["amount_received"]:
            yield f"{intent['id']}: the provider gave back {intent['amount_refunded']} of {intent['amount_received']}"


def every_refund_is_at_the_provider_once(facts: Facts) -> Iterator[str]:
    """Each succeeded part is one refund there, of its payment and amount; a failed one is none."""
    payments = {payment["id"]: payment for payment in facts.payments}
    made = {refund["id"]: refund for refund in facts.provider_refunds}
    named = defaultdict(list)
    for refund in facts.provider_refunds:
        if refund["status"] != "failed" and (name := refund["metadata"].get("refund_id")):
            named[refund_of(name), refund["payment_intent"]].append(refund["id"])
    for part in facts.refund_parts:
        payment = payments[part["payment_id"]]
        if payment["provider"] != "stripe":
            continue
        found = made.get(part["reference"] or "")
        succeeded = part["state"] == RefundStatus.SUCCEEDED
        if succeeded and (found is None or found["status"] != "succeeded"):
            yield f"{part['refund_id']} has succeeded, {part['reference']} is {found['status'] if found else 'missing'}"
        elif succeeded and found and _of(found) != (payment["reference"], part["amount"], payment["currency"]):
            yield f"{part['refund_id']} is {part['amount']} of {payment['reference']}, {found['id']} is {_of(found)}"
        known = named.get((part["refund_id"], payment["reference"]), [])
        if len(known) > 1 or (known and not succeeded):
            yield f"{part['refund_id']} is {part['state']}, the provider has {known}"


def every_refund_at_the_provider_is_known(facts: Facts) -> Iterator[str]:
    """Every refund at the provider of a payment with an order is in the ledger, whoever made it."""
    ordered = {order["id"] for order in facts.orders}
    payments = {payment["reference"]: payment for payment in facts.payments if payment["order_id"] in ordered}
    known = {part["reference"] for part in facts.refund_parts}
    for refund in facts.provider_refunds:
        payment = payments.get(refund["payment_intent"])
        if refund["status"] == "succeeded" and payment and payment["captured"] and refund["id"] not in known:
            yield f"{refund['id']} gave back {_of(refund)} of {payment['order_id']}, which the ledger has not"


def no_refund_is_on_its_way(facts: Facts) -> Iterator[str]:
    """Each refund has finished, and so have its parts."""
    states = {refund["id"]: refund["state"] for refund in facts.refunds}
    for refund_id, state in states.items():
        if state == RefundStatus.PENDING:
            yield f"{refund_id} is still pending"
    for part in facts.refund_parts:
        whole = states.get(part["refund_id"], "unknown")
        if part["state"] != whole:
            yield f"{part['refund_id']} is {whole}, its part of {part['payment_id']} {part['state']}"


def refunds_are_their_events(facts: Facts) -> Iterator[str]:
    """A refund's row is what its order's events say, and the order's sum is that of the succeeded ones."""
    said = {refund["id"]: (order["id"], refund) for order in facts.orders for refund in order["document"]["refunds"]}
    for refund in facts.refunds:
        order_id, event = said.pop(refund["id"], (None, None))
        if event is None or (order_id, event["status"]) != (refund["order_id"], refund["state"]):
            yield f"{refund['id']} of {refund['order_id']} is {refund['state']}, its order's events differ"
        elif event["amount"] != {"amount": refund["amount"], "currency": refund["currency"]}:
            yield f"{refund['id']} is over {refund['amount']}, its order's events say {event['amount']}"
    for refund_id, (order_id, _) in said.items():
        yield f"{order_id} speaks of {refund_id}, which has no row"
    for order in facts.orders:
        document = order["document"]
        given = [r["amount"]["amount"] for r in document["refunds"] if r["status"] == RefundStatus.SUCCEEDED]
        if document["payment"]["refunded"]["amount"] != sum(given):
            yield f"{order['id']}: {document['payment']['refunded']} refunded, its refunds are {given}"


def refunds_have_no_process_left(facts: Facts) -> Iterator[str]:
    """A finished refund without a manual task has no running workflow; every refund has had one."""
    ran = {execution.id for execution in facts.executions if execution.type == "Refund"}
    running = {e.id for e in facts.executions if e.type == "Refund" and e.status == "RUNNING"}
    asked = {task["subject"] for task in facts.tasks}
    split = {refund["id"] for refund in facts.refunds}  # split off: another card refused its part
    for refund in facts.refunds:
        workflow_id = refund_workflow(refund["id"])
        if workflow_id not in ran and refund["cause"] not in split:
            yield f"{refund['id']} never had a process"
        if workflow_id in running and refund["state"] != RefundStatus.PENDING and refund["id"] not in asked:
            yield f"{refund['id']} is {refund['state']}, its process still runs"


def _of(refund: Row) -> tuple[str, int, str]:
    return refund["payment_intent"], refund["amount"], refund["currency"].upper()
