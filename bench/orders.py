"""The cost of a search among a million orders: each kind of search through the repository, as the API calls it.

It reads the first page of each, and one from the middle of the history, and shows PostgreSQL's EXPLAIN of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.figures import Figure, percentiles
from bench.order_data import BIG_CUSTOMER, NEWEST, RAREST, fill
from models.db.migrate import upgrade
from models.db.repositories.orders import search as order_search
from models.db.repositories.orders.search import Search
from models.db.session import Database
from models.orders.search_terms import query_terms
from models.states import OrderStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

RUN = "orders"
MANY, FEW = 1_000_000, 1_000
TIMES = 100
LIMIT = 21  # a page of the API's, and one more that tells whether there are more
FIRST, DEEP = "first page", "half-way"
SIZE = """
SELECT relname, pg_total_relation_size(oid) / 2 ^ 20 FROM pg_class WHERE relname IN ('orders', 'order_terms')
"""
Plan = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Page:
    """One page of one kind of search, measured. `pages`: of 8 KiB, read by PostgreSQL; `faults`: of its plan."""

    kind: str
    place: str
    found: int
    pages: int
    faults: list[str]
    seconds: list[float]
    shown: list[str]


def searches(count: int) -> dict[str, Search]:
    """All kinds, in the data set of `fill`. `own` are customers' searches; the others are the staff's."""
    dates: dict[str, Any] = {
        "placed_from": NEWEST - timedelta(seconds=count * 30),
        "placed_to": NEWEST - timedelta(seconds=count * 20),
    }
    big, held, done = BIG_CUSTOMER, OrderStatus.ON_HOLD, OrderStatus.COMPLETED
    return {
        "everything": Search(),
        "status, common": Search(status=done),
        "status, rare": Search(status=held),
        "dates": Search(**dates),
        "dates, rare status": Search(status=held, **dates),
        "number": _words(f"HF-{count // 2}"),
        "e-mail": _words("buyer7@example.com"),
        "SKU": _words("BN-ALP-JAC-51"),
        "word, common": _words("jacket"),
        "word, rare": _words(RAREST),
        "recipient": _words("bauer"),
        "words, both common": _words("jacket bauer"),
        "words, common and rare": _words(f"bauer {RAREST}"),
        "words, common, never together": _words("jacket boots"),
        "words, four": _words("alpine jacket red bauer"),
        "words, six": _words("ada bauer alpine jacket red bn-alp"),
        "word and common status": _words("jacket", status=done),
        "word and rare status": _words("jacket", status=held),
        "word and dates": _words("jacket", **dates),
        "words, status and dates": _words("jacket bauer", status=done, **dates),
        "own": Search(customer_id="usr_4"),
        "own, status": Search(customer_id="usr_4", status=done),
        "own, word": _words("jacket", customer_id="usr_4"),
        "own, of very many": Search(customer_id=big),
        "own, of very many, dates": Search(customer_id=big, **dates),
        "own, of very many, rare status": Search(customer_id=big, status=held),
        "own, of very many, common word": _words("jacket", customer_id=big),
        "own, of very many, rare word": _words(RAREST, customer_id=big),
        "own, of very many, words and status": _words("jacket bauer", customer_id=big, status=done),
    }


def _words(query: str, **more: Any) -> Search:
    return Search(terms=query_terms(query), **more)


def pages_of(count: int) -> Iterator[tuple[str, str, Search]]:
    """Of each kind the first page, and the middle one where no dates select the position."""
    half_way = (NEWEST - timedelta(seconds=count * 45), "ord_")
    for kind, search in searches(count).items():
        yield kind, FIRST, search._replace(limit=LIMIT)
        if search.placed_from is None:
            yield kind, DEEP, search._replace(limit=LIMIT, before=half_way)


def measure(url: str, count: int, say: Say, times: int = TIMES) -> list[Figure]:
    """Fills an empty database and measures."""
    began = time.monotonic()
    upgrade(url)
    database = Database(url, pool_size=1, application="bench")
    try:
        fill(database, count)
        say(f"{count:,} orders are there after {time.monotonic() - began:.0f} s.")
        pages = [_measured(database, *page, times) for page in pages_of(count)]
        with database.autocommit() as connection:
            sizes = {row[0]: float(row[1]) for row in connection.exec_driver_sql(SIZE)}
    finally:
        database.close()
    for page in pages:
        say("\n".join((f"-- {page.kind}, {page.place}: {page.found} orders", *page.shown, *page.faults)))
    return list(_figures(count, sizes, pages))


def _measured(database: Database, kind: str, place: str, search: Search, times: int) -> Page:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        with database.transaction() as connection:
            found = order_search.find(connection, search)
        seconds.append(time.perf_counter() - began)
    with database.transaction() as connection:
        shown = explained(connection, search, "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF")
        plan = plan_of(connection, search)
    return Page(kind, place, len(found), pages_read(plan), list(faults_in(plan)), seconds, shown)


def explained(connection: Connection, search: Search, how: str) -> list[Any]:
    """EXPLAIN of a page's statement: lines, or with `FORMAT JSON` one tree."""
    if search.terms:
        order_search.plan_in_order(connection)
    statement = order_search.page(search).compile(connection)
    return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN ({how}) {statement}", statement.params)]


def plan_of(connection: Connection, search: Search) -> Plan:
    """The topmost node."""
    ((found,),) = explained(connection, search, "ANALYZE, BUFFERS, FORMAT JSON")
    plan = found["Plan"]
    assert isinstance(plan, dict)
    return plan


def pages_read(plan: Plan) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def faults_in(plan: Plan) -> Iterator[str]:
    """Forbidden in a plan: a sequential scan, or a sort of more than the page."""
    node = plan["Node Type"]
    if node in ("Seq Scan", "Bitmap Heap Scan", "Hash", "Gather", "Gather Merge"):
        yield f"{node} on {plan.get('Alias', 'a join')}"
    if "Sort" in node and plan["Plans"][0]["Actual Rows"] > LIMIT:
        yield f"{node} of {plan['Plans'][0]['Actual Rows']:.0f} rows"
    if plan.get("Relation Name") and plan["Alias"] != "orders" and node != "Index Only Scan":
        yield f"{node} on {plan['Alias']}"
    for child in plan.get("Plans", ()):
        yield from faults_in(child)


def _figures(count: int, sizes: Mapping[str, float], pages: list[Page]) -> Iterator[Figure]:
    yield Figure("orders", count, "orders", RUN, at_once=1)
    for table, mebibytes in sizes.items():
        yield Figure("size", mebibytes, "MiB", RUN, table, at_once=1)
    yield Figure("faults", sum(len(page.faults) for page in pages), "faults in plans", RUN, at_once=1)
    for page in pages:
        of = f"{page.kind} | {page.place}"
        yield Figure("found", page.found, "orders", RUN, of, at_once=1)
        yield Figure("pages", page.pages, "pages of 8 KiB", RUN, of, at_once=1)
        for name, value in percentiles(page.seconds):
            yield Figure(f"find_{name}", value, "ms", RUN, of, at_once=1)
