"""The part that all mailed links share: send the mail, retried while the link is live, then wait for its end."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.accounts.notifications import Accounts
    from models.accounts.accounts import Link, LinkState
    from workflows.options import DATABASE, LINK_MAIL, MAIL
    from workflows.search_attributes import LINK_STATE

STATE = SearchAttributeKey.for_keyword(LINK_STATE)


class MailedLink:
    """The database holds the state of the link; this class sends its mail and records its expiry."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._state: LinkState | None = None

    def end(self, how: LinkState) -> None:
        """The link was used, or a newer link has replaced it."""
        self._state = how

    async def ended(self) -> LinkState:
        """Returns the final state of the link. Cancels a mail that is still being retried then."""
        lifetime = timedelta(seconds=self._link.lifetime_seconds)
        workflow.set_current_details("Sending the mail")
        later = None if await self._mailed_at_once() else asyncio.create_task(self._mailed_later(lifetime))
        if later is None:
            workflow.set_current_details("Sent: waiting for its reader")
        try:
            await workflow.wait_condition(
                lambda: self._state is not None, timeout=lifetime, timeout_summary="lifetime of the link"
            )
        except TimeoutError:
            self._state = await workflow.execute_local_activity_method(
                Accounts.expire_link, self._link, summary="expire the link", **DATABASE
            )
        finally:
            if later is not None:
                later.cancel()
        assert self._state is not None
        workflow.set_current_details(f"The link is {self._state}")
        workflow.upsert_search_attributes([STATE.value_set(self._state)])
        return self._state

    async def _mailed_at_once(self) -> bool:
        """Sends in a local activity, once. False if that fails."""
        try:
            await workflow.execute_local_activity_method(Accounts.send_link, self._link, summary="link mail", **MAIL)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return False
        return True

    async def _mailed_later(self, within: timedelta) -> None:
        """Sends in a remote activity, retried until `within`."""
        try:
            await workflow.execute_activity_method(
                Accounts.send_link, self._link, summary="link mail", schedule_to_close_timeout=within, **LINK_MAIL
            )
        except FailureError:
            return  # cancelled, or the link has expired
        workflow.set_current_details("Sent: waiting for its reader")
