"""The books can't be unbalanced, changed or emptied: the database refuses."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from deploy.cli.ledger import check
from models.db.migrate import upgrade
from models.db.repositories import ledger
from models.ledger import POSTINGS, Account, EntryKind
from tests.fixtures.parcels import ship

ENTER = (
    "INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)"
    " VALUES (:kind, :payment_id, :cause, :debit, :credit, 'USD', :amount)"
)


@pytest.fixture(scope="module")
def payment(shop):
    """Of an order that was shipped."""
    order = shop.buyer().buy()
    ship(shop, order)
    ((payment_id,),) = shop.sql("SELECT id FROM payments WHERE order_id = :id", id=order["id"])
    return payment_id


def entry(payment_id, **changes):
    debit, credit = POSTINGS[EntryKind.FEE]
    return {
        "kind": "fee",
        "payment_id": payment_id,
        "cause": "test",
        "debit": debit,
        "credit": credit,
        "amount": 1,
        **changes,
    }


class TestTheDatabaseRefuses:
    @pytest.mark.parametrize(
        "changes",
        [
            {"amount": 0},
            {"amount": -1},
            {"debit": "fees", "credit": "fees"},
            {"kind": "gift"},
            {"debit": "pocket"},
            {"debit": Account.PROVIDER_BALANCE, "credit": Account.FEES},  # the wrong way round
            {"kind": "capture"},  # with a fee's accounts
        ],
        ids=str,
    )
    def test_an_entry_that_is_none(self, shop, payment, changes):
        with pytest.raises(IntegrityError):
            shop.sql(ENTER, **entry(payment, **changes))

    def test_the_same_entry_twice(self, shop, payment):
        shop.sql(ENTER, **entry(payment, cause="once"))
        with pytest.raises(IntegrityError):
            shop.sql(ENTER, **entry(payment, cause="once"))

    @pytest.mark.parametrize(
        "statement", ["UPDATE ledger_entries SET amount = 2", "DELETE FROM ledger_entries"], ids=["change", "removal"]
    )
    def test_what_was_entered_stays(self, shop, payment, statement):
        with pytest.raises(DBAPIError, match="append-only"):
            shop.sql(f"{statement} WHERE payment_id = :id", id=payment)


def test_the_database_has_the_closed_list_of_the_code(shop):
    """A new kind of entry needs a migration."""
    ((told,),) = shop.sql(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'ck_ledger_entries_posting'"
    )
    for kind, (debit, credit) in POSTINGS.items():
        assert all(f"'{word}'" in told for word in (kind, debit, credit))
    assert told.count(" OR ") == len(POSTINGS) - 1
    assert set(POSTINGS) == set(EntryKind)


class TestTheCheck:
    def test_agrees_where_all_is_well_and_names_what_is_not(self, shop):
        order = shop.buyer().buy()
        ship(shop, order)
        ((payment_id,),) = shop.sql("SELECT id FROM payments WHERE order_id = :id", id=order["id"])
        assert not any(payment_id in line for line in check(shop.settings)[1].splitlines())
        shop.sql("UPDATE payments SET captured = captured - 1 WHERE id = :id", id=payment_id)
        good, told = check(shop.settings)
        shop.sql("UPDATE payments SET captured = captured + 1 WHERE id = :id", id=payment_id)
        faults = [line for line in told.splitlines() if payment_id in line]
        assert not good
        assert [fault.split()[3] for fault in faults] == ["captured,", "open,"]

    def test_of_empty_books(self, settings, fresh_database_url):
        upgrade(fresh_database_url)
        good, told = check(settings.model_copy(update={"database_url": fresh_database_url}))
        assert (good, told) == (True, "The ledger is balanced: 0 entries.")

    def test_balances_are_debits_less_credits(self, shop, payment):
        ((order_id,),) = shop.sql("SELECT order_id FROM payments WHERE id = :id", id=payment)
        with shop.engine.connect() as connection:
            entries = ledger.of_order(connection, order_id)
        kinds = [e.kind for e in entries if e.kind != "fee"]
        assert kinds == ["authorise", "capture", "authorisation_used"]
        assert sum(ledger.balances(entries).values()) == 0


def test_the_command_exits_0_on_balanced_books(settings, fresh_database_url):
    upgrade(fresh_database_url)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "ledger", "check"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOLDFAST_DATABASE_URL": fresh_database_url},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "balanced" in done.stdout
