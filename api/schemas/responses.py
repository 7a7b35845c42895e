"""Response schemas for OpenAPI. Responses may have further fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.addresses import Address
from models.checkout.shipping import QuotedOption
from models.money import Money


class Out(BaseModel):
    model_config = ConfigDict(extra="allow")


class FieldError(Out):
    pointer: str
    detail: str


class Problem(Out):
    """RFC 9457, as application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldError] | None = None


class Totals(Out):
    items: Money
    discount: Money
    shipping: Money
    tax: Money
    total: Money


class CartItemOut(Out):
    id: str
    sku: str
    title: str
    quantity: int
    unit_price: Money
    total: Money
    available: int


class AppliedDiscount(Out):
    code: str
    amount: Money


class CartOut(Out):
    id: str
    token: str | None = None
    version: int
    currency: str
    country: str
    email: str | None
    items: list[CartItemOut]
    shipping_address: Address | None
    billing_address: Address | None
    shipping_option: QuotedOption | None
    discounts: list[AppliedDiscount]
    tax_lines: list[dict[str, Any]]
    totals: Totals
    requirements: list[str]
    warnings: list[dict[str, Any]]
    completed_order: str | None = None


class ShippingOptions(Out):
    items: list[QuotedOption]


class OrderLineOut(Out):
    id: str
    sku: str
    title: str
    quantity: int
    unit_price: Money
    discount: Money
    tax: Money
    total: Money
    shipped: int
    returned: int
    refunded: int


class OrderOut(Out):
    id: str
    number: str
    status: str
    payment_status: str
    customer_id: str | None
    email: str | None
    currency: str
    lines: list[OrderLineOut]
    totals: Totals
    addresses: dict[str, Address | None]
    shipments: list[dict[str, Any]]
    refunds: list[dict[str, Any]]
    returns: list[dict[str, Any]]
    placed_at: datetime
    version: int


class OrderPage(Out):
    items: list[OrderOut]
    next_cursor: str | None


class EventOut(Out):
    version: int
    type: str
    at: datetime
    actor: dict[str, Any]
    cause: str
    data: dict[str, Any]


class EventPage(Out):
    items: list[EventOut]
    next_cursor: str | None


class NextAction(Out):
    type: str
    client_secret: str | None = None
    redirect_url: str | None = None


class CheckoutOut(Out):
    checkout_id: str
    status: str
    order: OrderOut | None = None
    next_action: NextAction | None = None
    decline_code: str | None = None
    expires_at: datetime | None = None


class PaymentWaitsOut(Out):
    """`status`: `requires_action` with the buyer's `next_action`, or `processing`."""

    order_id: str
    status: str
    next_action: NextAction | None = None
    expires_at: datetime | None = None


class PaymentRetryOut(Out):
    """`state`: retrying, paid, gave_up, cancelled. `waits_for`: next_try, new_method, bank, provider, person, nothing.
    `verdict` on the order's own method: retry, new_method (only the buyer can help), never."""

    order_id: str
    order_status: str
    state: str
    waits_for: str
    decline_code: str
    verdict: str
    step: int
    tries: int
    extensions: int
    amount_due: Money | None
    next_try_at: datetime | None
    gives_up_at: datetime | None


class ShipmentOut(Out):
    id: str
    order_id: str
    status: str
    carrier: str
    tracking_number: str
    label_url: str | None = None
    eta: datetime | None = None
    location: str | None = None
    lines: list[dict[str, Any]]
    captured: Money


class AllocationOut(Out):
    """What one stock location sends of an order."""

    location: str
    title: str
    lines: list[dict[str, Any]]


class PackingOut(Out):
    order_id: str
    number: str
    status: str
    shipping_option: dict[str, Any] | None
    shipping_address: dict[str, Any] | None
    lines: list[dict[str, Any]]
    allocations: list[AllocationOut]
    shipments: list[dict[str, Any]]


class RateOut(Out):
    service: str
    price: Money
    days: int


class RatesOut(Out):
    carrier: str
    items: list[RateOut]


class NoteOut(Out):
    id: str
    kind: str
    text: str
    actor: dict[str, Any]
    at: datetime


class NotePage(Out):
    items: list[NoteOut]
    next_cursor: str | None


class UserOut(Out):
    id: str
    email: str
    name: str
    role: str
    second_factor: bool
    version: int


class TokenPair(Out):
    """`refresh_token` can be used once; the access token lives `expires_in` seconds."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


class Accepted(Out):
    """The request is accepted; its outcome follows by mail."""

    status: str


class SignedIn(TokenPair):
    user: UserOut


class SessionOut(Out):
    id: str
    method: str
    user_agent: str
    address: str
    created_at: datetime
    seen_at: datetime
    current: bool


class SessionPage(Out):
    items: list[SessionOut]
    next_cursor: str | None
