"""The invariants bite: one fact wrong, in a shop where all of them hold, and the one that watches it says so."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from api.tokens import Tokens
from deploy.proof.crashtest.aftercare import Aftercare
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.script import DECLINED, PROMOTION, THREE_D_SECURE, VISA, AtTheBank, Clicks, Visit
from deploy.proof.crashtest.stack import PrivateStack
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import INVARIANTS, check_all
from deploy.proof.invariants.facts import ClientResponse, Execution, Facts, Row, gather
from deploy.proof.invariants.money import orders_keep_what_has_left
from tests.crash import retrying
from tests.crash.afterwards import Afterwards
from tests.crash.conftest import TIMES
from tests.crash.owners import CardOwner

pytestmark = pytest.mark.crash

SKU = "HF-TRAIL-JKT-S-RED"


@pytest.fixture(scope="module")
def crashing() -> Iterator[PrivateStack]:
    """One of its own: among what the crash matrix leaves, another row than the one that is meant would be spoilt."""
    with PrivateStack(TIMES) as stack:
        yield stack


@pytest.fixture(scope="module")
def calm(crashing: PrivateStack) -> Facts:
    """A shop that has sold, shipped in two parcels, taken goods back, been declined and left at the bank, been paid
    anew and given up on, and keeps cards."""
    notebook, tokens = Notebook(), Tokens.of(crashing.settings)

    def visit(method: str, bank: AtTheBank, code: str | None = None) -> Row | None:
        wish = Visit(0, 0, ((SKU, 2),), method, bank, Clicks.ONE, False, code, True)
        return Buyer(wish, crashing.settings, tokens, notebook).run()

    shipped = visit(VISA, AtTheBank.RETURN)
    assert shipped
    Aftercare(crashing.settings, tokens, notebook).ship(shipped, in_parts=True)
    for method, bank, code in (
        (VISA, AtTheBank.RETURN, PROMOTION),
        (DECLINED[0], AtTheBank.RETURN, None),
        (THREE_D_SECURE, AtTheBank.WALK_AWAY, None),
    ):
        visit(method, bank, code)
    wish = Visit(0, 0, ((SKU, 2),), VISA, AtTheBank.RETURN, Clicks.ONE, False, None, True)
    for steps in (
        (Afterwards.ship, Afterwards.announce_return, Afterwards.receive_return),
        (retrying.pay_anew,),
        (retrying.be_texted,),
    ):
        buyer = Buyer(wish, crashing.settings, tokens, notebook)
        bought = buyer.run()
        assert bought
        afterwards = Afterwards(crashing.settings, tokens, notebook, buyer, bought, 60)
        for step in steps:
            step(afterwards)
    owner = CardOwner(crashing.settings, tokens, 60)
    owner.save(VISA, AtTheBank.RETURN)
    owner.save("pm_card_mastercard", AtTheBank.RETURN)
    assert notebook.complaints == []
    assert wait_until_idle(crashing.settings, 60) is None
    return gather(crashing.settings, notebook.responses)


def _where(rows: list[Row], **wanted: object) -> Row:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


def _paid(facts: Facts) -> Row:
    return _where(facts.intents, status="requires_capture")


def _paid_in_full(facts: Facts) -> Row:
    """The payment of an order that has left."""
    return _where(facts.payments, order_id=_where(facts.orders, status="shipped")["id"])


def _twice_paid(facts: Facts) -> None:
    facts.intents.append({**_paid(facts), "id": "pi_twice"})


def _paid_for_nothing(facts: Facts) -> None:
    facts.intents.append({**_paid(facts), "id": "pi_lost", "metadata": {"checkout_id": "chk_nobody"}})


def _told_of_what_is_not(facts: Facts) -> None:
    told = next(told for told in facts.responses if told.status == 201)
    order = {**told.body["order"], "id": "ord_nowhere"}
    facts.responses = [*facts.responses, ClientResponse("key", told.cart_id, 201, {"order": order})]


def _refused_what_is(facts: Facts) -> None:
    confirmed = _where(facts.checkouts, status="confirmed")
    facts.responses = [*facts.responses, ClientResponse("key", "cart", 503, {"checkout_id": confirmed["id"]})]


def _answered_otherwise(facts: Facts) -> None:
    told = next(told for told in facts.responses if told.status == 201)
    facts.responses = [*facts.responses, told._replace(raw=told.raw + " ")]


def _stop_order(facts: Facts) -> None:
    found = next(e for e in facts.executions if e.type == "Order" and e.status == "RUNNING")
    facts.executions.remove(found)


def _mail_of(facts: Facts, topic: str = "order_confirmed") -> Row:
    ids = {row["id"] for row in facts.notifications if row["topic"].startswith(topic)}
    return next(mail for mail in facts.mails if mail["custom_args"].get("holdfast_message_id") in ids)


def _notice_of(facts: Facts) -> Row:
    return _mail_of(facts, "notice_")


def _customer(facts: Facts) -> Row:
    return next(customer for customer in facts.customers if "user_id" in customer["metadata"])


def _attached(facts: Facts) -> Row:
    return _where(facts.methods, id=_where(facts.cards, state="saved")["reference"])


def _returned_line(facts: Facts) -> Row:
    found = _where(facts.orders, status="returned")["document"]["lines"][0]
    assert isinstance(found, dict)
    return found


def _failed_and_paid(facts: Facts) -> Row:
    return _where(facts.payments, id=_where(facts.retries, state="paid")["payment_id"])


def _wait_for_what_is_here(facts: Facts) -> None:
    found = next(e for e in facts.executions if e.type == "Return")
    facts.executions.append(found._replace(status="RUNNING"))


def _unheard(facts: Facts) -> None:
    number = facts.shipments[0]["tracking_number"]
    facts.unapplied_carrier_events.append({"event_id": "cev_1", "tracking_number": number})


CORRUPTIONS: dict[str, Callable[[Facts], object]] = {
    "at_most_one_capture_per_checkout": _twice_paid,
    "every_payment_has_its_order": _paid_for_nothing,
    "every_order_is_paid": lambda f: _paid(f).update(status="canceled"),
    "nothing_is_undecided_at_the_provider": lambda f: _paid(f).update(status="requires_action"),
    "payments_are_what_the_provider_says": lambda f: f.payments[0].update(captured=f.payments[0]["captured"] + 1),
    "ledger_is_balanced": lambda f: f.ledger.append({**f.ledger[0], "id": 0}),
    "ledger_is_what_the_provider_says": lambda f: _paid(f).update(amount_capturable=1),
    "orders_keep_what_has_left": lambda f: _paid_in_full(f).update(captured=1),
    "refunds_never_exceed_captures": lambda f: _where(f.payments, state="captured").update(refunded=1),
    "every_refund_is_at_the_provider_once": lambda f: f.provider_refunds.append(
        {**f.provider_refunds[0], "id": "re_twice"}
    ),
    "every_refund_at_the_provider_is_known": lambda f: f.refund_parts.clear(),
    "no_refund_is_on_its_way": lambda f: f.refunds[0].update(state="pending"),
    "refunds_are_their_events": lambda f: f.refunds[0].update(amount=1),
    "refunds_have_no_process_left": lambda f: f.refunds[0].update(id="rfd_other"),
    "orders_wait_with_their_payment": lambda f: f.retries[0].update(state="retrying"),
    "paid_orders_have_their_new_payment": lambda f: _failed_and_paid(f).update(released=0),
    "texts_are_sent_once": lambda f: f.texts.append(f.texts[0]),
    "stock_is_conserved": lambda f: _where(f.stock_levels, sku=SKU).update(on_hand=1),
    "stock_is_never_negative": lambda f: _where(f.stock_levels, sku=SKU).update(reserved=-1),
    "reserved_is_what_is_held": lambda f: f.stock_levels[0].update(reserved=f.stock_levels[0]["reserved"] + 1),
    "holds_follow_their_checkout": lambda f: _where(f.holds, state="released").update(state="held"),
    "orders_have_their_stock": lambda f: f.holds.remove(_where(f.holds, state="allocated")),
    "promotions_within_their_limit": lambda f: f.promotion_uses.clear(),
    "returned_units_were_shipped": lambda f: _returned_line(f).update(returned=1),
    "restocked_units_are_on_hand": lambda f: f.restocked.clear(),
    "returns_are_their_events": lambda f: f.returns[0].update(state="expired"),
    "received_returns_are_paid_back": lambda f: f.returns[0].update(refund_id=None),
    "returns_have_their_process": _wait_for_what_is_here,
    "one_order_per_cart": lambda f: f.orders.append({**f.orders[0], "id": "ord_second"}),
    "orders_are_their_checkouts": lambda f: _where(f.checkouts, status="confirmed").update(status="expired"),
    "events_have_no_gaps": lambda f: f.events.remove(f.events[0]),
    "replay_gives_the_row": lambda f: f.orders[0]["document"]["lines"][0].update(quantity=99),
    "orders_are_found_by_their_terms": lambda f: f.terms[0]["terms"].pop(),
    "acknowledged_orders_exist": _told_of_what_is_not,
    "refusals_are_true": _refused_what_is,
    "one_key_has_one_response": _answered_otherwise,
    "stored_responses_are_true": lambda f: _where(f.stored_responses, status=201).update(status=402),
    "one_confirmation_mail_per_order": lambda f: f.mails.append(_mail_of(f)),
    "one_mail_a_notice": lambda f: f.mails.remove(_notice_of(f)),
    "outbox_is_drained": lambda f: f.outbox.append({"id": 1, "topic": "t", "aggregate": "a", "attempts": 3}),
    "no_checkout_is_left": lambda f: f.checkouts[0].update(status="processing"),
    "no_process_is_orphaned": lambda f: f.executions.append(Execution("checkout/chk_ended", "Checkout", "RUNNING")),
    "every_order_has_its_process": _stop_order,
    "shipments_are_out": lambda f: f.shipments[0].update(status="preparing"),
    "shipments_are_their_events": lambda f: f.shipments[0].update(tracking_number="another"),
    "shipments_under_way_are_tracked": lambda f: f.shipments[0].update(status="in_transit"),
    "carrier_events_are_applied": _unheard,
    "labels_are_bought_once": lambda f: f.labels.append({"id": "lbl_2", "status": "purchased", "reference": "shp_x"}),
    "nothing_is_left_for_people": lambda f: f.tasks.append({"id": "t", "kind": "k", "subject": "s", "detail": "d"}),
    "no_card_is_half_saved": lambda f: f.cards[0].update(state="removing"),
    "one_customer_a_person": lambda f: f.customers.append({**_customer(f), "id": "cus_second"}),
    "saved_cards_are_at_the_provider": lambda f: _attached(f).update(customer=None),
    "no_other_card_is_there": lambda f: f.methods.append({**_attached(f), "id": "pm_unseen"}),
    "one_default_a_person": lambda f: _where(f.cards, state="saved", is_default=False).update(is_default=True),
}


def test_all_hold_where_all_is_well(calm: Facts) -> None:
    assert check_all(calm) == []
    assert calm.size > 100


def test_every_invariant_has_its_corruption() -> None:
    assert [invariant.__name__ for invariant in INVARIANTS] == list(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_it_bites(calm: Facts, name: str) -> None:
    facts = copy.deepcopy(calm)
    CORRUPTIONS[name](facts)
    assert name in {violation.invariant for violation in check_all(facts)}


@pytest.mark.parametrize("status", ["shipped", "cancelled"])
def test_money_that_is_kept_needs_a_task(calm: Facts, status: str) -> None:
    facts = copy.deepcopy(calm)
    order = _where(facts.orders, status="shipped")
    if status == "cancelled":
        lines = [{**line, "shipped": 0, "cancelled": line["quantity"]} for line in order["document"]["lines"]]
        order["document"].update(status=status, shipments=[], lines=lines)
    else:
        _paid_in_full(facts)["captured"] += 1
    assert [order["id"] in kept for kept in orders_keep_what_has_left(facts)] == [True]
    facts.tasks.append({"id": "t", "kind": "capture-unrecorded", "subject": order["id"], "detail": "d"})
    assert list(orders_keep_what_has_left(facts)) == []


@pytest.fixture
def books(crashing: PrivateStack) -> Iterator[Callable[[str], None]]:
    engine = create_engine(crashing.settings.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def change(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    yield change
    engine.dispose()


def test_it_bites_on_the_books_themselves(calm: Facts, crashing: PrivateStack, books: Callable[[str], None]) -> None:
    """Not only on facts in memory: what is read is what is there."""
    where = f"WHERE sku = '{SKU}' AND location = 'east'"
    books(f"UPDATE stock_levels SET reserved = reserved + 1 {where}")
    broken = check_all(gather(crashing.settings))
    books(f"UPDATE stock_levels SET reserved = reserved - 1 {where}")
    assert [violation.invariant for violation in broken] == ["reserved_is_what_is_held"]
    assert check_all(gather(crashing.settings)) == []
