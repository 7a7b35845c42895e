"""Discount codes: who may use which, when, and in which order they count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from models.checkout.promotions import Promotion, PromotionKind, applicable, check, in_order, normalise_code
from models.errors import DiscountExpired, DiscountNotApplicable, DiscountUnknown, DiscountUsedUp
from models.money import Money

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SUBTOTAL = Money.of(10_000, "USD")


def percentage(code="WELCOME10", ppm=100_000, **more):
    return Promotion(id=f"promo_{code}", code=code, kind=PromotionKind.PERCENTAGE, percent_ppm=ppm, **more)


def fixed(code="SAVE5", amounts=None, **more):
    return Promotion(id=f"promo_{code}", code=code, kind=PromotionKind.FIXED, amounts=amounts or {"USD": 500}, **more)


def free_shipping(code="FREESHIP", **more):
    return Promotion(id=f"promo_{code}", code=code, kind=PromotionKind.FREE_SHIPPING, **more)


def usable(promotion, **more):
    return check(promotion, **{"now": NOW, "subtotal": SUBTOTAL, **more})


@pytest.mark.parametrize("typed", ["welcome10", " Welcome10 ", "WELCOME10"])
def test_codes_are_stored_in_upper_case(typed):
    assert percentage(typed).code == normalise_code(typed) == "WELCOME10"


def test_a_good_code_is_given_back():
    promotion = percentage()
    assert usable(promotion) is promotion


@pytest.mark.parametrize("promotion", [None, percentage(active=False)])
def test_an_inactive_code_is_as_good_as_unknown(promotion):
    with pytest.raises(DiscountUnknown):
        usable(promotion)


def test_time_runs_from_the_start_to_just_before_the_end():
    promotion = percentage(starts_at=NOW, ends_at=NOW + timedelta(days=1))
    assert usable(promotion, now=NOW)
    with pytest.raises(DiscountExpired, match="has ended"):
        usable(promotion, now=NOW + timedelta(days=1))
    with pytest.raises(DiscountExpired, match="not valid yet"):
        usable(promotion, now=NOW - timedelta(seconds=1))


def test_a_limited_code_is_used_up_unless_this_checkout_holds_a_use():
    promotion = percentage(usage_limit=100, used=100)
    with pytest.raises(DiscountUsedUp):
        usable(promotion)
    assert usable(promotion, held=True)
    assert usable(percentage(usage_limit=100, used=99))


def test_a_customer_may_use_a_code_so_many_times():
    promotion = percentage(per_customer_limit=1)
    assert usable(promotion, used_by_customer=0)
    with pytest.raises(DiscountUsedUp, match="already"):
        usable(promotion, used_by_customer=1)


def test_a_minimum_is_asked_in_the_cart_s_currency():
    promotion = percentage(minimum_subtotal={"USD": 10_001, "JPY": 5_000})
    with pytest.raises(DiscountNotApplicable) as caught:
        usable(promotion)
    assert caught.value.extra["minimum"] == {"amount": 10_001, "currency": "USD"}
    assert usable(promotion, subtotal=Money.of(10_001, "USD"))
    with pytest.raises(DiscountNotApplicable, match="not offered in EUR"):
        usable(promotion, subtotal=Money.of(99_999, "EUR"))


def test_a_fixed_amount_needs_one_in_the_cart_s_currency():
    with pytest.raises(DiscountNotApplicable):
        usable(fixed(), subtotal=Money.of(10_000, "KWD"))


def test_both_codes_must_be_willing_to_combine():
    alone = percentage("ALONE", combinable=False)
    for promotion, other in ((alone, fixed()), (fixed(), alone)):
        with pytest.raises(DiscountNotApplicable, match="can't be combined"):
            usable(promotion, others=[other])
    assert usable(fixed(), others=[percentage()])
    assert usable(alone, others=[alone])


def test_on_a_cart_the_earlier_code_stays_and_the_later_is_named():
    alone = percentage("ALONE", combinable=False)
    good, refused = applicable(
        [alone, fixed(), percentage("OLD", ends_at=NOW)],
        now=NOW,
        subtotal=SUBTOTAL,
        used_by_customer={"promo_OTHER": 3},
    )
    assert good == [alone]
    assert [(r.code, r.slug) for r in refused] == [
        ("SAVE5", "discount-not-applicable"),
        ("OLD", "discount-expired"),
    ]


def test_past_uses_are_looked_up_by_promotion():
    promotion = percentage(per_customer_limit=1)
    good, refused = applicable([promotion], now=NOW, subtotal=SUBTOTAL, used_by_customer={promotion.id: 1})
    assert good == []
    assert refused[0].slug == "discount-used-up"


def test_percentages_come_before_fixed_amounts_before_free_shipping():
    mixed = [free_shipping(), fixed("B5"), percentage("Z"), fixed("A5"), percentage("A")]
    assert [p.code for p in in_order(mixed)] == ["A", "Z", "A5", "B5", "FREESHIP"]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "percentage"},
        {"kind": "percentage", "percent_ppm": 0},
        {"kind": "percentage", "percent_ppm": 0.1},
        {"kind": "fixed", "percent_ppm": 100_000, "amounts": {"USD": 1}},
        {"kind": "fixed"},
        {"kind": "fixed", "amounts": {"USD": 1.5}},
        {"kind": "fixed", "amounts": {"XXX": 1}},
        {"kind": "free_shipping", "amounts": {"USD": 1}},
        {"kind": "free_shipping", "starts_at": NOW, "ends_at": NOW},
        {"kind": "free_shipping", "starts_at": datetime(2026, 1, 1)},  # noqa: DTZ001  what must be refused
        {"kind": "free_shipping", "code": "NOT A CODE"},
        {"kind": "free_shipping", "code": 5},
    ],
)
def test_a_malformed_promotion_is_refused(fields):
    with pytest.raises(ValidationError):
        Promotion.model_validate({"id": "promo_1", "code": "X", **fields})
