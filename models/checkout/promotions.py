"""Discount codes: what they grant, their limits, and the order in which they apply.

Codes are compared in upper case. On one cart percentages apply first, each to the remainder of the one before, then
fixed amounts, and last free shipping; within a kind by code. No amount falls below zero. A minimum is compared
with the items before any discount, so adding one code never invalidates another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.errors import (
    DiscountExpired,
    DiscountNotApplicable,
    DiscountUnknown,
    DiscountUsedUp,
    InvalidRequest,
)
from models.money import PPM, Currency, MinorUnits, Money


class PromotionKind(StrEnum):
    PERCENTAGE = "percentage"
    FIXED = "fixed"
    FREE_SHIPPING = "free_shipping"


APPLIED_IN_ORDER = tuple(PromotionKind)


def normalise_code(code: str) -> str:
    """The stored form of a code: trimmed, upper case."""
    return code.strip().upper()


PromotionCode = Annotated[
    str,
    BeforeValidator(lambda value: normalise_code(value) if isinstance(value, str) else value),
    Field(pattern=r"^[A-Z0-9][A-Z0-9_-]{0,63}$"),
]


class Promotion(BaseModel):
    """Amounts are minor units by currency; `used` counts final and pending uses; valid in [starts_at, ends_at)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    code: PromotionCode
    kind: PromotionKind
    percent_ppm: int | None = Field(default=None, strict=True, gt=0, le=PPM)
    amounts: Mapping[Currency, MinorUnits] = Field(default_factory=dict, description="of a fixed discount")
    minimum_subtotal: Mapping[Currency, MinorUnits] = Field(
        default_factory=dict,
        description="empty: none; a currency that is missing from others: not offered in it",
    )
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    usage_limit: int | None = Field(default=None, ge=0)
    used: int = Field(default=0, ge=0)
    per_customer_limit: int | None = Field(default=None, ge=1)
    active: bool = True
    combinable: bool = True

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind is PromotionKind.PERCENTAGE) != (self.percent_ppm is not None):
            raise ValueError("a percentage has a percent, and nothing else has")
        if (self.kind is PromotionKind.FIXED) != bool(self.amounts):
            raise ValueError("a fixed discount has amounts, and nothing else has")
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValueError("ends_at must be after starts_at")
        return self


class RefusedCode(BaseModel):
    """A code on a cart that doesn't apply now, with the error's slug and detail."""

    model_config = ConfigDict(frozen=True)

    code: str
    slug: str
    detail: str


def in_order(promotions: Sequence[Promotion]) -> list[Promotion]:
    """The order in which they apply to one cart."""
    return sorted(promotions, key=lambda p: (APPLIED_IN_ORDER.index(p.kind), p.code))


def check(
    promotion: Promotion | None,
    *,
    now: datetime,
    subtotal: Money,
    used_by_customer: int = 0,
    others: Sequence[Promotion] = (),
    held: bool = False,
) -> Promotion:
    """Returns the promotion if it may be used on a cart now.

    `subtotal`: the items before any discount. `others`: the cart's other promotions. `held`: this checkout
    holds a use already, so the limits are not checked again. Raises DiscountUnknown, DiscountExpired,
    DiscountUsedUp or DiscountNotApplicable, each with `code`.
    """
    if promotion is None or not promotion.active:
        raise DiscountUnknown()
    _check_time(promotion, now)
    if not held:
        _check_uses(promotion, used_by_customer)
    _check_cart(promotion, subtotal)
    for other in others:
        if other.code != promotion.code and not (promotion.combinable and other.combinable):
            raise DiscountNotApplicable(f"{promotion.code} can't be combined with {other.code}", code=promotion.code)
    return promotion


def applicable(
    promotions: Sequence[Promotion],
    *,
    now: datetime,
    subtotal: Money,
    used_by_customer: Mapping[str, int] | None = None,
) -> tuple[list[Promotion], list[RefusedCode]]:
    """The codes on a cart that apply now, and the refused ones; of two that can't be combined the earlier applies.

    `used_by_customer`: past uses by promotion id.
    """
    uses = used_by_customer or {}
    good: list[Promotion] = []
    refused: list[RefusedCode] = []
    for promotion in promotions:
        try:
            check(promotion, now=now, subtotal=subtotal, used_by_customer=uses.get(promotion.id, 0), others=good)
        except InvalidRequest as error:
            refused.append(RefusedCode(code=promotion.code, slug=error.slug, detail=error.detail))
        else:
            good.append(promotion)
    return good, refused


def _check_time(promotion: Promotion, now: datetime) -> None:
    if promotion.ends_at is not None and now >= promotion.ends_at:
        raise DiscountExpired(f"{promotion.code} has ended", code=promotion.code)
    if promotion.starts_at is not None and now < promotion.starts_at:
        raise DiscountExpired(f"{promotion.code} is not valid yet", code=promotion.code)


def _check_uses(promotion: Promotion, used_by_customer: int) -> None:
    if promotion.usage_limit is not None and promotion.used >= promotion.usage_limit:
        raise DiscountUsedUp(f"{promotion.code} has been used up", code=promotion.code)
    if promotion.per_customer_limit is not None and used_by_customer >= promotion.per_customer_limit:
        raise DiscountUsedUp(f"You have used {promotion.code} already", code=promotion.code)


def _check_cart(promotion: Promotion, subtotal: Money) -> None:
    currency = subtotal.currency
    if promotion.kind is PromotionKind.FIXED and currency not in promotion.amounts:
        raise DiscountNotApplicable(f"{promotion.code} is not offered in {currency}", code=promotion.code)
    if not promotion.minimum_subtotal:
        return
    minimum = promotion.minimum_subtotal.get(currency)
    if minimum is None:
        raise DiscountNotApplicable(f"{promotion.code} is not offered in {currency}", code=promotion.code)
    if subtotal.amount < minimum:
        raise DiscountNotApplicable(
            f"{promotion.code} needs a larger order",
            code=promotion.code,
            minimum=Money.of(minimum, currency).model_dump(),
        )
