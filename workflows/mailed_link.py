"""The story that every mailed link has: its mail, tried for as long as it is good; then its use, or its end."""

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
    """The database says what a link is; this sees to its mail, and to its end being written down."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._state: LinkState | None = None

    def end(self, how: LinkState) -> None:
        """The database's word: it was used, or a newer one replaced it."""
        self._state = how

    async def ended(self) -> LinkState:
        """How it ended. Whoever still tries to send its mail then is called off."""
        lifetime = timedelta(seconds=self._link.lifetime_seconds)
        workflow.set_current_details("Sending the mail")
        later = None if await self._mailed_at_once() else asyncio.create_task(self._mailed_later(lifetime))
        if later is None:
            workflow.set_current_details("Sent: waiting for its reader")
        try:
            await workflow.wait_condition(
                lambda: self._state is not None, timeout=lifetime, timeout_summary="life of the link"
            )
        except TimeoutError:
            self._state = await workflow.execute_local_activity_method(
                Accounts.expire_link, self._link, summary="its time has come", **DATABASE
            )
        finally:
            if later is not None:
                later.cancel()
        assert self._state is not None
        workflow.set_current_details(f"The link is {self._state}")
        workflow.upsert_search_attributes([STATE.value_set(self._state)])
        return self._state

    async def _mailed_at_once(self) -> bool:
        """Beside our own task when all is well."""
        try:
            await workflow.execute_local_activity_method(Accounts.send_link, self._link, summary="link mail", **MAIL)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return False
        return True

    async def _mailed_later(self, within: timedelta) -> None:
        """Else by an activity that knows how to wait for the provider."""
        try:
            await workflow.execute_activity_method(
                Accounts.send_link, self._link, summary="link mail", schedule_to_close_timeout=within, **LINK_MAIL
            )
        except FailureError:
            return  # called off, or too late anyway
        workflow.set_current_details("Sent: waiting for its reader")
