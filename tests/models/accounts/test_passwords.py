"""Which passwords are taken, and why others are not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.passwords import common_passwords
from models.accounts.passwords import check_password, normalised
from models.errors import PasswordRefused

OWN = ("ada.lovelace@example.com", "Ada Lovelace", "Holdfast Outfitters")


def check(password, min_length=12):
    return check_password(
        password, "/password", min_length=min_length, common=common_passwords().__contains__, context=OWN
    )


def refusal(password, **more):
    with pytest.raises(PasswordRefused) as refused:
        check(password, **more)
    (error,) = refused.value.extra["errors"]
    assert error["pointer"] == "/password"
    return error["detail"]


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "a" * 79 + "b",
        "x" * 255 + "y",
        "0" * 40 + "!",
        "🙂🙃 kind regards",
        "пароль из многих слов",
        "密码密码长一点儿的密码呀",
        "tab\tand\x00nul are characters",
        "twelve chars",
        "monkeyhorse97",
        "ada was a countess",
    ],
)
def test_taken(password):
    assert check(password) == unicodedata.normalize("NFKC", password)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "at least 12"),
        ("eleven char", "at least 12"),
        ("e\u0301" * 8, "at least 12"),  # eight characters, however they are written
        ("\ufb03" * 6, "at least 12"),  # ﬃ: eighteen after NFKC, but six were typed
        ("x" * 257, "at most 256"),
        ("\ud800" + "a long enough phrase", "not text"),
        ("a" * 12, "repeated"),
        ("xyxyxyxyxyxyxy", "repeated"),
        ("abcabcabcabcabca", "repeated"),
        ("abcdefghijklm", "sequence"),
        ("zyxwvutsrqponm", "sequence"),
        ("123456789012345", "sequence"),
        ("qwertyuiopasdf", "sequence"),
        ("password1234", "most often used"),
        ("PASSWORD!!!!!!", "most often used"),
        ("!!!2026!dragon", "most often used"),
        ("ｐａｓｓｗｏｒｄ１２３４", "most often used"),
        ("passwordpassword", "most often used"),
        ("letmeinletmeinletm", "most often used"),
        ("123412341234", "most often used"),
        ("ada.lovelace@example.com", "your name"),
        ("Ada Lovelace", "your name"),
        ("adalovelace1815", "your name"),
        ("lovelace1234567", "your name"),
        ("lovelacelovelace", "your name"),
        ("HoldfastOutfitters!", "shop's name"),
    ],
)
def test_refused(password, why):
    assert why in refusal(password)


def test_the_least_length_is_a_setting():
    assert check("8 chars!", min_length=8) == "8 chars!"
    assert "at least 16" in refusal("fifteen is less", min_length=16)


def test_every_common_one_is_refused_whatever_its_length_may_be():
    taken = []
    for word in common_passwords():
        try:
            check(word, min_length=1)
        except PasswordRefused:
            continue
        taken.append(word)
    assert taken == []


@given(st.text(max_size=300))
def test_never_anything_but_a_password_or_a_reason(password):
    try:
        plain = check(password)
    except PasswordRefused:
        return
    assert 12 <= len(password) <= 256
    plain.encode()
    assert normalised(plain) == plain


@given(st.text(min_size=12, max_size=80))
def test_two_spellings_are_judged_and_kept_alike(password):
    decomposed = unicodedata.normalize("NFD", password)
    assert normalised(decomposed) == normalised(password)
