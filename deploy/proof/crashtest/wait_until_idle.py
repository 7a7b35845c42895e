"""Waits until the shop is idle: no undelivered message, unsent mail, open checkout or pending compensation."""

import time
from contextlib import suppress

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from temporalio.service import RPCError

from deploy.proof.invariants.facts import executions
from runtime.settings import Settings

_BUSY = text("""
SELECT (SELECT count(*) FROM outbox) AS undelivered,
    (SELECT count(*) FROM checkouts WHERE status IN ('processing', 'requires_action')) AS undecided,
    (SELECT count(*) FROM orders o WHERE NOT EXISTS (
        SELECT 1 FROM notifications n WHERE n.event = o.id || '\\:1' AND n.state <> 'sending')) AS unmailed,
    (SELECT count(*) FROM shipments WHERE status = 'preparing') AS unshipped,
    (SELECT count(*) FROM refunds WHERE state = 'pending') AS unrefunded,
    (SELECT count(*) FROM returns WHERE state = 'requested' OR state = 'received' AND refund_id IS NOT NULL)
        AS unreturned,
    (SELECT count(*) FROM orders WHERE status = 'delivered') AS uncompleted,
    (SELECT count(*) FROM payment_retries WHERE state = 'retrying') AS unpaid,
    (SELECT count(*) FROM orders WHERE status = 'cancelled' AND payment_status = 'authorised') AS unreleased,
    (SELECT count(*) FROM notifications WHERE state = 'sending') AS unsent,
    (SELECT count(*) FROM payment_methods WHERE state IN ('saving', 'requires_action', 'removing')) AS half_saved
""")
_RUNNING = (
    "ExecutionStatus = 'Running'"
    " AND WorkflowType IN ('Checkout', 'CheckoutCleanup', 'SavePaymentMethod', 'RemovePaymentMethod', 'Return',"
    " 'Refund', 'PaymentRetry')"
)


def wait_until_idle(settings: Settings, patience: float) -> str | None:
    """None when it is idle; else what it still waits for. The return window must be short."""
    deadline = time.monotonic() + patience
    while (waiting := _waiting_for(settings)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return waiting


def _waiting_for(settings: Settings) -> str | None:
    with suppress(SQLAlchemyError, RPCError, RuntimeError):
        engine = create_engine(settings.database, poolclass=NullPool)
        with engine.begin() as connection:
            counts = dict(connection.execute(_BUSY).mappings().one())
        if not any(counts.values()):
            counts = {"running processes": len(executions(settings, _RUNNING))}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or None
    return "the engines"
