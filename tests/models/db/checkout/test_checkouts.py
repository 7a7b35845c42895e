"""The transactions of a checkout, repeated as a killed worker repeats them: twice is once."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from models.checkout.checkouts import BeginCheckout, CloseCheckout, ConfirmOrder
from models.db.repositories.checkout import checkouts, holds
from models.db.repositories.checkout import closing as checkout_closing
from models.db.repositories.payments import payments
from models.db.session import Database
from models.errors import InvalidTransition, OutOfStock, PaymentDeclined, Refusal, Unavailable
from models.ids import derived_id, order_of
from models.money import Money
from models.payments.provider import ProviderPayment, ProviderPaymentStatus
from models.states import CheckoutStatus
from tests.fixtures.shop import eventually, new_key


@pytest.fixture(params=["psycopg", "psycopg2"])
def transaction(shop, request):
    """By each driver that a database URL may name."""
    database = Database(shop.settings.database.replace("+psycopg", f"+{request.param}"), pool_size=1)
    yield database.transaction
    database.close()


@pytest.fixture
def begin(shop):
    """What the API would begin for a ready cart of one unit of an own SKU."""

    def make(sku, **changes):
        buyer = shop.buyer(sku)
        key = new_key()
        checkout_id = derived_id("chk", key)
        others = {name: "test" for name, field in BeginCheckout.model_fields.items() if field.is_required()}
        values = {
            **others,
            "checkout_id": checkout_id,
            "order_id": order_of(checkout_id),
            "cart_id": buyer.cart_id,
            "customer_id": None,
            "key_digest": key,
            "fingerprint": key,
            "expected_total": Money(**buyer.total),
            "provider": "stripe",
            "method": "pm_card_visa",
            "hold_seconds": 900,
            "payment_action_seconds": 900,
            "payment_lookup_seconds": 30,
            **changes,
        }
        return BeginCheckout(**values)

    return make


def confirmation(begin, held):
    return ConfirmOrder(
        checkout_id=begin.checkout_id,
        order_id=begin.order_id,
        payment_id=held.payment_id,
        provider="stripe",
        reference=f"pi_{begin.checkout_id}",
    )


def refusal(begin):
    error = PaymentDeclined(decline_code="test")
    return CloseCheckout(begin=begin, status=CheckoutStatus.DECLINED, refusal=Refusal.of(error))


def test_a_repeated_hold_finds_its_own(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    held = []
    for _ in range(3):
        with transaction() as connection:
            held.append(checkouts.hold(connection, command))
    assert len({(each.total, each.payment_id) for each in held}) == 1
    assert shop.stock(sku) == (3, 1)


def test_a_refused_hold_takes_nothing(shop, transaction, begin):
    sku = shop.sku(stock=1)
    command = begin(sku)
    shop.sql("UPDATE stock_levels SET on_hand = 0 WHERE sku = :sku", sku=sku)
    with pytest.raises(OutOfStock), transaction() as connection:
        checkouts.hold(connection, command)
    assert shop.sql("SELECT 1 FROM checkouts WHERE id = :id", id=command.checkout_id) == []


def test_a_repeated_confirmation_is_one_order(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    for _ in range(2):
        with transaction() as connection:
            checkouts.confirm(connection, confirmation(command, held))
    assert shop.orders_of(command.cart_id) == [command.order_id]
    assert shop.stock(sku) == (3, 1)
    rows = shop.sql("SELECT 1 FROM ledger_entries WHERE payment_id = :id", id=held.payment_id)
    assert len(rows) == 1


def test_a_repeated_close_gives_back_once(shop, transaction, begin):
    sku = shop.sku(stock=3)
    other, command = begin(sku), begin(sku)
    for each in (other, command):
        with transaction() as connection:
            checkouts.hold(connection, each)
    assert shop.stock(sku) == (3, 2)
    for _ in range(3):
        with transaction() as connection:
            checkout_closing.close(connection, refusal(command))
    assert shop.stock(sku) == (3, 1)


def test_a_closed_one_cannot_be_confirmed_and_a_confirmed_one_not_closed(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    with transaction() as connection:
        checkout_closing.close(connection, refusal(command))
    with pytest.raises(InvalidTransition), transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    second = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, second)
    with transaction() as connection:
        checkouts.confirm(connection, confirmation(second, held))
    with transaction() as connection:
        checkout_closing.close(connection, refusal(second))
    assert shop.sql("SELECT status FROM checkouts WHERE id = :id", id=second.checkout_id)[0].status == "confirmed"
    assert shop.stock(sku) == (3, 1)


def test_what_expired_unanswered_before_it_began_never_begins(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        assert checkout_closing.expire_unanswered(connection, command)
    with transaction() as connection:
        assert checkouts.hold(connection, command).response is not None
    assert shop.stock(sku) == (3, 0)


def test_what_has_begun_does_not_expire_unanswered(shop, transaction, begin):
    command = begin(shop.sku())
    with transaction() as connection:
        checkouts.hold(connection, command)
    with transaction() as connection:
        assert not checkout_closing.expire_unanswered(connection, command)


def test_a_hold_that_runs_out_is_given_back_once(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        checkouts.hold(connection, command)
    for _ in range(2):
        with transaction() as connection:
            holds.expire(connection, command.checkout_id)
    assert shop.stock(sku) == (3, 0)


def test_a_late_payment_takes_the_stock_again_if_it_is_there(shop, transaction, begin):
    sku = shop.sku(stock=1)
    command = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    with transaction() as connection:
        holds.expire(connection, command.checkout_id)
    shop.sql("UPDATE stock_levels SET on_hand = 0 WHERE sku = :sku", sku=sku)
    with pytest.raises(OutOfStock), transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    assert shop.orders_of(command.cart_id) == []
    shop.sql("UPDATE stock_levels SET on_hand = 1 WHERE sku = :sku", sku=sku)
    with transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    assert shop.stock(sku) == (1, 1)


def test_what_is_confirmed_does_not_run_out(shop, transaction, begin):
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    with transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    with transaction() as connection:
        holds.expire(connection, command.checkout_id)
    assert shop.stock(sku) == (3, 1)


def test_a_void_without_an_order_is_in_the_books_and_out_again_once(shop, transaction, begin):
    command = begin(shop.sku())
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    undone = ProviderPayment(
        state=ProviderPaymentStatus.CANCELLED, reference=f"pi_{command.checkout_id}", amount=held.total
    )
    for _ in range(2):
        with transaction() as connection:
            payments.record_void(connection, command.checkout_id, undone)
    ((state,),) = shop.sql("SELECT state FROM payments WHERE id = :id", id=held.payment_id)
    assert state == "voided"
    entries = shop.sql(
        "SELECT kind, debit, credit FROM ledger_entries WHERE payment_id = :id ORDER BY kind", id=held.payment_id
    )
    assert [entry.kind for entry in entries] == ["authorise", "void"]
    assert (entries[0].debit, entries[0].credit) == (entries[1].credit, entries[1].debit)


def test_a_payment_whose_buyer_is_at_the_provider_is_known_by_its_reference(shop, transaction, begin):
    command = begin(shop.sku())
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    with transaction() as connection:
        assert payments.open_reference(connection, command.checkout_id) is None
    reference = f"pi_{command.checkout_id}"
    statement = "UPDATE payments SET state = 'requires_action', reference = :reference WHERE id = :id"
    shop.sql(statement, reference=reference, id=held.payment_id)
    with transaction() as connection:
        assert payments.open_reference(connection, command.checkout_id) == reference
        undone = ProviderPayment(state=ProviderPaymentStatus.CANCELLED, reference=reference, amount=held.total)
        payments.record_void(connection, command.checkout_id, undone)
        assert payments.open_reference(connection, command.checkout_id) is None


def test_what_nobody_will_capture_is_released_once(shop, transaction, begin):
    command = begin(shop.sku())
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    with transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    with transaction() as connection:
        (promise,) = payments.open_authorisations(connection, command.order_id)
    assert (promise.payment_id, promise.amount, promise.captured) == (held.payment_id, held.total.amount, 0)
    for _ in range(2):
        with transaction() as connection:
            payments.record_release(connection, command.order_id, promise)
    with transaction() as connection:
        assert payments.open_authorisations(connection, command.order_id) == []
    ((state, released),) = shop.sql("SELECT state, released FROM payments WHERE id = :id", id=held.payment_id)
    assert (state, released) == ("voided", held.total.amount)
    events = shop.sql("SELECT type FROM order_events WHERE order_id = :id ORDER BY version", id=command.order_id)
    assert [event.type for event in events] == ["order.confirmed", "payment.voided"]
    kinds = shop.sql("SELECT kind FROM ledger_entries WHERE payment_id = :id ORDER BY id", id=held.payment_id)
    assert [entry.kind for entry in kinds] == ["authorise", "void"]


def test_a_hold_that_runs_out_while_the_order_is_confirmed_is_taken_again(shop, transaction, begin):
    """The confirmation waits for the lock of the expiry, so what it read beside the lock is older than that."""
    sku = shop.sku(stock=3)
    command = begin(sku)
    with transaction() as connection:
        held = checkouts.hold(connection, command)
    other = Database(shop.settings.database, pool_size=1)
    outcome = []

    def confirm():
        try:
            with other.transaction() as connection:
                outcome.append(checkouts.confirm(connection, confirmation(command, held)))
        except Unavailable as error:
            outcome.append(error)

    confirming = threading.Thread(target=confirm)
    with transaction() as connection:
        holds.expire(connection, command.checkout_id)
        expiring = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        confirming.start()
        blocked = "SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"
        eventually(lambda: shop.sql(blocked, pid=expiring))
    confirming.join()
    assert [type(each) for each in outcome] == [Unavailable]
    assert shop.stock(sku) == (3, 0)
    with other.transaction() as connection:
        checkouts.confirm(connection, confirmation(command, held))
    other.close()
    assert shop.stock(sku) == (3, 1)
    states = shop.sql("SELECT state FROM stock_holds WHERE checkout_id = :id", id=command.checkout_id)
    assert [row.state for row in states] == ["allocated"]
