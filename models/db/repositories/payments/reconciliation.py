"""Reconciliation runs: the range read of each provider's list, its movements (each once), and the comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from models.db.repositories.delivery import tasks
from models.db.tables.base import one_of
from models.ids import new_id
from models.payments.provider import Movement
from models.payments.reconciliation import BeginRun, CompareLedger, EndRun, ReconciliationRun
from models.states import LIVE_CHECKOUT

# The first run of a provider starts before its first payment. After a failed run the next one starts at the same time.
_BEGIN = text("""
INSERT INTO reconciliation_runs (id, key, provider, state, since, until)
SELECT :id, :key, CAST(:provider AS text), 'running', coalesce(
    (SELECT max(r.until) - make_interval(secs => :overlap) FROM reconciliation_runs r
        WHERE r.provider = CAST(:provider AS text) AND r.state = 'done'),
    (SELECT min(p.created_at) - interval '1 day' FROM payments p WHERE p.provider = CAST(:provider AS text)),
    now() - make_interval(secs => :overlap)), now()
ON CONFLICT (key) DO UPDATE SET key = excluded.key
RETURNING id, since
""")

_STORE = text("""
INSERT INTO provider_movements (provider, reference, kind, payment, source, currency, amount, at, checkout_id,
    refund_id, run_id)
SELECT :provider, m.reference, m.kind, m.payment, m.source, m.currency, m.amount, m.at, m.checkout_id, m.refund_id,
    :run_id
FROM jsonb_to_recordset(CAST(:movements AS jsonb)) AS m (reference text, kind text, payment text, source text,
    currency text, amount bigint, at timestamptz, checkout_id text, refund_id text)
ON CONFLICT (provider, reference) DO UPDATE SET run_id = excluded.run_id, amount = excluded.amount,
    currency = excluded.currency
""")

_SKIPPED = text("UPDATE reconciliation_runs SET skipped = :skipped WHERE id = :run_id")

_COUNT = text("""
UPDATE reconciliation_runs SET movements = (SELECT count(*) FROM provider_movements WHERE run_id = :run_id)
WHERE id = :run_id
""")

_END = text("""
UPDATE reconciliation_runs SET state = :state, ended_at = now() WHERE id = :run_id AND state = 'running'
""")

# Movements younger than the margin at the start of the run count only if they make a difference smaller: our records
# and the provider's list may both lag. Pending refunds and shipments in progress are no differences.
# `theirs` and `ours` have each payment's sums: the least and the most that each side may amount to.
_COMPARE = text(f"""
CREATE TEMPORARY TABLE found_differences ON COMMIT DROP AS
WITH due AS (SELECT until - make_interval(secs => :margin) AS till FROM reconciliation_runs WHERE id = :run_id),
touched AS (
    SELECT payment FROM provider_movements
    WHERE run_id = :run_id AND kind <> 'authorisation' AND payment IS NOT NULL
    UNION SELECT p.reference FROM ledger_entries l JOIN payments p ON p.id = l.payment_id
    WHERE l.at >= :since AND p.provider = :provider AND p.reference IS NOT NULL
        AND l.kind NOT IN ('authorise', 'void', 'authorisation_used', 'fee', 'write_off')),
theirs AS (
    SELECT t.payment, min(m.currency) AS currency,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'capture' AND m.at < d.till), 0) AS captured_least,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'capture'), 0) AS captured_most,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund' AND m.at < d.till), 0)
            - coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund_failure'), 0) AS refunded_least,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund'), 0)
            - coalesce(sum(m.amount) FILTER (WHERE m.kind = 'refund_failure' AND m.at < d.till), 0) AS refunded_most,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute' AND m.at < d.till), 0)
            - coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute_reversal'), 0) AS disputed_least,
        coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute'), 0)
            - coalesce(sum(m.amount) FILTER (WHERE m.kind = 'dispute_reversal' AND m.at < d.till), 0) AS disputed_most
    FROM due d, touched t
    LEFT JOIN provider_movements m ON m.provider = :provider AND m.payment = t.payment
    GROUP BY t.payment),
