"""Read-mostly endpoints: charges, events, balance transactions."""

import json
from fnmatch import fnmatchcase

from sandbox.store import Row
from sandbox.stripe_shaped.account import Account, Ask
from sandbox.stripe_shaped.listing import page
from sandbox.stripe_shaped.payment_methods import merged
from sandbox.stripe_shaped.shapes import render


def retrieve_charge(account: Account, ask: Ask) -> Row:
    """GET /v1/charges/{id}."""
    return render(account.get("charge", ask.id))


def update_charge(account: Account, ask: Ask) -> Row:
    """POST /v1/charges/{id}."""
    charge = account.get("charge", ask.id)
    for name in ("description", "receipt_email", "shipping", "transfer_group", "fraud_details"):
        if name in ask.params:
            charge[name] = ask.params[name]
    if "metadata" in ask.params:
        charge["metadata"] = merged(charge["metadata"], ask.params["metadata"])
    return render(account.save(charge))


def list_charges(account: Account, ask: Ask) -> Row:
    """GET /v1/charges, by customer and PaymentIntent."""
    wanted = {name: ask.params[name] for name in ("customer", "payment_intent") if name in ask.params}
    found = (row for row in account.newest("charge") if all(row.get(name) == value for name, value in wanted.items()))
    return page(found, ask.params, "/v1/charges")


def retrieve_event(account: Account, ask: Ask) -> Row:
    """GET /v1/events/{id}, exactly as it was sent."""
    return dict(json.loads(account.get("event", ask.id)["_body"]))


def list_events(account: Account, ask: Ask) -> Row:
    """GET /v1/events, by `type` (with `*`) or `types`."""
    params = ask.params
    patterns = params.get("types") or [params.get("type", "*")]
    found = (row for row in account.newest("event") if any(fnmatchcase(row["type"], pattern) for pattern in patterns))
    listed = page(found, params, "/v1/events")
    bodies = (account.get("event", row["id"])["_body"] for row in listed["data"])
    return {**listed, "data": [json.loads(body) for body in bodies]}


def retrieve_entry(account: Account, ask: Ask) -> Row:
    """GET /v1/balance_transactions/{id}."""
    return render(account.get("balance_transaction", ask.id))


def list_entries(account: Account, ask: Ask) -> Row:
    """GET /v1/balance_transactions, by type, source and currency."""
    wanted = {name: ask.params[name] for name in ("type", "source", "currency") if name in ask.params}
    found = (
        row
        for row in account.newest("balance_transaction")
        if all(row.get(name) == value for name, value in wanted.items())
    )
    return page(found, ask.params, "/v1/balance_transactions")
