"""Disputes: the buyer's bank withdraws captured money and decides later who keeps it."""

from __future__ import annotations

from enum import StrEnum

from models.payments.provider import ProviderDisputeStatus


class DisputeState(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


def state_of(at: ProviderDisputeStatus) -> DisputeState:
    """The state in the ledger: won, lost, or open for every other provider status."""
    return {ProviderDisputeStatus.WON: DisputeState.WON, ProviderDisputeStatus.LOST: DisputeState.LOST}.get(
        at, DisputeState.OPEN
    )