ours AS (
    SELECT p.reference AS payment, p.id, p.order_id, p.checkout_id, p.currency, p.state, p.captured,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'capture' AND l.at < d.till), 0) AS captured_least,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'capture'), 0) + (
            SELECT coalesce(sum(s.capture_amount), 0) FROM shipments s
            WHERE s.order_id = p.order_id AND s.status = 'preparing' AND s.created_at >= min(d.till)) AS captured_most,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'refund' AND l.at < d.till), 0)
            - coalesce(sum(l.amount) FILTER (WHERE l.kind = 'refund_failed'), 0) AS refunded_least,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'refund'), 0)
            - coalesce(sum(l.amount) FILTER (WHERE l.kind = 'refund_failed' AND l.at < d.till), 0) + (
            SELECT coalesce(sum(f.amount), 0) FROM refund_parts f
            WHERE f.payment_id = p.id AND f.state = 'pending') AS refunded_most,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'dispute' AND l.at < d.till), 0)
            - coalesce(sum(l.amount) FILTER (WHERE l.kind = 'dispute_won'), 0) AS disputed_least,
        coalesce(sum(l.amount) FILTER (WHERE l.kind = 'dispute'), 0)
            - coalesce(sum(l.amount) FILTER (WHERE l.kind = 'dispute_won' AND l.at < d.till), 0) AS disputed_most
    FROM due d, touched t JOIN payments p ON p.provider = :provider AND p.reference = t.payment
    LEFT JOIN ledger_entries l ON l.payment_id = p.id
    GROUP BY p.id),
sums AS (
    SELECT v.kind, t.payment AS subject, o.id AS payment_id, o.order_id, o.checkout_id, o.currency, v.ours, v.theirs
    FROM theirs t JOIN ours o ON o.payment = t.payment
    CROSS JOIN LATERAL (VALUES
        ('capture-unrecorded', o.captured_most, t.captured_least, t.captured_least > o.captured_most),
        ('capture-missing', o.captured_least, t.captured_most, o.captured_least > t.captured_most),
        ('refund-unrecorded', o.refunded_most, t.refunded_least, t.refunded_least > o.refunded_most),
        ('refund-missing', o.refunded_least, t.refunded_most, o.refunded_least > t.refunded_most),
        ('dispute-unrecorded', o.disputed_most, t.disputed_least, t.disputed_least > o.disputed_most)
    ) AS v (kind, ours, theirs, differs)
    -- A payment that was captured instead of voided and then refunded in full was never in the ledger.
    WHERE v.differs AND NOT (o.captured = 0 AND o.state IN ('refunded', 'voided')
        AND t.captured_most = t.refunded_most)),
unknown AS (
    SELECT 'unknown-payment' AS kind, t.payment AS subject, NULL::text AS payment_id, NULL::text AS order_id,
        NULL::text AS checkout_id, t.currency, 0::bigint AS ours, t.captured_least AS theirs
    FROM theirs t WHERE t.captured_least > t.refunded_most
        AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.provider = :provider AND p.reference = t.payment)),
authorised AS (
    SELECT CASE WHEN p.id IS NOT NULL AND p.state IN ('authorised', 'captured') THEN 'authorisation-differs'
            WHEN c.id IS NULL THEN 'unknown-payment' ELSE 'orphaned-authorisation' END AS kind,
        m.payment AS subject, p.id AS payment_id, coalesce(p.order_id, c.order_id) AS order_id,
        coalesce(p.checkout_id, c.id) AS checkout_id, m.currency, coalesce(p.amount, 0) AS ours, m.amount AS theirs
    FROM due d, provider_movements m
    LEFT JOIN payments p ON p.provider = :provider AND p.reference = m.payment
    LEFT JOIN checkouts c ON c.id = m.checkout_id
    WHERE m.run_id = :run_id AND m.kind = 'authorisation' AND m.at < d.till
        AND (p.id IS NULL OR p.amount <> m.amount OR p.state IN ('voided', 'declined', 'refunded'))
        AND (c.id IS NULL OR NOT {one_of("c.status", LIVE_CHECKOUT)})
        AND NOT EXISTS (SELECT 1 FROM payments q WHERE q.checkout_id = c.id AND q.reference IS NULL
            AND q.state IN ('pending', 'requires_action'))),
elsewhere AS (
    SELECT 'unknown-payment', m.reference, NULL::text, NULL::text, NULL::text, m.currency, 0::bigint, m.amount
    FROM due d, provider_movements m
    WHERE m.run_id = :run_id AND m.payment IS NULL AND m.kind <> 'authorisation' AND m.at < d.till)
SELECT * FROM sums UNION ALL SELECT * FROM unknown UNION ALL SELECT * FROM authorised
UNION ALL SELECT * FROM elsewhere
""")  # noqa: S608  constants

_UNRESOLVED = text(
    "SELECT kind, subject, payment_id, order_id, checkout_id, currency, ours, theirs FROM found_differences"
)

_FOUND = text("""
INSERT INTO differences AS d (id, run_id, provider, kind, subject, payment_id, order_id, checkout_id, currency, ours,
    theirs, state)
