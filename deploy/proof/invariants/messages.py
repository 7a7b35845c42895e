"""Messages and processes: one mail an order, an empty outbox, and exactly the workflows that the rows need."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts
from models.ids import checkout_workflow, order_workflow
from models.states import LIVE_CHECKOUT

MESSAGE_ID = "holdfast_message_id"


def one_confirmation_mail_per_order(facts: Facts) -> Iterator[str]:
    """Every order's buyer has exactly one confirmation in the inbox, and its notification is recorded as sent."""
    rows = {row["event"]: row for row in facts.notifications if row["topic"] == "order_confirmed"}
    sent = Counter[str](mail["custom_args"].get(MESSAGE_ID, "") for mail in facts.mails)
    by_subject = defaultdict(list)
    for mail in facts.mails:  # other mails name the order's number in brackets
        by_subject[mail["subject"].rsplit(" ", 1)[-1]].append(mail["to"])
    for order in facts.orders:
        row = rows.pop(f"{order['id']}:1", None)
        if row is None or row["state"] != "sent":
            yield f"{order['id']}: its mail is {row['state'] if row else 'not even meant to be sent'}"
        elif sent[row["id"]] != 1:
            yield f"{order['id']}: {sent[row['id']]} mails carry {row['id']} ({row['attempts']} attempts)"
        if by_subject[order["number"]] != [order["email"]]:
            yield f"{order['id']} of {order['email']}: mails of {order['number']} went to {by_subject[order['number']]}"
    for event in rows:
        yield f"{event} was mailed and has no order"


def one_mail_a_notice(facts: Facts) -> Iterator[str]:
    """Every other notification was sent once."""
    sent = Counter[str](mail["custom_args"].get(MESSAGE_ID, "") for mail in facts.mails)
    for row in facts.notifications:
        if not row["topic"].startswith("notice_"):
            continue
        if row["state"] != "sent" or sent[row["id"]] != 1:
            yield f"{row['topic']} of {row['event']} is {row['state']}, {sent[row['id']]} mails carry {row['id']}"


def outbox_is_drained(facts: Facts) -> Iterator[str]:
    """Every event has been delivered to each of its consumers."""
    for row in facts.outbox:
        yield f"message {row['id']}, {row['topic']} of {row['aggregate']}, waits after {row['attempts']} attempts"
    for row in facts.dead_letters:
        yield f"message {row['id']}, {row['topic']} of {row['aggregate']}, is a dead letter: {row['error']}"


def no_checkout_is_left(facts: Facts) -> Iterator[str]:
    """Every checkout has ended."""
    for checkout in facts.checkouts:
        if checkout["status"] in LIVE_CHECKOUT:
            yield f"{checkout['id']} is still {checkout['status']}"


def no_process_is_orphaned(facts: Facts) -> Iterator[str]:
    """A Checkout workflow runs only while its row is live."""
    live = {checkout_workflow(c["id"]) for c in facts.checkouts if c["status"] in LIVE_CHECKOUT}
    for execution in facts.executions:
        if execution.type in ("Checkout", "CheckoutCleanup"):
            if execution.status == "RUNNING" and execution.id not in live:
                yield f"{execution.id} runs and has nothing to do"
            elif execution.status not in ("RUNNING", "COMPLETED"):
                yield f"{execution.id} is {execution.status}"


def every_order_has_its_process(facts: Facts) -> Iterator[str]:
    """Each order has exactly one `Order` workflow, running or completed; there is none without an order."""
    found = defaultdict(list)
    for execution in facts.executions:
        if execution.type == "Order":
            found[execution.id].append(execution.status)
    for order in facts.orders:
        statuses = found.pop(order_workflow(order["id"]), [])
        if len(statuses) != 1 or statuses[0] not in ("RUNNING", "COMPLETED"):
            yield f"{order['id']} has processes {statuses}"
    for workflow_id in found:
        yield f"{workflow_id} has no order"


def shipments_are_out(facts: Facts) -> Iterator[str]:
    """No shipment is half made."""
    for shipment in facts.shipments:
        if shipment["status"] == "preparing":
            yield f"{shipment['id']} of {shipment['order_id']} is still being prepared"


def nothing_is_left_for_people(facts: Facts) -> Iterator[str]:
    """A machine's death has opened no manual task."""
    for task in facts.tasks:
        yield f"{task['id']}: {task['kind']} of {task['subject']}, {task['detail']}"
