"""Disputes: a buyer's bank takes money back, and decides later whether it stays so."""

from __future__ import annotations

from enum import StrEnum

from models.payments.provider import ProviderDisputeStatus


class DisputeState(StrEnum):
    OPEN = "open"
    WON = "won"
    LOST = "lost"


def state_of(at: ProviderDisputeStatus) -> DisputeState:
    """In the shop's books only its money counts: away for now, back, or gone."""
    return {ProviderDisputeStatus.WON: DisputeState.WON, ProviderDisputeStatus.LOST: DisputeState.LOST}.get(
        at, DisputeState.OPEN
    )
