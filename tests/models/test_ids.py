"""Ids: time-ordered for things, derived for attempts, never two lists of parts the same."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ids import (
    PREFIXES,
    checkout_workflow,
    derived_id,
    digest_of,
    new_id,
    order_of,
    order_workflow,
    payment_of,
)


def test_new_ones_are_uuid_7_behind_their_type():
    prefix, _, value = new_id("cart").partition("_")
    found = uuid.UUID(value)
    assert (prefix, found.version, found.variant) == ("cart", 7, uuid.RFC_4122)


def test_new_ones_follow_time():
    first = new_id("ord")
    time.sleep(0.002)
    assert first < new_id("ord")


def test_many_are_all_different():
    assert len({new_id("ord") for _ in range(10_000)}) == 10_000


def test_derived_ones_are_uuid_8_and_always_the_same():
    one, again = derived_id("chk", "a", "b"), derived_id("chk", "a", "b")
    assert one == again
    assert uuid.UUID(one.removeprefix("chk_")).version == 8


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
)
def test_other_parts_give_another_digest(one, other):
    assert (digest_of(*one) == digest_of(*other)) == (one == other)


def test_an_unknown_prefix_is_a_mistake():
    for make in (new_id, derived_id):
        with pytest.raises(AssertionError):
            make("nope")
    assert "cart" in PREFIXES


def test_everything_of_an_attempt_follows_from_its_id():
    assert order_of("chk_1") != order_of("chk_2")
    assert order_of("chk_1").removeprefix("ord_") == payment_of("chk_1").removeprefix("pay_")
    assert checkout_workflow("chk_1") == "checkout/chk_1"
    assert order_workflow("ord_1") == "order/ord_1"
