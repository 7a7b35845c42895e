"""Shipments: rows agree with their order's events, those under way have a workflow, labels are bought once."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts
from models.ids import shipment_workflow
from models.states import PARCEL_ENDS


def shipments_are_their_events(facts: Facts) -> Iterator[str]:
    """Every shipment that has left is in its order, with the same status, number and location."""
    rows = {row["id"]: row for row in facts.shipments if row["status"] != "preparing"}
    for order in facts.orders:
        for parcel in order["document"]["shipments"]:
            row = rows.pop(parcel["id"], None)
            if row is None:
                yield f"{parcel['id']} of {order['id']} has no row"
                continue
            for name in ("status", "carrier", "tracking_number", "location"):
                if row[name] != parcel.get(name):
                    yield f"{parcel['id']}: {name} is {row[name]}, its events say {parcel.get(name)}"
    for row in rows.values():
        yield f"{row['id']} has left and its order doesn't know"


def shipments_under_way_are_tracked(facts: Facts) -> Iterator[str]:
    """Each shipment under way has exactly one workflow."""
    running = Counter(e.id for e in facts.executions if e.type == "Shipment" and e.status == "RUNNING")
    for row in facts.shipments:
        if row["status"] in ("preparing", *PARCEL_ENDS):
            continue
        if running[shipment_workflow(row["id"])] != 1:
            yield f"{row['id']} is {row['status']} and has {running[shipment_workflow(row['id'])]} processes"


def carrier_events_are_applied(facts: Facts) -> Iterator[str]:
    """No carrier event waits for a shipment that has left."""
    left = {row["tracking_number"] for row in facts.shipments if row["status"] != "preparing"}
    for word in facts.unapplied_carrier_events:
        if word["tracking_number"] in left:
            yield f"{word['event_id']} about {word['tracking_number']} waits"


def labels_are_bought_once(facts: Facts) -> Iterator[str]:
    """A shipment has one valid label, the one that its row names; every other was voided."""
    bought = defaultdict(set)
    for label in facts.labels:
        if label["status"] == "purchased":
            bought[label["reference"]].add(label["id"])
    for row in facts.shipments:
        named = {row["label_id"]} if row["label_id"] else set()
        if (held := bought.pop(row["id"], set())) != named:
            yield f"{row['id']} names {named or 'no label'}, the carrier has sold {held or 'none'}"
    for reference, labels in bought.items():
        yield f"{labels} were bought for {reference}, which does not exist"
