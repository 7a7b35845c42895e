"""Pages, filters, searches, expansions, and what the provider keeps on record."""

import time
from typing import Any

import pytest
import stripe


def test_pages(sandbox: Any) -> None:
    client = sandbox.client()
    customer = client.v1.customers.create({}).id
    ids = [sandbox.intent(customer=customer, confirm=False).id for _ in range(5)][::-1]
    sandbox.intent()
    intents = client.v1.payment_intents

    first = intents.list({"customer": customer, "limit": 2})
    assert ([one.id for one in first.data], first.has_more) == (ids[:2], True)
    assert [one.id for one in first.auto_paging_iter()] == ids
    before = intents.list({"customer": customer, "limit": 2, "ending_before": ids[3]})
    assert ([one.id for one in before.data], before.has_more) == (ids[1:3], True)
    assert len(intents.list({"limit": 100}).data) == 6
    assert intents.list({"created": {"gt": int(time.time()) + 10}}).data == []
    assert intents.list({"created": 1}).data == []
    for bad in ({"starting_after": "pi_none"}, {"ending_before": "pi_none"}, {"limit": 0}):
        with pytest.raises(stripe.InvalidRequestError):
            intents.list(bad)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("metadata['n']:'1'", ["1"]),
        ('metadata["n"]:"1"', ["1"]),
        ("metadata['n']:'1' AND status:'succeeded'", ["1"]),
        ("metadata['n']:'1' OR metadata['n']:'2'", ["2", "1"]),
        ("-metadata['n']:'1'", ["2"]),
        ("metadata['other']:null", ["2", "1"]),
        ("amount>1500", ["2"]),
        ("amount<=1000 AND currency:'eur'", ["1"]),
        ("currency~'EU'", ["2", "1"]),
        ("metadata['n']:'3'", []),
    ],
)
def test_searches(sandbox: Any, query: str, found: list[str]) -> None:
    for n in (1, 2):
        sandbox.intent(amount=n * 1000, metadata={"n": str(n)})

    result = sandbox.client().v1.payment_intents.search({"query": query})

    assert [one.metadata["n"] for one in result.data] == found


@pytest.mark.parametrize("query", ["", "metadata", "a:'1' AND b:'2' OR c:'3'", "a:'1' b:'2'"])
def test_queries_that_cannot_be_read(sandbox: Any, query: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.client().v1.payment_intents.search({"query": query})

    assert refused.value.param == "query"


def test_searches_have_pages_and_can_lag(sandbox: Any) -> None:
    for _ in range(3):
        sandbox.intent(metadata={"n": "it's"})
    query = {"query": "metadata['n']:'it\\'s'", "limit": 2}
    first = sandbox.client().v1.payment_intents.search(query)
    assert (len(first.data), first.has_more) == (2, True)
    assert len(list(first.auto_paging_iter())) == 3

    sandbox.control("/stripe/search", {"lag_ms": 60_000})
    assert sandbox.client().v1.payment_intents.search(query).data == []
    sandbox.control("/clock", {"advance_s": 61})
    assert len(sandbox.client().v1.payment_intents.search(query).data) == 2
    assert sandbox.http.post(f"{sandbox.url}/_sandbox/stripe/search", json={"lag_ms": -1}).status_code == 400


def test_metadata_is_found_as_it_is_now(sandbox: Any) -> None:
    intents = sandbox.client().v1.payment_intents
    intent = sandbox.intent(metadata={"n": "old"})
    intents.update(intent.id, {"metadata": {"n": "new"}})

    assert intents.search({"query": "metadata['n']:'old'"}).data == []
    assert intents.search({"query": "metadata['n']:'new'"}).data[0].id == intent.id


def test_expansion(sandbox: Any) -> None:
    client = sandbox.client()
    sandbox.intent(customer=client.v1.customers.create({"name": "Ada"}).id)

    listed = client.v1.payment_intents.list({"expand": ["data.latest_charge.balance_transaction", "data.customer"]})
    assert listed.data[0].latest_charge.balance_transaction.amount == 1000
    assert listed.data[0].customer.name == "Ada"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.list({"expand": ["data.colour"]})
    assert refused.value.param == "expand"


def test_charges_and_balance_transactions(sandbox: Any) -> None:
    client = sandbox.client()
    intent = sandbox.intent()
    [charge] = client.v1.charges.list({"payment_intent": intent.id}).data
    changed = client.v1.charges.update(charge.id, {"description": "tea", "metadata": {"a": "1"}})
    assert (changed.description, changed.metadata["a"]) == ("tea", "1")

    [entry] = client.v1.balance_transactions.list({"source": charge.id, "type": "charge"}).data
    assert (entry.net, entry.fee_details[0].amount) == (941, 59)
    assert client.v1.balance_transactions.list({"type": "refund"}).data == []


def test_an_account_that_settles_in_another_currency(sandbox: Any) -> None:
    sandbox.control("/stripe/settlement", {"currency": "usd", "rates": {"eur": 1.08, "jpy": 0.0067}})
    client = sandbox.client()
    for currency in ("eur", "jpy", "usd"):
        intent = sandbox.intent(amount=10_000, currency=currency)
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 5_000})
    entries = client.v1.balance_transactions.list({"limit": 10, "expand": ["data.source"]}).data[::-1]
    assert {entry.currency for entry in entries} == {"usd"}
    assert [entry.amount for entry in entries] == [10_800, -5_400, 6_700, -3_350, 10_000, -5_000]
    assert [entry.exchange_rate for entry in entries] == [1.08, 1.08, 0.0067, 0.0067, None, None]
    assert [entry.source.amount for entry in entries] == 3 * [10_000, 5_000]
    assert {entry.net for entry in entries if entry.type == "charge"} >= {10_000 - 320}


def test_events_are_kept_as_they_were_sent(sandbox: Any) -> None:
    client = sandbox.client()
    sandbox.intent()
    sandbox.eventually(lambda: len(sandbox.shop.stripe) == 2)
    sent = {one.event["id"]: one.event for one in sandbox.shop.stripe}

    for event_id, event in sent.items():
        kept = client.v1.events.retrieve(event_id)
        assert (kept.type, kept.request.id) == (event["type"], event["request"]["id"])
    types = [event.type for event in client.v1.events.list().data]
    assert types == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]
    assert len(client.v1.events.list({"type": "payment_intent.*"}).data) == 2
    assert len(client.v1.events.list({"types": ["charge.succeeded"]}).data) == 1
