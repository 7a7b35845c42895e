"""The ladder on which a refused payment is tried again: never a dead card, never too often, always to an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.payments.dunning import (
    EXTENSIONS,
    RETRY_SCHEDULE,
    RetryAdvice,
    due,
    given_up_at,
    retry_advice_of,
    strictest,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CODES = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["stolen_card", "lost_card", "expired_card", "insufficient_funds", "generic_decline"]),
)
SCALES = st.floats(min_value=1e-6, max_value=10)
VERDICTS = st.sampled_from(RetryAdvice)


@pytest.mark.parametrize("code", ["stolen_card", "lost_card", "fraudulent", "pickup_card", "restricted_card"])
def test_a_card_that_its_issuer_has_blocked_is_never_tried_again(code):
    assert retry_advice_of(code) is RetryAdvice.NEVER


@pytest.mark.parametrize("code", ["expired_card", "authentication_required", "incorrect_cvc", "payment_method_invalid"])
def test_what_only_the_buyer_can_mend_waits_for_the_buyer(code):
    assert retry_advice_of(code) is RetryAdvice.NEW_METHOD


@pytest.mark.parametrize(
    "code",
    [
        None,
        "insufficient_funds",
        "processing_error",
        "try_again_later",
        "generic_decline",
        "card_declined",
        "do_not_honor",
        "authorisation_expired",
        "authorisation_cancelled",
        "a code of tomorrow",
    ],
)
def test_everything_else_may_work_later(code):
    assert retry_advice_of(code) is RetryAdvice.RETRY


def test_the_steps_are_an_hour_a_day_three_days_and_a_week():
    waits = [due(NOW, step, 1.0) - NOW for step in range(len(RETRY_SCHEDULE))]
    assert waits == [timedelta(hours=1), timedelta(days=1), timedelta(days=3), timedelta(days=7)]
    assert due(NOW, len(RETRY_SCHEDULE), 1.0) is None
    assert given_up_at(NOW, 1.0) == NOW + timedelta(days=7)


@given(scale=SCALES, extensions=st.integers(0, EXTENSIONS))
def test_tries_come_one_after_another_and_the_last_when_the_order_is_given_up(scale, extensions):
    tries = [due(NOW, step, scale, extensions) for step in range(len(RETRY_SCHEDULE) + extensions)]
    assert all(one < following for one, following in pairwise(tries))
    assert tries[0] > NOW
    assert tries[-1] == given_up_at(NOW, scale, extensions)
    assert due(NOW, len(tries), scale, extensions) is None


@given(extensions=st.integers(0, EXTENSIONS))
def test_no_thirty_days_hold_more_tries_than_a_network_allows(extensions):
    assert len(RETRY_SCHEDULE) + extensions + 1 <= 15  # the first is the capture that failed


@given(scale=SCALES, step=st.integers(0, len(RETRY_SCHEDULE) - 1))
def test_the_scale_multiplies_every_step(scale, step):
    assert due(NOW, step, scale) - NOW == (due(NOW, step, 1.0) - NOW) * scale


@given(extensions=st.integers(1, EXTENSIONS))
def test_an_extension_takes_nothing_away(extensions):
    before = [due(NOW, step, 1.0, extensions - 1) for step in range(len(RETRY_SCHEDULE) + extensions - 1)]
    assert [due(NOW, step, 1.0, extensions) for step in range(len(before))] == before
    assert given_up_at(NOW, 1.0, extensions) > given_up_at(NOW, 1.0, extensions - 1)


@given(first=CODES, codes=st.lists(CODES))
def test_what_is_refused_for_ever_stays_refused(first, codes):
    standing = retry_advice_of(first)
    for code in codes:
        after = strictest(standing, retry_advice_of(code))
        assert after is RetryAdvice.NEVER or standing is not RetryAdvice.NEVER
        standing = after


@given(one=VERDICTS, other=VERDICTS)
def test_the_order_of_refusals_does_not_matter(one, other):
    assert strictest(one, other) is strictest(other, one)
    assert strictest(one, one) is one
