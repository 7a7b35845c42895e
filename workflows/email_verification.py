"""Verification of the address of a new account, or of an account's new address, by a mailed link.

Tests: tests/workflows/test_mailed_links.py, tests/api/accounts/test_registration.py, test_email_change.py;
histories: tests/histories/EmailVerification/.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.accounts.accounts import Link, LinkState
    from models.errors import HoldfastError
    from workflows.mailed_link import MailedLink


@workflow.defn(name="EmailVerification", failure_exception_types=[HoldfastError])
class EmailVerification:
    @workflow.init
    def __init__(self, link: Link) -> None:
        self._mailed_link = MailedLink(link)

    @workflow.run
    async def run(self, link: Link) -> LinkState:
        return await self._mailed_link.ended()

    @workflow.signal
    def ended(self, how: LinkState) -> None:
        """The link was used, or a newer link has replaced it."""
        self._mailed_link.end(how)
