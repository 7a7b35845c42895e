"""Taxes: the address decides which, exact integers decide how much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.checkout.tax import TaxRate, rates_for, tax_on
from models.money import PPM


def rate(ppm, *, country="DE", region=None, inclusive=True, name="VAT", shipping=True):
    return TaxRate(
        name=name,
        country=country,
        region=region,
        rate_ppm=ppm,
        inclusive=inclusive,
        applies_to_shipping=shipping,
    )


GST = rate(50_000, country="CA", inclusive=False, name="GST")
QST = rate(99_750, country="CA", region="QC", inclusive=False, name="QST")
RATES = [QST, rate(190_000), GST, rate(72_500, country="US", region="CA", inclusive=False, name="Sales tax")]


def test_a_region_adds_to_its_country():
    assert rates_for(RATES, "CA", "QC") == (GST, QST)
    assert rates_for(RATES, "ca", "qc") == (GST, QST)
    assert rates_for(RATES, "CA", "AB") == rates_for(RATES, "CA", None) == (GST,)


def test_a_region_of_another_country_is_not_mistaken():
    assert [r.jurisdiction for r in rates_for(RATES, "US", "CA")] == ["US-CA"]
    assert rates_for(RATES, "US") == ()
    assert rates_for(RATES, "FR", "75") == ()


@pytest.mark.parametrize(
    ("ppm", "text"), [(190_000, "0.19"), (88_750, "0.08875"), (0, "0"), (PPM, "1"), (50_000, "0.05")]
)
def test_a_rate_reads_as_an_exact_decimal(ppm, text):
    assert rate(ppm).rate == text


def test_german_prices_contain_their_tax():
    assert tax_on(11_900, [rate(190_000)]) == [1_900]


def test_american_tax_comes_on_top():
    assert tax_on(10_000, [rate(88_750, inclusive=False)]) == [888]  # 887.5 rounds away from zero


def test_two_rates_of_one_place_are_each_taken_on_the_net():
    assert tax_on(10_000, [GST, QST]) == [500, 998]


def test_two_inclusive_rates_share_what_is_inside():
    assert tax_on(12_500, [rate(200_000), rate(50_000)]) == [2_000, 500]


def test_an_exclusive_rate_beside_an_inclusive_one_is_taken_on_the_net():
    assert tax_on(12_000, [rate(200_000), rate(100_000, inclusive=False)]) == [2_000, 1_000]


def test_no_rates_no_tax():
    assert tax_on(10_000, []) == []


rates = st.lists(st.builds(rate, st.integers(0, PPM), inclusive=st.booleans(), name=st.sampled_from("ABC")), max_size=4)


@given(st.integers(0, 10**12), rates)
def test_inclusive_tax_never_exceeds_the_price_and_no_tax_is_negative(amount, some):
    taxes = tax_on(amount, some)
    assert len(taxes) == len(some)
    assert all(tax >= 0 for tax in taxes)
    assert sum(tax for tax, r in zip(taxes, some, strict=True) if r.inclusive) <= amount


@given(st.integers(0, 10**12), st.integers(0, PPM))
def test_taking_the_tax_out_undoes_putting_it_in(net, ppm):
    (added,) = tax_on(net, [rate(ppm, inclusive=False)])
    (included,) = tax_on(net + added, [rate(ppm)])
    assert abs(included - added) <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"country": "de"},
        {"country": "DEU"},
        {"region": "qc"},
        {"rate_ppm": 0.19},
        {"rate_ppm": -1},
        {"rate_ppm": PPM + 1},
        {"name": ""},
        {"rate_ppm": True},
    ],
)
def test_a_malformed_rate_is_refused(change):
    good = {"name": "VAT", "country": "DE", "rate_ppm": 190_000, "inclusive": True}
    with pytest.raises(ValidationError):
        TaxRate.model_validate({**good, **change})
