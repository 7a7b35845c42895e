"""The sweeper: restarts the workflows of orphans, rows whose workflow is gone (terminated in the Temporal UI, say).

It reads a page of ids from the database, and one query to Temporal's visibility store lists the workflows that run. The
store is eventually consistent, so the missing ones are described one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import NamedTuple

import structlog
from temporalio.client import Client

from models import ids
from models.db.repositories import orphans
from models.db.repositories.orphans import Row
from models.db.repositories.payments import method_saving
from models.db.session import Database
from models.payments.methods import BeginPaymentMethod
from runtime.settings import Settings
from workflows import starts
from workflows.client import is_running, start
from workflows.starts import Input, Result, Start, W

MARGIN_SECONDS = 60.0  # younger rows may still be on their way through the outbox and Temporal
PAGE = 1000  # rows of each kind in a round; the next round continues after them
AT_ONCE = 100  # rows in one visibility query

log = structlog.get_logger()


class Kind(NamedTuple):
    """A row is an orphan if none of its `workflow_ids` runs."""

    name: str
    page: orphans.Page
    workflow_ids: Callable[[str], Sequence[str]]
    restart: Callable[[Sweeper, Row], Awaitable[bool]]


KINDS = (
    Kind(
        "checkout",
        orphans.CHECKOUTS,
        lambda id_: (ids.checkout_workflow(id_), ids.checkout_cleanup_workflow(id_)),
        lambda sweeper, row: sweeper.start(starts.checkout_cleanup(row.id)),
    ),
    Kind(
        "card to save",
        orphans.CARDS_TO_SAVE,
        lambda id_: (ids.save_payment_method_workflow(id_),),
        lambda sweeper, row: sweeper.save_card(row.id),
    ),
    Kind(
        "card to remove",
        orphans.CARDS_TO_REMOVE,
        lambda id_: (ids.remove_payment_method_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.remove_payment_method(row.id)),
    ),
    Kind(
        "order",
        orphans.ORDERS,
        lambda id_: (ids.order_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.order(sweeper.settings, row.id, resumed=True)),
    ),
    Kind(
        "shipment",
        orphans.SHIPMENTS,
        lambda id_: (ids.shipment_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.shipment(sweeper.settings, row.parent_id, row.id)),
    ),
    Kind(
        "return",
        orphans.RETURNS,
        lambda id_: (ids.return_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.return_(row.parent_id, row.id)),
    ),
    Kind(
        "refund",
        orphans.REFUNDS,
        lambda id_: (ids.refund_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.refund(row.parent_id, row.id)),
    ),
    Kind(
        "payment retry",
        orphans.PAYMENT_RETRIES,
        lambda id_: (ids.payment_retry_workflow(id_),),
        lambda sweeper, row: sweeper.start(starts.payment_retry(sweeper.settings, row.id)),
    ),
)


class Sweeper:
    """`margin` in seconds."""

    settings: Settings

    def __init__(
        self,
        settings: Settings,
        database: Database,
        client: Client,
        *,
        margin: float = MARGIN_SECONDS,
        page: int = PAGE,
    ) -> None:
        self.settings = settings
        self._client = client
        self._database = database
        self._margin = margin
        self._page = page
        self._after = {kind.name: "" for kind in KINDS}

    async def round(self) -> list[str]:
        """Sweeps one page of each kind; returns the ids of the rows whose workflows were restarted."""
        restarted: list[str] = []
        for kind in KINDS:
            rows = await asyncio.to_thread(self._next, kind)
            for orphan in await self._orphans(kind, rows):
                started = await kind.restart(self, orphan)
                log.warning("orphan_found", kind=kind.name, id=orphan.id, restarted=started)
                restarted += [orphan.id] if started else []
            self._after[kind.name] = rows[-1].id if len(rows) == self._page else ""
        return restarted

    def _next(self, kind: Kind) -> list[Row]:
        """The page after the last round's; after the last page, the first."""
        with self._database.autocommit() as connection:
            return orphans.read(
                connection, kind.page, after=self._after[kind.name], margin=self._margin, limit=self._page
            )

    async def _orphans(self, kind: Kind, rows: list[Row]) -> list[Row]:
        found = []
        remaining = iter(rows)
        while some := list(islice(remaining, AT_ONCE)):
            listed = await self._listed([each for row in some for each in kind.workflow_ids(row.id)])
            missing = [row for row in some if listed.isdisjoint(kind.workflow_ids(row.id))]
            found += [row for row in missing if not await self._is_running(kind.workflow_ids(row.id))]
        return found

    async def _listed(self, workflow_ids: list[str]) -> set[str]:
        """The workflows that run. Our ids consist of letters, digits, `_`, `-` and `/`, so they need no escaping."""
        quoted = ", ".join(f"'{workflow_id}'" for workflow_id in workflow_ids)
        query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({quoted})"
        return {execution.id async for execution in self._client.list_workflows(query, page_size=len(workflow_ids))}

    async def _is_running(self, workflow_ids: Sequence[str]) -> bool:
        return any([await is_running(self._client, workflow_id) for workflow_id in workflow_ids])

    async def start(self, process: Start[W, Input, Result]) -> bool:
        return await start(self._client, process)

    async def save_card(self, payment_method_id: str) -> bool:
        """Restarts the set-up with its original input, but without time to wait for its owner."""
        begin = await asyncio.to_thread(self._begin_save, payment_method_id)
        return begin is not None and await self.start(starts.save_payment_method(begin))

    def _begin_save(self, payment_method_id: str) -> BeginPaymentMethod | None:
        with self._database.autocommit() as connection:
            return method_saving.read_begun(connection, payment_method_id)
