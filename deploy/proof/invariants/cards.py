"""Saved payment methods: customers see exactly what the provider can charge."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from deploy.proof.invariants.facts import Facts
from models.payments.methods import PaymentMethodState

SETTLED = (PaymentMethodState.SAVED, PaymentMethodState.FAILED, PaymentMethodState.REMOVED)


def no_card_is_half_saved(facts: Facts) -> Iterator[str]:
    """Every set-up and every removal has finished."""
    for card in facts.cards:
        if card["state"] not in SETTLED:
            yield f"{card['id']} is still {card['state']}"


def one_customer_a_person(facts: Facts) -> Iterator[str]:
    """The provider has one customer for each account, and the account names it."""
    known = {account["id"]: account["payment_customer"] for account in facts.accounts}
    found = defaultdict(list)
    for customer in facts.customers:
        if user_id := customer["metadata"].get("user_id"):
            found[user_id].append(customer["id"])
    for user_id, customers in found.items():
        if customers != [known.get(user_id)]:
            yield f"{user_id} is {customers} at the provider, and {known.get(user_id)} here"


def saved_cards_are_at_the_provider(facts: Facts) -> Iterator[str]:
    """Every saved method can be charged: it is attached to its owner's customer."""
    owners = {method["id"]: method["customer"] for method in facts.methods}
    known = {account["id"]: account["payment_customer"] for account in facts.accounts}
    for card in facts.cards:
        if card["state"] != PaymentMethodState.SAVED:
            continue
        owner = owners.get(card["reference"])
        if owner is None or owner != known.get(card["user_id"]):
            yield f"{card['id']} of {card['user_id']}: {card['reference']} is {owner}'s at the provider"


def no_other_card_is_there(facts: Facts) -> Iterator[str]:
    """The provider has no card that its owner does not see or has removed, and none twice."""
    ours = {customer["id"] for customer in facts.customers if customer["metadata"].get("user_id")}
    saved = Counter(card["reference"] for card in facts.cards if card["state"] == PaymentMethodState.SAVED)
    for method in facts.methods:
        if method["customer"] in ours and saved[method["id"]] != 1:
            yield f"{method['id']} of {method['customer']} is {saved[method['id']]} of our entries"


def one_default_a_person(facts: Facts) -> Iterator[str]:
    """Every owner of saved methods has one default."""
    defaults = defaultdict(list)
    for card in facts.cards:
        if card["state"] == PaymentMethodState.SAVED:
            defaults[card["user_id"]].append(bool(card["is_default"]))
        elif card["is_default"]:
            yield f"{card['id']} is {card['state']} and a default"
    for user_id, flags in defaults.items():
        if sum(flags) != 1:
            yield f"{user_id} has {sum(flags)} defaults among {len(flags)} cards"
