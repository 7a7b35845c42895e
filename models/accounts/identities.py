"""Who somebody is elsewhere: what Google or Facebook vouches for, and what a browser keeps while it is there."""

from __future__ import annotations

from enum import StrEnum

from models.base import Record


class ProviderName(StrEnum):
    GOOGLE = "google"
    FACEBOOK = "facebook"


class Identity(Record):
    """A person in the provider's words. `email` counts for something only where the provider has verified it."""

    provider: ProviderName
    subject: str
    email: str | None
    email_verified: bool
    name: str


class SealedSignIn(Record):
    """A sign-in on its way, sealed and in somebody else's hands. `at`: seconds since 1970."""

    at: float


class SignInStarted(SealedSignIn):
    """One that has left for the provider, in the browser's cookie."""

    provider: ProviderName
    state: str
    nonce: str
    verifier: str


class SignInReturned(SealedSignIn):
    """One that came back and still lacks the second factor; `number` is random."""

    identity: Identity
    number: str
