"""Accounts: who somebody is, where they are signed in, and the links that are mailed to them."""

from __future__ import annotations

import ipaddress
from enum import StrEnum

from models.base import Record
from models.ids import digest_of


class LinkPurpose(StrEnum):
    """What a mailed link allows, once."""

    EMAIL_VERIFICATION = "email_verification"  # the address is theirs, and the account begins (or changes its address)
    PASSWORD_RESET = "password_reset"  # noqa: S105  a purpose
    INVITATION = "invitation"  # to a staff role


class LinkState(StrEnum):
    LIVE = "live"
    USED = "used"
    REPLACED = "replaced"  # by a newer one for the same purpose
    EXPIRED = "expired"


class RequestKind(StrEnum):
    """What a stranger may ask for without learning whether the address is known."""

    REGISTRATION = "registration"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105  a kind of request


class NoticeKind(StrEnum):
    """What an owner is told of by one mail, whether they asked for it or not."""

    ACCOUNT_EXISTS = "account_exists"  # somebody tried to register with their address
    ADDRESS_CHANGE_REQUESTED = "address_change_requested"
    ADDRESS_CHANGED = "address_changed"  # told to the old address
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a kind of notice
    PASSWORD_MUST_BE_RESET = "password_must_be_reset"  # noqa: S105  as above; too many failures in a row
    SIGNED_IN_ELSEWHERE_LINKED = "signed_in_elsewhere_linked"  # Google's or Facebook's word is now good here
    ROLE_CHANGED = "role_changed"


class SecondFactor(StrEnum):
    """How a session stands: `pending` sees nothing until the staff member has enrolled (production only)."""

    NONE = "none"
    PASSED = "passed"
    PENDING = "pending"


class Link(Record):
    """One mailed link. Its secret is never stored: it is derived from `id`, and only its digest is kept."""

    id: str
    user_id: str
    purpose: LinkPurpose
    number: int
    lifetime_seconds: float


class SessionTokens(Record):
    """What a sign-in gives: `refresh_token` is opaque and used once, the access token lives `expires_in` seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105  a type
    expires_in: int


def email_key(email: str) -> str:
    """By which an address is one account, however its letters are cased."""
    return email.casefold()


def account_key(email: str) -> bytes:
    """The same as a digest, where the address itself must not be kept."""
    return digest_of("account", email_key(email))


def address_range(address: str) -> str:
    """The network whose guesses at one account count together: IPv4 /24, IPv6 /64; what is neither is its own."""
    return _network(address, 24)


def one_caller(address: str) -> str:
    """Behind which one caller may stand: an IPv4 address, or an IPv6 /64, of which each customer has one to spare."""
    return _network(address, 32)


def _network(address: str, ipv4_bits: int) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, ipv4_bits if found.version == 4 else 64), strict=False))
