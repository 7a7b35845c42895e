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
from sqlalchemy.sql.selectable import FromClause

from models import order_terms
from models.db.repositories.orders import COLUMNS, StoredOrder
from models.db.tables.orders import order_terms as terms_table
from models.db.tables.orders import orders
from models.orders import Order

JOINED = 4  # more words than these are asked of each candidate: planning many joins takes longer than they save


class Search(NamedTuple):
    """None limits nothing. `words`: of `words_of`, all must match; `before`: (placed_at, id) of the last order seen."""

    words: Sequence[str] | None = None
    customer_id: str | None = None
    status: str | None = None
    placed_from: datetime | None = None
    placed_to: datetime | None = None
    before: tuple[datetime, str] | None = None
    limit: int = 20


def find(connection: Connection, search: Search) -> list[StoredOrder]:
    """Newest first. Inside a transaction: a plan that was made for another word would read thousands of orders more."""
    if search.words is not None:
        if not search.words:
            return []
        connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    return [
        StoredOrder(Order.model_validate(row[0]), row[1], row[2], row[3]) for row in connection.execute(page(search))
    ]


def page(search: Search) -> Select[Any]:
    """The statement of one page."""
    newest = (orders.c.placed_at.desc(), orders.c.id.desc())
    if not search.words:
        statement = select(*COLUMNS).where(*_of_orders(search), *_within(search, orders.c.placed_at, orders.c.id))
        return statement.order_by(*newest).limit(search.limit)
    found = _found(search).subquery("found")
    return (
        select(*COLUMNS)
        .join(found, found.c.order_id == orders.c.id)
        .order_by(found.c.placed_at.desc(), found.c.order_id.desc())
    )


def _found(search: Search) -> Select[Any]:
    """(placed_at, order_id) of one page, out of indexes alone."""
    words = search.words or ()
    lists = [terms_table.alias(f"word{number}") for number, _ in enumerate(words[:JOINED])]
    first = lists[0]
    statement = select(first.c.placed_at, first.c.order_id)
    for each, word in zip(lists, words, strict=False):
        statement = statement.where(each.c.term == word, *_within(search, each.c.placed_at, each.c.order_id))
        if each is not first:
            statement = statement.where(_same(each.c.placed_at, each.c.order_id, first))
    if search.customer_id is not None or search.status is not None:
        statement = statement.where(
            *_of_orders(search),
            *_within(search, orders.c.placed_at, orders.c.id),
            _same(orders.c.placed_at, orders.c.id, first),
        )
    if rest := list(words[JOINED:]):
        statement = statement.where(_has_all(first, rest))
    return statement.order_by(first.c.placed_at.desc(), first.c.order_id.desc()).limit(search.limit)


def _same(placed_at: ColumnElement[Any], order_id: ColumnElement[Any], first: FromClause) -> ColumnElement[bool]:
    return (placed_at == first.c.placed_at) & (order_id == first.c.order_id)


def _has_all(first: FromClause, words: list[str]) -> ColumnElement[bool]:
    probed = terms_table.alias("probed")
    return (
        select(func.count())
        .where(probed.c.term == func.any(bindparam("rest", words)), _same(probed.c.placed_at, probed.c.order_id, first))
        .scalar_subquery()
    ) == len(words)


def _of_orders(search: Search) -> list[ColumnElement[bool]]:
    wanted = ((orders.c.customer_id, search.customer_id), (orders.c.status, search.status))
    return [column == value for column, value in wanted if value is not None]


def _within(search: Search, placed_at: ColumnElement[Any], order_id: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Said of each stretch by itself: PostgreSQL concludes no row comparison from another."""
    found = []
    if search.placed_from is not None:
        found.append(placed_at >= search.placed_from)
    if search.placed_to is not None:
        found.append(placed_at < search.placed_to)
    if search.before is not None:
        found.append(tuple_(placed_at, order_id) < tuple_(*search.before))
    return found


_REWRITE = text("""
WITH gone AS (DELETE FROM order_terms WHERE order_id = :order_id AND NOT term = ANY(CAST(:terms AS text[])))
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
    return order_terms.terms_of(order.number, products, (shipping or {}).get("name"), email)
