"""Reset of a password by a mailed link, with a notification to the owner afterwards.

Tests: tests/workflows/test_mailed_links.py, tests/api/accounts/test_password_reset.py;
histories: tests/histories/PasswordReset/.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.accounts.notifications import Accounts
    from activities.delivery.tasks import Tasks
    from models.accounts.accounts import Link, LinkState
    from models.delivery.tasks import OpenTask
    from models.errors import HoldfastError
    from workflows.mailed_link import MailedLink
    from workflows.options import DATABASE, MAIL, MAIL_LATER


@workflow.defn(name="PasswordReset", failure_exception_types=[HoldfastError])
class PasswordReset:
    @workflow.init
    def __init__(self, link: Link) -> None:
        self._link = link
        self._mailed_link = MailedLink(link)

    @workflow.run
    async def run(self, link: Link) -> LinkState:
        state = await self._mailed_link.ended()
        if state is LinkState.USED:
            await self._notify_owner()
        return state

    @workflow.signal
    def ended(self, how: LinkState) -> None:
        """The link was used, or a newer link has replaced it."""
        self._mailed_link.end(how)

    async def _notify_owner(self) -> None:
        """Notifies the owner that the password was changed, so that a theft is noticed."""
        notify = Accounts.notify_password_reset
        try:
            await workflow.execute_local_activity_method(notify, self._link, summary="notify the owner", **MAIL)
            return
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
        try:
            await workflow.execute_activity_method(notify, self._link, summary="notify the owner", **MAIL_LATER)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            await workflow.execute_local_activity_method(
                Tasks.open_task,
                OpenTask(kind="password-reset-mail", subject=self._link.user_id, detail=str(error.cause or error)),
                summary="open manual task",
                **DATABASE,
            )
