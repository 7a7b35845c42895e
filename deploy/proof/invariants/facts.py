"""The input of the invariants: our rows, the provider's records, the workflows, and the responses that buyers got."""

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from deploy.proof.invariants.paypal import as_intents, as_refunds
from runtime.settings import Settings
from workflows.client import connect

Row = dict[str, Any]

STATEMENTS = {
    "stock_levels": "SELECT sku, location, on_hand, reserved FROM stock_levels",
    "adjusted": "SELECT sku, location, sum(delta)::bigint AS units FROM stock_adjustments GROUP BY sku, location",
    "restocked": "SELECT sku, location, reason, sum(delta)::bigint AS units FROM stock_adjustments"
    " WHERE reason LIKE 'return ret_%' GROUP BY sku, location, reason",
    "holds": "SELECT checkout_id, sku, location, quantity, shipped, state FROM stock_holds",
    "checkouts": "SELECT id, cart_id, order_id, status, reason, key_digest, retryable, currency, total FROM checkouts",
    "payments": "SELECT id, checkout_id, order_id, provider, reference, state, currency, amount, captured, released,"
    " refunded, disputed FROM payments",
    "refunds": "SELECT id, order_id, state, currency, amount, cause FROM refunds",
    "refund_parts": "SELECT refund_id, payment_id, amount, state, reference FROM refund_parts",
    "ledger": "SELECT id, kind, payment_id, cause, debit, credit, currency, amount FROM ledger_entries",
    "promotions": "SELECT id, code, usage_limit, used FROM promotions",
    "promotion_uses": "SELECT promotion_id, checkout_id, final FROM promotion_uses",
    "orders": "SELECT id, number, version, status, payment_status, customer_id, cart_id, checkout_id, currency, total,"
    " document, email, shipping_address ->> 'name' AS recipient, placed_at FROM orders",
    "events": "SELECT order_id, version, type, at, actor, cause, data FROM order_events ORDER BY order_id, version",
    "terms": "SELECT order_id, placed_at, array_agg(term) AS terms FROM order_terms GROUP BY order_id, placed_at",
    "shipments": "SELECT id, order_id, status, lines, capture_amount, carrier, tracking_number, location, label_id"
    " FROM shipments",
    "unapplied_carrier_events": "SELECT event_id, tracking_number FROM carrier_words WHERE applied_at IS NULL",
    "retries": "SELECT order_id, payment_id, state, open_try FROM payment_retries",
    "returns": "SELECT id, order_id, state, lines, restocked, refund_id FROM returns",
    "notifications": "SELECT id, event, topic, channel, state, attempts FROM notifications",
    "outbox": "SELECT id, topic, aggregate, attempts FROM outbox",
    "dead_letters": "SELECT id, topic, aggregate, error FROM dead_letters",
    "stored_responses": "SELECT key_digest, status, body FROM kept_answers",
    "completed_carts": "SELECT id, completed_order_id FROM carts WHERE completed_order_id IS NOT NULL",
    "cards": "SELECT id, user_id, provider, state, reason, reference, same_as, is_default FROM payment_methods",
    "accounts": "SELECT id, payment_customer FROM users",
    "tasks": "SELECT id, kind, subject, detail FROM tasks WHERE closed_at IS NULL",
}


class Execution(NamedTuple):
    """One workflow execution; `status` in capitals, as Temporal has it."""

    id: str
    type: str
    status: str


class ClientResponse(NamedTuple):
    """The final response to a buyer under one Idempotency-Key."""

    key: str
    cart_id: str
    status: int
    body: Row
    raw: str = ""


@dataclass
class Facts:
    """One moment of an idle shop. Rows as they are in the database; intents, refunds (`provider_refunds`), mails,
    customers and their payment methods as in the sandbox.
    """

    stock_levels: list[Row] = field(default_factory=list)
    adjusted: list[Row] = field(default_factory=list)
    restocked: list[Row] = field(default_factory=list)
    holds: list[Row] = field(default_factory=list)
    checkouts: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)
    refunds: list[Row] = field(default_factory=list)
    refund_parts: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    promotions: list[Row] = field(default_factory=list)
    promotion_uses: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    terms: list[Row] = field(default_factory=list)
    shipments: list[Row] = field(default_factory=list)
    unapplied_carrier_events: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    returns: list[Row] = field(default_factory=list)
    notifications: list[Row] = field(default_factory=list)
    outbox: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    stored_responses: list[Row] = field(default_factory=list)
    completed_carts: list[Row] = field(default_factory=list)
    cards: list[Row] = field(default_factory=list)
    accounts: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    retries: list[Row] = field(default_factory=list)
    texts: list[Row] = field(default_factory=list)
    intents: list[Row] = field(default_factory=list)
    provider_refunds: list[Row] = field(default_factory=list)
    mails: list[Row] = field(default_factory=list)
    customers: list[Row] = field(default_factory=list)
    methods: list[Row] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    responses: Sequence[ClientResponse] = ()

    @property
    def size(self) -> int:
        """The number of facts: without any, nothing was checked."""
        return sum(len(getattr(self, each.name)) for each in fields(self))


def gather(settings: Settings, responses: Sequence[ClientResponse] = ()) -> Facts:
    """Reads all facts. The shop must be idle: database, provider and Temporal are read one after another."""
    engine = create_engine(settings.database, poolclass=NullPool, isolation_level="REPEATABLE READ")
    try:
        with engine.begin() as connection:
            books = {name: _rows(connection, statement) for name, statement in STATEMENTS.items()}
    finally:
        engine.dispose()
    return Facts(
        **books,
        intents=_sandbox(settings, "/stripe/payment_intents") + as_intents(_sandbox(settings, "/paypal/orders")),
        provider_refunds=_sandbox(settings, "/stripe/refunds") + as_refunds(_sandbox(settings, "/paypal/refunds")),
        labels=_sandbox(settings, "/carrier/labels"),
        mails=_sandbox(settings, "/mail"),
        texts=_sandbox(settings, "/sms"),
        customers=_sandbox(settings, "/stripe/customers"),
        methods=_sandbox(settings, "/stripe/payment_methods"),
        executions=executions(settings),
        responses=responses,
    )


def executions(settings: Settings, query: str | None = None) -> list[Execution]:
    """From Temporal's visibility store, which lags by a moment."""

    async def listed() -> list[Execution]:
        client = await connect(settings)
        return [
            Execution(found.id, found.workflow_type, found.status.name if found.status else "UNKNOWN")
            async for found in client.list_workflows(query)
        ]

    return asyncio.run(listed())


def _rows(connection: Connection, statement: str) -> list[Row]:
    return [dict(row) for row in connection.execute(text(statement)).mappings()]


def _sandbox(settings: Settings, path: str) -> list[Row]:
    with urllib.request.urlopen(f"{settings.sandbox_url}/_sandbox{path}", timeout=30) as answer:  # noqa: S310  ours
        found = json.load(answer)
    assert isinstance(found, list)
    return found
