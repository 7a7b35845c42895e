"""The books' accounts and the kinds of entry: closed lists, which the database mirrors in a CHECK (docs/ledger.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Account(StrEnum):
    """Σ of debits less credits over all of them is 0 in every currency."""

    PROVIDER_AUTHORISED = "provider_authorised"  # promised by buyers' banks, and not taken
    AUTHORISATIONS = "authorisations"  # its counterpart: what the shop may still take
    PROVIDER_BALANCE = "provider_balance"  # the shop's money at its providers
    SALES = "sales"
    DISPUTES = "disputes"  # taken back by banks that have not decided
    WRITE_OFFS = "write_offs"
    FEES = "fees"


class EntryKind(StrEnum):
    AUTHORISE = "authorise"
    AUTHORISATION_USED = "authorisation_used"  # beside each capture
    VOID = "void"
    CAPTURE = "capture"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"  # it had succeeded, and its money came back
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"
    WRITE_OFF = "write_off"  # a dispute that was lost
    FEE = "fee"


class Posting(NamedTuple):
    """The amount moves from the account `credit` to the account `debit`."""

    debit: Account
    credit: Account


POSTINGS: Mapping[EntryKind, Posting] = {
    EntryKind.AUTHORISE: Posting(Account.PROVIDER_AUTHORISED, Account.AUTHORISATIONS),
    EntryKind.AUTHORISATION_USED: Posting(Account.AUTHORISATIONS, Account.PROVIDER_AUTHORISED),
    EntryKind.VOID: Posting(Account.AUTHORISATIONS, Account.PROVIDER_AUTHORISED),
    EntryKind.CAPTURE: Posting(Account.PROVIDER_BALANCE, Account.SALES),
    EntryKind.REFUND: Posting(Account.SALES, Account.PROVIDER_BALANCE),
    EntryKind.REFUND_FAILED: Posting(Account.PROVIDER_BALANCE, Account.SALES),
    EntryKind.DISPUTE: Posting(Account.DISPUTES, Account.PROVIDER_BALANCE),
    EntryKind.DISPUTE_WON: Posting(Account.PROVIDER_BALANCE, Account.DISPUTES),
    EntryKind.WRITE_OFF: Posting(Account.WRITE_OFFS, Account.DISPUTES),
    EntryKind.FEE: Posting(Account.FEES, Account.PROVIDER_BALANCE),
}


def closed_list() -> str:
    """The CHECK that lets nothing else into the books."""
    rows = (f"('{kind}', '{debit}', '{credit}')" for kind, (debit, credit) in POSTINGS.items())
    return f"(kind, debit, credit) IN ({', '.join(rows)})"
