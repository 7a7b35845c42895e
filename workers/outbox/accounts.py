"""The consumer `accounts`: opens account requests, starts and signals the workflows of mailed links."""

from __future__ import annotations

import asyncio

from activities.gateways.secrets import Vault
from models import topics
from models.accounts.accounts import Link
from models.db.repositories.accounts import account_requests
from models.db.repositories.accounts.account_requests import Opening
from models.topics import AccountRequested, LinkEnded
from workers.outbox.consumers import Context
from workers.outbox.relay import Handlers, on
from workflows import queues, starts
from workflows.client import signal, start

QUEUE = queues.NOTIFICATIONS


def handlers(context: Context) -> Handlers:
    accounts = Accounts(context)
    return dict(
        [
            on(topics.ACCOUNT_REQUESTED, accounts.open_request),
            on(topics.LINK_OPENED, accounts.start_link),
            on(topics.LINK_ENDED, accounts.expire_link),
        ]
    )


class Accounts:
    def __init__(self, context: Context) -> None:
        self._settings = context.settings
        self._database = context.database
        self._client = context.client
        self._opening = Opening(
            digest=Vault.of(context.settings).link_digest,
            verification_seconds=context.settings.email_verification_seconds,
            reset_seconds=context.settings.password_reset_seconds,
            mails_per_hour=context.settings.account_mails_per_hour,
        )

    async def open_request(self, event: AccountRequested) -> None:
        """Opens the request here and not in the API, so that a caller can't measure how long it takes."""
        await asyncio.to_thread(self._open, event.request_id)

    async def start_link(self, link: Link) -> None:
        await start(self._client, starts.mailed_link(self._settings, link))

    async def expire_link(self, event: LinkEnded) -> None:
        """Signals that the link was used or replaced."""
        await signal(self._client, event.workflow_id, "ended", event.how)

    def _open(self, request_id: str) -> None:
        with self._database.transaction() as connection:
            account_requests.open_request(connection, request_id, self._opening)
