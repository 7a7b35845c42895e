"""Stock and promotions: units received are on hand, held or shipped, and none is allocated twice."""

from collections import Counter
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts
from models.states import LIVE_CHECKOUT

_LIVE_HOLDS = ("held", "allocated")
_ORDERED = ("allocated", "shipped")


def stock_is_conserved(facts: Facts) -> Iterator[str]:
    """Units ever added, less units shipped, are on hand."""
    shipped = Counter[tuple[str, str]]()
    for hold in facts.holds:
        shipped[hold["sku"], hold["location"]] += hold["shipped"]
    put = {(row["sku"], row["location"]): row["units"] for row in facts.adjusted}
    for level in facts.stock_levels:
        place = level["sku"], level["location"]
        due = put.get(place, 0) - shipped[place]
        if level["on_hand"] != due:
            yield f"{place}: {level['on_hand']} on hand where {due} are due"


def stock_is_never_negative(facts: Facts) -> Iterator[str]:
    """Nothing was held that was not on hand."""
    for level in facts.stock_levels:
        if not 0 <= level["reserved"] <= level["on_hand"]:
            yield f"{level['sku'], level['location']}: {level['reserved']} reserved of {level['on_hand']}"


def reserved_is_what_is_held(facts: Facts) -> Iterator[str]:
    """`reserved` is the sum of live holds and open allocations."""
    held = Counter[tuple[str, str]]()
    for hold in facts.holds:
        if hold["state"] in _LIVE_HOLDS:
            held[hold["sku"], hold["location"]] += hold["quantity"] - hold["shipped"]
    for level in facts.stock_levels:
        place = level["sku"], level["location"]
        if level["reserved"] != held[place]:
            yield f"{place}: {level['reserved']} reserved where {held[place]} are held"


def holds_follow_their_checkout(facts: Facts) -> Iterator[str]:
    """Held while the checkout lives, allocated with the order, released without one or with its cancelled units."""
    status = {checkout["id"]: checkout["status"] for checkout in facts.checkouts}
    cancelled = {
        order["checkout_id"]
        for order in facts.orders
        if any(line.get("cancelled") for line in order["document"]["lines"])
    }
    for hold in facts.holds:
        checkout = status[hold["checkout_id"]]
        if checkout == "confirmed":
            right = hold["state"] in _ORDERED or (hold["state"] == "released" and hold["checkout_id"] in cancelled)
        elif checkout in LIVE_CHECKOUT:
            right = hold["state"] in ("held", "released")
        else:
            right = hold["state"] == "released"
        if not right:
            yield f"{hold['checkout_id']} is {checkout}, its hold on {hold['sku']} {hold['state']}"


def orders_have_their_stock(facts: Facts) -> Iterator[str]:
    """Every unit of an order that is not cancelled is allocated or shipped; shipped is what its shipments hold."""
    allocated, gone = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for hold in facts.holds:
        if hold["state"] in _ORDERED:
            allocated[hold["checkout_id"], hold["sku"]] += hold["quantity"]
            gone[hold["checkout_id"], hold["sku"]] += hold["shipped"]
    for order in facts.orders:
        for line in order["document"]["lines"]:
            place = order["checkout_id"], line["sku"]
            wanted = line["quantity"] - line.get("cancelled", 0)
            if allocated[place] != wanted:
                yield f"{order['id']}: {allocated[place]} of {wanted} {line['sku']} allocated"
            if gone[place] != line["shipped"]:
                yield f"{order['id']}: {line['shipped']} {line['sku']} shipped, {gone[place]} taken from stock"


def promotions_within_their_limit(facts: Facts) -> Iterator[str]:
    """The counter is the number of uses, within the limit; only orders keep a use."""
    status = {checkout["id"]: checkout["status"] for checkout in facts.checkouts}
    uses = Counter[str](use["promotion_id"] for use in facts.promotion_uses)
    for promotion in facts.promotions:
        used, limit = promotion["used"], promotion["usage_limit"]
        if used != uses[promotion["id"]]:
            yield f"{promotion['code']}: counted {used}, used {uses[promotion['id']]} times"
        if limit is not None and used > limit:
            yield f"{promotion['code']}: used {used} times of {limit}"
    cancelled = {order["checkout_id"] for order in facts.orders if order["status"] == "cancelled"}
    for use in facts.promotion_uses:
        checkout = status[use["checkout_id"]]
        if use["checkout_id"] in cancelled:
            yield f"{use['checkout_id']} is cancelled and still uses {use['promotion_id']}"
        if use["final"] != (checkout == "confirmed") or checkout not in ("confirmed", *LIVE_CHECKOUT):
            yield f"{use['checkout_id']} is {checkout} and uses {use['promotion_id']} (final: {use['final']})"
