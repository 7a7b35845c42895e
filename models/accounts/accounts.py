"""Account records: mailed links, account requests, notices, session tokens, and the keys of addresses."""

from __future__ import annotations

import ipaddress
import string
import unicodedata
from enum import StrEnum
from typing import Final

import idna

from models.base import Record
from models.ids import digest_of


class LinkPurpose(StrEnum):
    """The single use of a mailed link."""

    EMAIL_VERIFICATION = "email_verification"  # activates the account, or its new address
    PASSWORD_RESET = "password_reset"  # noqa: S105  a purpose
    INVITATION = "invitation"  # to a staff role


class LinkState(StrEnum):
    LIVE = "live"
    USED = "used"
    REPLACED = "replaced"  # by a newer one for the same purpose
    EXPIRED = "expired"


class RequestKind(StrEnum):
    """Unauthenticated requests whose response does not reveal whether the address is known."""

    REGISTRATION = "registration"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105  a kind of request


class NoticeKind(StrEnum):
    """Security mails to an account's owner, who may not have caused the event."""

    ACCOUNT_EXISTS = "account_exists"  # a registration with the address of an account
    ADDRESS_CHANGE_REQUESTED = "address_change_requested"
    ADDRESS_CHANGED = "address_changed"  # sent to the old address
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a kind of notice
    PASSWORD_MUST_BE_RESET = "password_must_be_reset"  # noqa: S105  as above; too many failures in a row
    SIGNED_IN_ELSEWHERE_LINKED = "signed_in_elsewhere_linked"  # Google or Facebook was linked for sign-in
    ROLE_CHANGED = "role_changed"


class SecondFactor(StrEnum):
    """Of a session. `pending`: no scopes until the staff member has enrolled (production only)."""

    NONE = "none"
    PASSED = "passed"
    PENDING = "pending"


class Link(Record):
    """One mailed link. Its secret is derived from `id` and never stored; the database has only its digest."""

    id: str
    user_id: str
    purpose: LinkPurpose
    number: int
    lifetime_seconds: float


class SessionTokens(Record):
    """`refresh_token` is opaque and single-use; the access token is valid for `expires_in` seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105  a type
    expires_in: int


_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def email_key(email: str) -> str:
    """The mailbox of an address, unique per account: A to Z of the local part in lower case, the domain as A-labels.

    Nothing else is folded. By Unicode's casefold `ß` is `ss`, but `straße.de` and `strasse.de` are two domains of two
    owners (IDNA 2008, RFC 5891), and whether two spellings of a local part are one mailbox is its host's to say
    (RFC 5321, 2.4).
    """
    local, _, domain = unicodedata.normalize("NFC", email).rpartition("@")
    return f"{local.translate(_LOWER)}@{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    """What is no domain, as somebody may type it, stays what it is."""
    try:
        return domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain


def account_key(email: str) -> bytes:
    """A digest of `email_key`, for tables that must not hold the address."""
    return digest_of("account", email_key(email))


def address_range(address: str) -> str:
    """The network whose failed logins count together: IPv4 /24, IPv6 /64."""
    return network_of(address, ipv4=24, ipv6=64)


def network_of(address: str, *, ipv4: int, ipv6: int) -> str:
    """The network with so many bits that the address is in; text that is no address counts by itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, ipv4 if found.version == 4 else ipv6), strict=False))
