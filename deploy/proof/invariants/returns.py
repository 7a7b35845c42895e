"""Returns: never more than was shipped, restocked once, each refunded and finished."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts, Row
from models.ids import return_workflow
from models.states import RefundStatus, ReturnStatus

_SETTLED = (ReturnStatus.REFUNDED, ReturnStatus.REFUSED, ReturnStatus.EXPIRED)


def returned_units_were_shipped(facts: Facts) -> Iterator[str]:
    """Of each line at most what was shipped is back or on its way back; what is back is what its returns received."""
    for order in facts.orders:
        document = order["document"]
        received, coming = Counter[str](), Counter[str]()
        for request in document["returns"]:
            for item in request["received"]:
                received[item["line_id"]] += item["quantity"]
            for item in request["lines"] if request["status"] == ReturnStatus.REQUESTED else ():
                coming[item["line_id"]] += item["quantity"]
        for line in document["lines"]:
            if line["returned"] != received[line["id"]]:
                yield f"{order['id']}: {line['returned']} of {line['id']} returned, {received[line['id']]} received"
            if received[line["id"]] + coming[line["id"]] > line["shipped"]:
                yield (
                    f"{order['id']}: {received[line['id']]} of {line['id']} back, {coming[line['id']]} on their way, "
                    f"{line['shipped']} shipped"
                )


def restocked_units_are_on_hand(facts: Facts) -> Iterator[str]:
    """Units that a return has restocked are booked once, came with it, and had left from that location."""
    booked: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in facts.restocked:
        booked[row["reason"]][row["sku"], row["location"]] += row["units"]
    left: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for hold in facts.holds:
        left[hold["checkout_id"]][hold["sku"], hold["location"]] += hold["shipped"]
    orders = {order["id"]: order for order in facts.orders}
    for request in facts.returns:
        order = orders[request["order_id"]]
        said, came = _restocked(request), _received(order, request["id"])
        if booked.pop(f"return {request['id']}", Counter()) != said:
            yield f"{request['id']} says that {dict(said)} is on the shelf, and other is booked"
        for sku in {sku for sku, _ in said}:
            if sum(units for (other, _), units in said.items() if other == sku) > came[sku]:
                yield f"{request['id']}: more of {sku} is on the shelf than came with it ({came[sku]})"
        left[order["checkout_id"]].subtract(said)
    for checkout_id, places in left.items():
        for place, units in places.items():
            if units < 0:
                yield f"{checkout_id}: {-units} more went back to {place} than had left from there"
    for reason in booked:
        yield f"{reason} is booked and there is no such return"


def returns_are_their_events(facts: Facts) -> Iterator[str]:
    """A return's row is what its order's events say."""
    said = {
        request["id"]: (order["id"], request["status"])
        for order in facts.orders
        for request in order["document"]["returns"]
    }
    for request in facts.returns:
        if said.pop(request["id"], None) != (request["order_id"], request["state"]):
            yield f"{request['id']} of {request['order_id']} is {request['state']}, its order's events differ"
    for return_id, (order_id, _) in said.items():
        yield f"{order_id} speaks of {return_id}, which has no row"


def received_returns_are_paid_back(facts: Facts) -> Iterator[str]:
    """A received return has its refund, unless nothing was due; no other refund is in its name."""
    orders = {order["id"]: order["document"] for order in facts.orders}
    for request in facts.returns:
        order, refund_id = orders[request["order_id"]], request["refund_id"]
        status = {refund["id"]: refund["status"] for refund in order["refunds"]}
        paid = status.get(refund_id) == RefundStatus.SUCCEEDED
        if paid != (request["state"] == ReturnStatus.REFUNDED):
            yield f"{request['id']} is {request['state']}, its refund {refund_id} {status.get(refund_id, 'missing')}"
        elif request["state"] == ReturnStatus.RECEIVED and _due(order, request["id"]):
            yield f"{request['id']} is received, and what it cost was never paid back"


def returns_have_their_process(facts: Facts) -> Iterator[str]:
    """An expected return has a running workflow; a finished one has none."""
    running, ended = set[str](), set[str]()
    for execution in facts.executions:
        if execution.type == "Return":
            (running if execution.status == "RUNNING" else ended).add(execution.id)
            if execution.status not in ("RUNNING", "COMPLETED"):
                yield f"{execution.id} is {execution.status}"
    for request in facts.returns:
        workflow_id = return_workflow(request["id"])
        over = request["state"] in _SETTLED or (request["state"] == ReturnStatus.RECEIVED and not request["refund_id"])
        if over == (workflow_id in running) or workflow_id not in running | ended:
            yield f"{request['id']} is {request['state']}, its process {'runs' if workflow_id in running else 'not'}"


def _due(order: Row, return_id: str) -> bool:
    """Whether some of it is not refunded yet."""
    payment = order["payment"]
    left = payment["captured"]["amount"] - payment["refunded"]["amount"] - payment["disputed"]["amount"]
    lines = {line["id"]: line for line in order["lines"]}
    came = [lines[i["line_id"]] for r in order["returns"] if r["id"] == return_id for i in r["received"]]
    return left > 0 and any(line["refunded"] < line["returned"] and line["total"]["amount"] for line in came)


def _restocked(request: Row) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for part in request["restocked"]:
        found[part["sku"], part["location"]] += part["quantity"]
    return found


def _received(order: Row, return_id: str) -> Counter[str]:
    """Units by SKU."""
    sku_of = {line["id"]: line["sku"] for line in order["document"]["lines"]}
    found = Counter[str]()
    for request in order["document"]["returns"]:
        for item in request["received"] if request["id"] == return_id else ():
            found[sku_of[item["line_id"]]] += item["quantity"]
    return found