VALUES (:id, :run_id, :provider, :kind, :subject, :payment_id, :order_id, :checkout_id, :currency, :ours, :theirs,
    'found')
ON CONFLICT (provider, kind, subject, ours, theirs) DO UPDATE SET state = 'found', run_id = excluded.run_id,
    closed_at = NULL WHERE d.state IN ('healed', 'found')
""")

# An open difference whose sums have changed has vanished, or is a new one.
_HEALED = text("""
UPDATE differences d SET state = 'healed', closed_at = now()
WHERE d.provider = :provider AND d.state = 'open'
    AND (d.payment_id IS NULL OR d.subject IN (SELECT payment FROM provider_movements WHERE run_id = :run_id))
    AND EXISTS (SELECT 1 FROM provider_movements m WHERE m.provider = d.provider AND m.run_id = :run_id
        AND d.subject IN (m.payment, m.reference))
    AND NOT EXISTS (SELECT 1 FROM found_differences f WHERE f.kind = d.kind AND f.subject = d.subject
        AND f.ours = d.ours AND f.theirs = d.theirs)
RETURNING d.task_id
""")

_PAGE = text("""
SELECT r.id, r.provider, r.state, r.since, r.until, r.started_at, r.ended_at, r.movements, r.skipped, (
    SELECT coalesce(jsonb_object_agg(d.state, d.number), '{}') FROM (
        SELECT state, count(*) AS number FROM differences WHERE run_id = r.id GROUP BY state) AS d) AS differences
FROM reconciliation_runs r WHERE r.id < :before ORDER BY r.id DESC LIMIT :limit
""")
_AFTER_ALL = "~"


def begin(connection: Connection, command: BeginRun) -> ReconciliationRun:
    """Begins a run from the end of the provider's last one, less the overlap. Idempotent by `key`."""
    row = connection.execute(
        _BEGIN,
        {
            "id": new_id("run"),
            "key": command.key,
            "provider": command.provider,
            "overlap": command.overlap_seconds,
        },
    ).one()
    return ReconciliationRun(run_id=row.id, provider=command.provider, since=row.since)


def store(connection: Connection, run: ReconciliationRun, movements: Sequence[Movement], *, skipped: int) -> None:
    """Stores movements of the provider's list; known ones are assigned to this run. `skipped`: of the run so far."""
    by_reference = {movement.reference: _row(movement) for movement in movements}  # a page may repeat a movement
    connection.execute(
        _STORE,
        {"provider": run.provider, "run_id": run.run_id, "movements": json.dumps(list(by_reference.values()))},
    )
    connection.execute(_SKIPPED, {"run_id": run.run_id, "skipped": skipped})


def _row(movement: Movement) -> dict[str, Any]:
    held = movement.model_dump(mode="json")
    return {**held, **held["amount"]}


def compare(connection: Connection, command: CompareLedger) -> list[str]:
    """Compares the provider's movements with our records. Returns the ids of the differences to resolve."""
    run = command.run
    values = {"run_id": run.run_id, "provider": run.provider, "since": run.since, "margin": command.margin_seconds}
    connection.execute(text("SET LOCAL statement_timeout = '10min'"))
    connection.execute(_COUNT, {"run_id": run.run_id})
    connection.execute(_COMPARE, values)
    for row in connection.execute(_UNRESOLVED).mappings().all():
        connection.execute(_FOUND, {**row, "id": new_id("diff"), "run_id": run.run_id, "provider": run.provider})
    for task_id in connection.execute(_HEALED, {"provider": run.provider, "run_id": run.run_id}).scalars().all():
        if task_id is not None:
            tasks.close_obsolete(connection, task_id)
    return list_unresolved(connection, run.run_id)


def list_unresolved(connection: Connection, run_id: str) -> list[str]:
    found = connection.execute(
        text("SELECT id FROM differences WHERE run_id = :run_id AND state = 'found' ORDER BY id LIMIT 1000"),
        {"run_id": run_id},
    )
    return list(found.scalars())


def end(connection: Connection, command: EndRun) -> None:
    connection.execute(_END, {"run_id": command.run_id, "state": command.state})


def page(connection: Connection, *, before: str | None, limit: int) -> list[dict[str, Any]]:
    """Newest first."""
    rows = connection.execute(_PAGE, {"before": before or _AFTER_ALL, "limit": limit})
    return [dict(row) for row in rows.mappings()]
