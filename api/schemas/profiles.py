"""Response schemas of profiles and saved payment methods (see api/schemas/responses.py)."""

from __future__ import annotations

from datetime import datetime

from api.schemas.responses import NextAction, Out
from models.addresses import Address


class ProfileOut(Out):
    id: str
    email: str
    name: str
    role: str
    second_factor: bool
    created_at: datetime
    version: int


class AddressOut(Address):
    id: str


class AddressPage(Out):
    items: list[AddressOut]
    next_cursor: str | None


class TopicsOut(Out):
    orders: bool
    payments: bool
    marketing: bool
    security: bool


class PreferencesOut(Out):
    email: TopicsOut
    sms: TopicsOut
    push: TopicsOut
    realtime: TopicsOut


class CardOut(Out):
    brand: str
    last4: str
    exp_month: int
    exp_year: int


class PaymentMethodOut(Out):
    """`status`: `processing`, `requires_action`, `saved` or `failed`."""

    id: str
    provider: str
    status: str
    card: CardOut | None = None
    default: bool | None = None
    created_at: datetime | None = None
    next_action: NextAction | None = None
    expires_at: datetime | None = None
    reason: str | None = None


class PaymentMethodPage(Out):
    items: list[PaymentMethodOut]
    next_cursor: str | None
