"""Words are found however they are cased and composed, and only by what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.orders.search_terms import query_terms, terms_of


def terms(number="HF-100001", products=(), recipient=None, email=None):
    return terms_of(number, products, recipient, email)


def test_an_order_is_found_by_number_product_recipient_and_address():
    found = terms(
        products=[("HF-TRAIL-JKT-S", "Trail Jacket (Red/S)")], recipient="Zoë O'Brien", email="Ada@Example.com"
    )
    assert set(found) == {
        *("hf-100001", "100001"),
        *("hf-trail-jkt-s", "hf-trail-jkt", "hf-trail"),
        *("trail", "jacket", "red/s", "red", "s"),
        *("zoë", "o'brien", "o", "brien"),
        "ada@example.com",
    }
    assert found == sorted(set(found))


def test_an_address_is_found_only_whole():
    assert "ada" not in terms(email="ada@example.com")
    assert "example.com" not in terms(email="ada@example.com")


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Straße", "STRASSE"),
        ("Käuferin", "Ka\u0308uferin"),  # a, and a diaeresis over it
        ("ＡＤＡ", "ada"),
        ("ﬁsh", "FISH"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("山田太郎", "山田太郎"),
        ("किताब", "किताब"),
        ("Ada, Buyer!", "“ada”"),
    ],
)
def test_case_and_composition_do_not_matter(said, asked):
    assert set(query_terms(asked)) <= set(terms(recipient=said))


def test_a_query_is_its_words_the_longest_first_and_each_once():
    assert query_terms("  red  JACKET, red (trail) ") == ["jacket", "trail", "red"]


@pytest.mark.parametrize("query", ["", "   ", "!!!", "- — –", "\x00", "\u200d", "\ud800"])
def test_without_a_letter_or_a_digit_there_is_no_word(query):
    assert query_terms(query) == []


@given(st.text())
def test_whatever_is_written_is_found_by_itself(text):
    assert set(query_terms(text)) <= set(terms(recipient=text))


@given(st.text(st.characters(exclude_categories=())))
def test_every_word_can_be_stored(text):
    for word in query_terms(text):
        assert word
        assert "\x00" not in word
        word.encode()
