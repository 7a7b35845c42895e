"""Money: exact, strict about its types, and split without loss."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models.errors import CurrencyMismatch
from models.money import (
    CURRENCIES,
    MAX_AMOUNT,
    MinorUnits,
    Money,
    allocate,
    divide_rounded,
    parse_major,
    sum_money,
)

amounts = st.integers(-(10**12), 10**12)
currencies = st.sampled_from(sorted(CURRENCIES))
weights = st.lists(st.integers(0, 10**12), min_size=1, max_size=12)


def test_its_json_is_exactly_the_contract():
    money = Money.of(1999, "USD")
    assert money.model_dump_json() == '{"amount":1999,"currency":"USD"}'
    assert Money.model_validate_json('{"amount": 1999, "currency": "USD"}') == money


@pytest.mark.parametrize("amount", [19.99, 1.0, True, "1999", None, MAX_AMOUNT + 1, -MAX_AMOUNT - 1])
def test_an_amount_is_a_whole_number_within_json_and_nothing_else(amount):
    with pytest.raises(ValidationError):
        Money(amount=amount, currency="USD")


@pytest.mark.parametrize("body", ['{"amount":1.0,"currency":"USD"}', '{"amount":1e3,"currency":"USD"}'])
def test_json_floats_are_refused_too(body):
    with pytest.raises(ValidationError):
        Money.model_validate_json(body)


@pytest.mark.parametrize("currency", ["usd", "XXX", "", None, "GBP"])
def test_only_currencies_with_a_known_exponent_exist(currency):
    with pytest.raises(ValidationError):
        Money(amount=1, currency=currency)


def test_unknown_fields_and_changes_are_refused():
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": 1, "currency": "USD", "scale": 2})
    with pytest.raises(ValidationError):
        Money.of(1, "USD").amount = 2


def test_the_schema_names_the_currencies():
    assert Money.model_json_schema()["properties"]["currency"]["enum"] == ["USD", "EUR", "JPY", "KWD"]


def test_exponents_are_those_of_iso_4217():
    assert dict(CURRENCIES) == {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}


@given(amounts, amounts, currencies, st.integers(-1000, 1000))
def test_arithmetic_is_that_of_integers(a, b, currency, times):
    left, right = Money.of(a, currency), Money.of(b, currency)
    assert left + right == right + left == Money.of(a + b, currency)
    assert left - right == -(right - left)
    assert left * times == times * left == Money.of(a * times, currency)
    assert (left < right, left <= right) == (a < b, a <= b)
    assert sum_money([left, right], currency).amount == a + b


def test_nothing_sums_to_zero():
    assert sum_money([], "KWD") == Money.zero("KWD")


@pytest.mark.parametrize("mix", [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a < b, lambda a, b: a <= b])
def test_currencies_never_mix(mix):
    with pytest.raises(CurrencyMismatch):
        mix(Money.of(1, "USD"), Money.of(1, "EUR"))


@pytest.mark.parametrize(("amount", "good"), [(0, True), (5, True), (-1, False), (1.0, False), (True, False)])
def test_minor_units_are_whole_and_not_negative(amount, good):
    if good:
        assert TypeAdapter(MinorUnits).validate_python(amount) == amount
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(MinorUnits).validate_python(amount)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [(5, 2, 3), (-5, 2, -3), (5, -2, -3), (-5, -2, 3), (4, 3, 1), (0, 7, 0), (1, 2, 1), (49, 100, 0)],
)
def test_halves_round_away_from_zero(numerator, denominator, expected):
    assert divide_rounded(numerator, denominator) == expected


@given(amounts, st.integers(1, 10**9))
def test_rounding_is_nearest_and_symmetric(numerator, denominator):
    rounded = divide_rounded(numerator, denominator)
    assert abs(Fraction(numerator, denominator) - rounded) <= Fraction(1, 2)
    assert divide_rounded(-numerator, denominator) == -rounded == divide_rounded(numerator, -denominator)


def test_dividing_by_zero_is_an_error():
    with pytest.raises(ZeroDivisionError):
        divide_rounded(1, 0)


@given(amounts, weights)
def test_parts_sum_to_the_whole_and_stay_within_one_of_their_share(total, shares):
    parts = allocate(total, shares)
    assert sum(parts) == total
    whole = sum(shares)
    for part, share in zip(parts, shares, strict=True):
        if whole:
            assert abs(Fraction(total * share, whole) - part) < 1
            assert share or part == 0


@given(weights.flatmap(lambda w: st.tuples(st.just(w), st.integers(0, sum(w)))))
def test_no_part_exceeds_its_weight_when_the_total_does_not(case):
    shares, total = case
    assert all(part <= share for part, share in zip(allocate(total, shares), shares, strict=True))


@given(amounts, weights)
def test_a_refund_splits_as_the_charge_did(total, shares):
    assert allocate(-total, shares) == [-part for part in allocate(total, shares)]


def test_ties_go_to_the_earlier_weight():
    assert allocate(2, [1, 1, 1]) == [1, 1, 0]
    assert allocate(5, [0, 0]) == [3, 2]
    assert allocate(0, []) == []


@pytest.mark.parametrize(("total", "shares"), [(1, []), (1, [1, -1])])
def test_what_cannot_be_split_is_an_error(total, shares):
    with pytest.raises(ValueError):
        allocate(total, shares)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("19.99", "USD", 1999),
        ("19.9", "EUR", 1990),
        ("2980", "JPY", 2980),
        ("2980.00", "JPY", 2980),
        ("39.750", "KWD", 39750),
        ("0", "USD", 0),
        ("007.5", "USD", 750),
        ("39.75", "KWD", 39750),
    ],
)
def test_prices_read_as_people_write_them(text, currency, minor):
    assert parse_major(text, currency) == minor


@pytest.mark.parametrize("text", ["", "-1", "+1", "1,299.00", "1e3", ".5", "5.", "NaN", " 5", "٣", "1.999"])
def test_what_is_not_a_price_is_refused(text):
    with pytest.raises(ValueError):
        parse_major(text, "USD")


def test_a_yen_has_no_decimals():
    with pytest.raises(ValueError, match="more decimals than JPY"):
        parse_major("10.5", "JPY")


@given(st.integers(0, 10**11), currencies)
def test_reading_undoes_writing(minor, currency):
    decimals = CURRENCIES[currency]
    digits = str(minor).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    assert parse_major(text, currency) == minor
