"""`holdfast orders rebuild`: what the events say is what stands, and what doesn't is told or written anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from deploy.cli.orders import rebuild
from models.db.migrate import upgrade
from models.db.repositories.orders.orders import read_order
from models.orders.orders import ORDER_CONFIRMED
from runtime.settings import Settings
from tests.models.orders.test_events import first

ORDER = "ord_1"


@pytest.fixture
def books(fresh_database_url):
    """A database with one order, whose row has nothing to do with its event yet."""
    upgrade(fresh_database_url)
    engine = create_engine(fresh_database_url, poolclass=NullPool)
    event = first([2, 1], 50, 9)
    assert event.type == ORDER_CONFIRMED
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO carts (id, token_digest, currency, country) VALUES ('cart_1', 'x', 'USD', 'US')",
            "INSERT INTO checkouts (id, cart_id, order_id, status, key_digest, currency, total, snapshot, contact)"
            " VALUES ('chk_1', 'cart_1', 'ord_1', 'confirmed', 'k', 'USD', 159, '{}', '{}')",
            "INSERT INTO orders (id, number, version, status, payment_status, cart_id, checkout_id, currency, total,"
            " document, email, shipping_address, placed_at) VALUES ('ord_1', 'HF-0', 7, 'completed', 'captured',"
            """ 'cart_1', 'chk_1', 'USD', 1, '{"lines": []}', 'ada@example.com', '{"name": "Ada Buyer"}', now())""",
            "INSERT INTO order_terms VALUES ('nobody', now(), 'ord_1')",
        ):
            connection.exec_driver_sql(statement)
        connection.execute(
            text(
                "INSERT INTO order_events VALUES ('ord_1', 1, :type, :at, CAST(:actor AS jsonb), 'chk_1',"
                " CAST(:data AS jsonb))"
            ),
            {
                "type": event.type,
                "at": event.at,
                "actor": event.actor.model_dump_json(),
                "data": json.dumps(event.data),
            },
        )
    yield engine
    engine.dispose()


def run(url, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "orders", "rebuild", *arguments],
        env={**os.environ, "HOLDFAST_DATABASE_URL": url.replace("+psycopg", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def again(fresh_database_url):
    """The same without a process of its own."""

    def act(*, check):
        told = []
        return rebuild(Settings(database_url=fresh_database_url), told.append, check=check), told

    return act


def sql(engine, statement):
    with engine.begin() as connection:
        found = connection.exec_driver_sql(statement)
        return [tuple(row) for row in found] if found.returns_rows else []


def test_check_tells_and_changes_nothing_and_rebuild_makes_it_right(books, fresh_database_url, again):
    before = sql(books, "SELECT * FROM orders")
    status, told = run(fresh_database_url, "--check")
    assert status == 1
    for wrong in ("its events are [1]", "its document is not the fold", "status is completed", "total 1, its events"):
        assert wrong in told
    assert "its search terms differ" in told
    assert told.endswith("orders: 1 read, 1 not what their events say\n")
    assert sql(books, "SELECT * FROM orders") == before

    assert run(fresh_database_url) == (0, told.replace("say\n", "say, 1 rebuilt\n"))
    assert again(check=True) == (True, ["orders: 1 read, 0 not what their events say"])
    assert again(check=False) == (True, ["orders: 1 read, 0 not what their events say, 0 rebuilt"])
    assert sql(books, "SELECT number, version, status, payment_status, total FROM orders") == [
        ("HF-1", 1, "confirmed", "authorised", 159)
    ]
    with books.connect() as connection:
        assert read_order(connection, ORDER).email == "ada@example.com"
    terms = {term for (term,) in sql(books, "SELECT term FROM order_terms")}
    assert terms == {"hf-1", "1", "s0", "s1", "ein", "ding", "ada", "buyer", "ada@example.com"}


@pytest.mark.parametrize(
    "wrong",
    [
        "DELETE FROM order_terms WHERE term = 'ada'",
        "INSERT INTO order_terms SELECT 'mallory', placed_at, id FROM orders",
        "UPDATE order_terms SET placed_at = now() WHERE term = 'ada'",
        "UPDATE orders SET shipping_address = NULL",
    ],
)
def test_what_is_found_by_other_words_is_a_difference_too(books, again, wrong):
    assert again(check=False)[0]
    sql(books, wrong)
    good, told = again(check=True)
    assert not good
    assert "ord_1: its search terms differ" in told
    assert again(check=False)[0]
    assert again(check=True)[0]


def test_an_order_whose_events_make_none_is_told_and_left_as_it_is(books, again):
    sql(books, "ALTER TABLE order_events DISABLE TRIGGER USER")
    sql(books, "UPDATE order_events SET version = 2")
    before = sql(books, "SELECT * FROM orders")
    good, told = again(check=False)
    assert not good
    assert any(line.startswith("ord_1 can't be rebuilt") for line in told)
    assert sql(books, "SELECT * FROM orders") == before


def test_without_a_database_it_says_so_in_one_line():
    status, told = run("postgresql://nobody@127.0.0.1:1/none")
    assert status == 1
    assert told.startswith("error: the orders can't be read")
    assert told.count("\n") == 1
