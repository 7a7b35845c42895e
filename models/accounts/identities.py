"""Identities at Google or Facebook, and the sealed state of a sign-in in progress."""

from __future__ import annotations

from enum import StrEnum

from models.base import Record


class ProviderName(StrEnum):
    GOOGLE = "google"
    FACEBOOK = "facebook"


class Identity(Record):
    """A user as the provider identifies them. Use `email` only if `email_verified`."""

    provider: ProviderName
    subject: str
    email: str | None
    email_verified: bool
    name: str


class SealedSignIn(Record):
    """The state of a sign-in in progress, sealed and held by the client. `at`: seconds since 1970."""

    at: float


class SignInStarted(SealedSignIn):
    """In the browser's cookie while it is redirected to the provider."""

    provider: ProviderName
    state: str
    nonce: str
    verifier: str


class SignInReturned(SealedSignIn):
    """Back from the provider, without its second factor yet; `number` is random."""

    identity: Identity
    number: str
