"""Order search by terms, customer, status and time, newest first, in pages that read only their rows.

Every criterion is a range of an index in the order of the pages, (placed_at, id): a term in `order_terms`, a status or
a customer in `orders`. A page is the first orders in all ranges; PostgreSQL's statistics decide which range is scanned
and which are probed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, text, tuple_

from models.db.repositories.orders.orders import COLUMNS, StoredOrder
from models.db.tables.orders import order_terms as terms_table
from models.db.tables.orders import orders
from models.orders import search_terms
from models.orders.orders import Order

JOINED = 4  # terms; further ones are probed for each candidate, because planning many joins costs more than it saves

# PostgreSQL assumes that placed_at and id are independent, so it expects almost no common rows of two ranges; then
# reading, hashing and sorting whole ranges looks cheap. Without these plans it scans in order and stops after the page.
# A generic plan, made for a rare term, would be bad for a common one.
_IN_ORDER = text("""
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_sort', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('plan_cache_mode', 'force_custom_plan', true)
""")


class Search(NamedTuple):
    """None: no filter. `terms`: all of them must match; `before`: (placed_at, id) of the previous page's last order."""

    terms: Sequence[str] | None = None
    customer_id: str | None = None
    status: str | None = None
    placed_from: datetime | None = None
    placed_to: datetime | None = None
    before: tuple[datetime, str] | None = None
    limit: int = 20


def find(connection: Connection, search: Search) -> list[StoredOrder]:
    """Newest first, at most `limit`. Call it in a transaction; its later statements are planned the same way."""
    if search.terms is not None:
        if not search.terms:
            return []
        plan_in_order(connection)
    return [
        StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]) for row in connection.execute(page(search))
    ]


def plan_in_order(connection: Connection) -> None:
    """Sets the planner options for the rest of the transaction."""
    connection.execute(_IN_ORDER)


def page(search: Search) -> Select[Any]:
    """The statement of one page: a subquery finds the ids by indexes alone, then their rows are read."""
    found = _found(search).subquery("found")
    return select(*COLUMNS).join(found, found.c.id == orders.c.id).order_by(found.c.placed_at.desc(), found.c.id.desc())


class _Range(NamedTuple):
    """Orders that match one criterion, in the order of the pages."""

    placed_at: ColumnElement[Any]
    id: ColumnElement[Any]
    wanted: Sequence[ColumnElement[bool]]


def _found(search: Search) -> Select[Any]:
    """(placed_at, id) of one page: of the orders in all ranges."""
    terms = search.terms or ()
    ranges = [_of_term(f"word{number}", term) for number, term in enumerate(terms[:JOINED])]
    if not terms or search.customer_id is not None or search.status is not None:
        ranges.append(_of_orders(search))
    first = ranges[0]
    statement = select(first.placed_at.label("placed_at"), first.id.label("id"))
    for each in ranges:
        # Repeated for each range: PostgreSQL derives no row comparison from another.
        statement = statement.where(*each.wanted, *_within(search, each))
        if each is not first:
            statement = statement.where(each.placed_at == first.placed_at, each.id == first.id)
    if rest := list(terms[JOINED:]):
        statement = statement.where(_has_all(first, rest))
    return statement.order_by(first.placed_at.desc(), first.id.desc()).limit(search.limit)


def _of_term(name: str, term: str) -> _Range:
    table = terms_table.alias(name)
    return _Range(table.c.placed_at, table.c.order_id, [table.c.term == term])


def _of_orders(search: Search) -> _Range:
    table = orders.alias("listed")
    wanted = ((table.c.customer_id, search.customer_id), (table.c.status, search.status))
    return _Range(table.c.placed_at, table.c.id, [column == value for column, value in wanted if value is not None])


def _within(search: Search, orders_range: _Range) -> list[ColumnElement[bool]]:
    found = []
    if search.placed_from is not None:
        found.append(orders_range.placed_at >= search.placed_from)
    if search.placed_to is not None:
        found.append(orders_range.placed_at < search.placed_to)
    if search.before is not None:
        found.append(tuple_(orders_range.placed_at, orders_range.id) < tuple_(*search.before))
    return found


def _has_all(first: _Range, terms: list[str]) -> ColumnElement[bool]:
    probed = terms_table.alias("probed").c
    among = probed.term == func.any(bindparam("rest", terms))
    count = select(func.count()).where(among, probed.placed_at == first.placed_at, probed.order_id == first.id)
    return count.scalar_subquery() == len(terms)


_REWRITE = text("""
WITH gone AS (DELETE FROM order_terms
    WHERE order_id = :order_id AND NOT (placed_at = :placed_at AND term = ANY(CAST(:terms AS text[]))))
INSERT INTO order_terms (term, placed_at, order_id)
SELECT term, :placed_at, :order_id FROM unnest(CAST(:terms AS text[])) AS term
ON CONFLICT DO NOTHING
""")


def rewrite_terms(
    connection: Connection, order: Order, *, email: str | None, shipping: Mapping[str, Any] | None
) -> None:
    """Replaces the search terms of a locked order after a change of its personal data, in the same transaction.

    To erase a name or an address pass None instead.
    """
    values = {"order_id": order.id, "placed_at": order.placed_at, "terms": terms(order, email, shipping)}
    connection.execute(_REWRITE, values)


def terms(order: Order, email: str | None, shipping: Mapping[str, Any] | None) -> list[str]:
    """The search terms of an order with this personal data."""
    products = [(line.sku, line.title) for line in order.lines]
    return search_terms.terms_of(order.number, products, (shipping or {}).get("name"), email)
