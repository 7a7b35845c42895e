"""The ledger's accounts and entry kinds: closed lists, which a CHECK in the database repeats (docs/ledger.md)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Account(StrEnum):
    """The sum of debits less credits over all accounts is 0 in every currency."""

    PROVIDER_AUTHORISED = "provider_authorised"  # open authorisations: held by buyers' banks, not captured
    AUTHORISATIONS = "authorisations"  # its counterpart: what the shop may still capture
    PROVIDER_BALANCE = "provider_balance"  # the shop's money at its providers
    SALES = "sales"
    DISPUTES = "disputes"  # withdrawn by banks in disputes without a decision
    WRITE_OFFS = "write_offs"
    FEES = "fees"


class EntryKind(StrEnum):
    AUTHORISE = "authorise"
    AUTHORISATION_USED = "authorisation_used"  # posted with each capture
    VOID = "void"
    CAPTURE = "capture"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"  # it had succeeded, and the money was returned to the shop
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
    """The SQL condition of the ledger's CHECK: only these postings."""
    rows = (f"('{kind}', '{debit}', '{credit}')" for kind, (debit, credit) in POSTINGS.items())
    return f"(kind, debit, credit) IN ({', '.join(rows)})"
