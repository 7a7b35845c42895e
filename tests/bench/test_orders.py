"""Every kind of search reads what its page needs, out of indexes, and its pages together are what it asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from bench import orders
from bench.order_data import fill
from models.db.migrate import upgrade
from models.db.repositories.orders import search as order_search
from models.db.repositories.orders.search import Search
from models.db.session import Database
from runtime.settings import Settings

COUNT = 20_000
PAGES = [pytest.param(*page, id=f"{page[0]}-{page[1]}") for page in orders.pages_of(COUNT)]
NONE = ("words, common, never together", "own, of very many, rare word", "own, of very many, rare status")

# What an order says of itself, without its terms: the truth to hold the pages against.
ALL = text("""
SELECT id, placed_at, status, customer_id, number, email, shipping_address ->> 'name' AS name,
    document #>> '{lines,0,sku}' AS sku, document #>> '{lines,0,title}' AS title
FROM orders ORDER BY placed_at DESC, id DESC
""")


@pytest.fixture(scope="module")
def database(postgres: Settings) -> Iterator[Database]:
    name = f"orders_{os.getpid()}"
    with psycopg.connect(postgres.database.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    url = postgres.database.rsplit("/", 1)[0] + f"/{name}"
    upgrade(url)
    database = Database(url, pool_size=1)
    fill(database, COUNT)
    yield database
    database.close()
    with psycopg.connect(postgres.database.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.transaction() as connection:
        yield connection


@pytest.fixture(scope="module")
def everything(database: Database) -> list[Any]:
    with database.transaction() as connection:
        return list(connection.execute(ALL))


@pytest.mark.parametrize(("kind", "place", "search"), PAGES)
def test_no_page_scans_a_table_or_sorts_more_than_itself(
    connection: Connection, kind: str, place: str, search: Search
) -> None:
    assert list(orders.faults_in(orders.plan_of(connection, search))) == []


def test_a_scan_and_a_sort_would_be_seen(connection: Connection) -> None:
    query = "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM bench_orders ORDER BY name"
    connection.exec_driver_sql("SET LOCAL max_parallel_workers_per_gather = 0")
    ((found,),) = connection.exec_driver_sql(query)
    faults = list(orders.faults_in(found[0]["Plan"]))
    assert faults[:2] == ["Sort of 20000 rows", "Seq Scan on bench_orders"]


@pytest.mark.parametrize(
    ("kind", "place", "search"), [page for page in PAGES if not page.values[0].startswith(("words", "own, of very"))]
)
def test_a_page_of_one_criterion_reads_only_itself(
    connection: Connection, kind: str, place: str, search: Search
) -> None:
    plan = orders.plan_of(connection, search)
    assert orders.pages_read(plan) <= 5 * orders.LIMIT


@pytest.mark.parametrize("kind", list(orders.searches(COUNT)))
def test_its_pages_are_all_that_it_asks_for_and_nothing_twice(
    database: Database, everything: list[Any], kind: str
) -> None:
    search = orders.searches(COUNT)[kind]._replace(limit=97)
    expected = [row.id for row in everything if matches(row, search)]
    assert expected or kind in NONE, "nothing to find"
    seen: list[str] = []
    before = None
    while len(seen) < 1000:  # as deep as needs be to meet many orders of the same moment
        with database.transaction() as connection:
            page = order_search.find(connection, search._replace(before=before))
        seen += [stored.order.id for stored in page]
        if len(page) < search.limit:
            break
        before = (page[-1].order.placed_at, page[-1].order.id)
    assert seen == expected[: len(seen)]
    assert len(seen) == len(expected) or len(seen) >= 1000


def matches(row: Any, search: Search) -> bool:
    text = f"{row.number} {row.sku} {row.email} {row.name} {row.title}".lower().replace(",", " ")
    beginnings = ["-".join(row.sku.lower().split("-")[:length]) for length in (2, 3)]
    return (
        all(word in (*text.split(), *beginnings) for word in search.terms or ())
        and search.customer_id in (None, row.customer_id)
        and search.status in (None, row.status)
        and (search.placed_from is None or row.placed_at >= search.placed_from)
        and (search.placed_to is None or row.placed_at < search.placed_to)
    )


def test_figures_have_units_and_plans_are_shown(fresh_database_url: str) -> None:
    said: list[str] = []
    figures = orders.measure(fresh_database_url, 500, said.append, times=2)
    assert {figure.unit for figure in figures} == {"orders", "MiB", "faults in plans", "pages of 8 KiB", "ms"}
    assert sum(figure.name == "find_p99" for figure in figures) == len(list(orders.pages_of(500)))
    assert "Index Only Scan" in "\n".join(said)
