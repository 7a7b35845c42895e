"""The ledger: posts entries, computes balances and checks entries against payments. Only this file writes entries."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from models.ledger import POSTINGS, EntryKind
from models.money import Money

_INSERT = "INSERT INTO ledger_entries (kind, payment_id, cause, debit, credit, currency, amount)"

_POST = text(f"""
{_INSERT}
VALUES (:kind, :payment_id, :cause, :debit, :credit, :currency, :amount)
ON CONFLICT (payment_id, kind, cause) DO NOTHING
""")

_ENTRIES = text("""
SELECT l.id, l.kind, l.payment_id, l.cause, l.debit, l.credit, l.currency, l.amount, l.at
FROM ledger_entries l JOIN payments p ON p.id = l.payment_id
WHERE p.order_id = :order_id ORDER BY l.id
""")

# One row for every sum of a payment that differs from its entries.
_PAYMENTS = text("""
WITH posted AS (
    SELECT payment_id,
        coalesce(sum(amount) FILTER (WHERE kind = 'authorise'), 0)
            - coalesce(sum(amount) FILTER (WHERE kind IN ('void', 'authorisation_used')), 0) AS open_amount,
        coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0) AS captured,
        coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0)
            - coalesce(sum(amount) FILTER (WHERE kind = 'refund_failed'), 0) AS refunded,
        coalesce(sum(amount) FILTER (WHERE kind = 'dispute'), 0)
            - coalesce(sum(amount) FILTER (WHERE kind = 'dispute_won'), 0) AS disputed
    FROM ledger_entries GROUP BY payment_id),
refunded_parts AS (
    SELECT payment_id, sum(amount) AS amount FROM refund_parts WHERE state = 'succeeded' GROUP BY payment_id),
both_sides AS (
    SELECT p.id, v.what, v.ours, v.entries FROM payments p
    LEFT JOIN posted b ON b.payment_id = p.id LEFT JOIN refunded_parts g ON g.payment_id = p.id
    CROSS JOIN LATERAL (VALUES
        ('open', CASE WHEN p.state IN ('authorised', 'captured') THEN p.amount - p.captured - p.released ELSE 0 END,
            coalesce(b.open_amount, 0)),
        ('captured', p.captured, coalesce(b.captured, 0)),
        ('refunded', coalesce(g.amount, 0), coalesce(b.refunded, 0)),
        ('disputed', p.disputed, coalesce(b.disputed, 0))) AS v (what, ours, entries))
SELECT id, what, ours, entries FROM both_sides WHERE ours <> entries ORDER BY id, what LIMIT 100
""")

_BALANCES = text("""
SELECT currency, account, sum(amount)::bigint AS amount FROM (
    SELECT currency, debit AS account, amount FROM ledger_entries
    UNION ALL SELECT currency, credit, -amount FROM ledger_entries) AS sides
GROUP BY currency, account ORDER BY currency, account
""")

_COUNT = text("SELECT count(*) FROM ledger_entries")


def post(connection: Connection, kind: EntryKind, payment_id: str, cause: str, amount: Money) -> None:
    """Posts one entry. Idempotent by payment, kind and cause."""
    values = {"kind": kind, "payment_id": payment_id, "cause": cause, **POSTINGS[kind]._asdict()}
    connection.execute(_POST, {**values, "currency": amount.currency, "amount": amount.amount})


def entry(kind: EntryKind, source: str, cause: str, amount: str = "amount") -> str:
    """SQL for `insert`: one entry for each row of `source`, which has a payment's `id` and `currency`."""
    debit, credit = POSTINGS[kind]
    return f"SELECT '{kind}', id, {cause}, '{debit}', '{credit}', currency, {amount} FROM {source}"  # noqa: S608


def insert(*entries: str) -> str:
    """The INSERT for a larger statement, which saves a round trip. A repeated entry is an error."""
    return f"{_INSERT} " + " UNION ALL ".join(entries)


class Entry(NamedTuple):
    """`amount` minor units moved from the account `credit` to the account `debit`."""

    id: int
    kind: str
    payment_id: str
    cause: str
    debit: str
    credit: str
    currency: str
    amount: int
    at: datetime


class Checked(NamedTuple):
    """`balances` by currency and account: debits less credits; `faults`: messages, none if the ledger is consistent."""

    entries: int
    balances: dict[str, dict[str, int]]
    faults: list[str]


def of_order(connection: Connection, order_id: str) -> list[Entry]:
    """The entries of the order's payments, oldest first; few, so without pages."""
    return [Entry(*row) for row in connection.execute(_ENTRIES, {"order_id": order_id})]


def balances(entries: list[Entry]) -> dict[str, int]:
    """The balance of each account: debits less credits. Their sum is 0."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry.debit] += entry.amount
        found[entry.credit] -= entry.amount
    return dict(sorted(found.items()))


def check(connection: Connection) -> Checked:
    """Checks the whole ledger in one snapshot. Call it within a transaction."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    found: dict[str, dict[str, int]] = {}
    for currency, account, amount in connection.execute(_BALANCES):
        found.setdefault(currency, {})[account] = int(amount)
    faults = [
        f"{currency}: the accounts sum to {total}, not to 0"
        for currency, accounts in found.items()
        if (total := sum(accounts.values()))
    ]
    rows: Any = connection.execute(_PAYMENTS)
    faults += [f"{row.id}: {row.ours} {row.what}, its entries say {row.entries}" for row in rows]
    return Checked(int(connection.execute(_COUNT).scalar_one()), found, faults)
