"""Finding orders: any mix of words, customer, status and time, newest first, in pages that read only what they show.

Every criterion is a stretch of an index in the order of the pages, (placed_at, id): a word in `order_terms`, a status
or a customer in `orders`. A page is the first orders that all stretches share; PostgreSQL's statistics say which
stretch is walked and which are asked.
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

JOINED = 4  # more words than these are asked of each candidate: planning many joins takes longer than they save

# PostgreSQL takes placed_at and id for independent of each other, so it believes that stretches share next to nothing;
# then reading them whole, hashed and sorted, looks cheap. What is left walks them in order and stops with the page. And
# a plan that was made for a rare word would be bad for a common one.
_IN_ORDER = text("""
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_sort', 'off', true),
    set_config('max_parallel_workers_per_gather', '0', true), set_config('plan_cache_mode', 'force_custom_plan', true)
""")


class Search(NamedTuple):
    """None limits nothing. `terms`: all of them must match; `before`: (placed_at, id) of the last order seen."""

    terms: Sequence[str] | None = None
    customer_id: str | None = None
    status: str | None = None
    placed_from: datetime | None = None
    placed_to: datetime | None = None
    before: tuple[datetime, str] | None = None
    limit: int = 20


def find(connection: Connection, search: Search) -> list[StoredOrder]:
    """Newest first, at most `limit`. Inside a transaction, whose later statements are planned the same way."""
    if search.terms is not None:
        if not search.terms:
            return []
        plan_in_order(connection)
    return [
        StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]) for row in connection.execute(page(search))
    ]


def plan_in_order(connection: Connection) -> None:
    """For the rest of the transaction."""
    connection.execute(_IN_ORDER)


def page(search: Search) -> Select[Any]:
    """The statement of one page: which orders, out of indexes alone; and those."""
    found = _found(search).subquery("found")
    return select(*COLUMNS).join(found, found.c.id == orders.c.id).order_by(found.c.placed_at.desc(), found.c.id.desc())


class _Stretch(NamedTuple):
    """Orders that meet one criterion, in the order of the pages."""

    placed_at: ColumnElement[Any]
    id: ColumnElement[Any]
    wanted: Sequence[ColumnElement[bool]]


def _found(search: Search) -> Select[Any]:
    """(placed_at, id) of one page: of the orders that all stretches share."""
    words = search.terms or ()
    stretches = [_of_term(f"word{number}", word) for number, word in enumerate(words[:JOINED])]
    if not words or search.customer_id is not None or search.status is not None:
        stretches.append(_of_orders(search))
    first = stretches[0]
    statement = select(first.placed_at.label("placed_at"), first.id.label("id"))
    for stretch in stretches:
        # Said of each by itself: PostgreSQL concludes no row comparison from another.
        statement = statement.where(*stretch.wanted, *_within(search, stretch))
        if stretch is not first:
            statement = statement.where(stretch.placed_at == first.placed_at, stretch.id == first.id)
    if rest := list(words[JOINED:]):
        statement = statement.where(_has_all(first, rest))
    return statement.order_by(first.placed_at.desc(), first.id.desc()).limit(search.limit)


def _of_term(name: str, word: str) -> _Stretch:
    table = terms_table.alias(name)
    return _Stretch(table.c.placed_at, table.c.order_id, [table.c.term == word])


def _of_orders(search: Search) -> _Stretch:
    table = orders.alias("listed")
    wanted = ((table.c.customer_id, search.customer_id), (table.c.status, search.status))
    return _Stretch(table.c.placed_at, table.c.id, [column == value for column, value in wanted if value is not None])


def _within(search: Search, stretch: _Stretch) -> list[ColumnElement[bool]]:
    found = []
    if search.placed_from is not None:
        found.append(stretch.placed_at >= search.placed_from)
    if search.placed_to is not None:
        found.append(stretch.placed_at < search.placed_to)
    if search.before is not None:
        found.append(tuple_(stretch.placed_at, stretch.id) < tuple_(*search.before))
    return found


def _has_all(first: _Stretch, words: list[str]) -> ColumnElement[bool]:
    probed = terms_table.alias("probed").c
    among = probed.term == func.any(bindparam("rest", words))
    count = select(func.count()).where(among, probed.placed_at == first.placed_at, probed.order_id == first.id)
    return count.scalar_subquery() == len(words)


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
    """After a change of what stands beside a locked order, in its transaction: found by that and by nothing of before.

    Whoever erases a person's name or address passes None in its place.
    """
    values = {"order_id": order.id, "placed_at": order.placed_at, "terms": terms(order, email, shipping)}
    connection.execute(_REWRITE, values)


def terms(order: Order, email: str | None, shipping: Mapping[str, Any] | None) -> list[str]:
    """By which an order with these beside it is found."""
    products = [(line.sku, line.title) for line in order.lines]
    return search_terms.terms_of(order.number, products, (shipping or {}).get("name"), email)
