"""An invitation to the staff, accepted by a mailed link.

Tests: tests/workflows/test_mailed_links.py, tests/api/accounts/test_staff.py; histories: tests/histories/Invitation/.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.accounts.accounts import Link, LinkState
    from models.errors import HoldfastError
    from workflows.mailed_link import MailedLink


@workflow.defn(name="Invitation", failure_exception_types=[HoldfastError])
class Invitation:
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
