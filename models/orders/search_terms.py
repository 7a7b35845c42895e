"""The search terms of an order: its number, SKUs, titles, the recipient's name and the buyer's e-mail address.

Words are compared case-folded and in the normal form NFKC (UAX #15), so `ＳＴＲＡẞＥ` finds `Straße`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import groupby


def terms_of(number: str, products: Iterable[tuple[str, str]], recipient: str | None, email: str | None) -> list[str]:
    """All terms of one order, each once, sorted. `products`: SKU and title of each line."""
    found = {*number_terms(number), *text_terms(recipient or ""), *_words(email or "")}
    for sku, title in products:
        found |= {*sku_terms(sku), *text_terms(title)}
    return sorted(found)


def query_terms(query: str) -> list[str]:
    """The terms of a query, each once, the longest first (probably the rarest); mere punctuation is dropped."""
    return sorted(set(_words(query)), key=lambda word: (-len(word), word))


def number_terms(number: str) -> set[str]:
    """`HF-100001` is found whole and by `100001`."""
    return {each for word in _words(number) for each in (word, word.rpartition("-")[2])}


def sku_terms(sku: str) -> set[str]:
    """`HF-TRAIL-JKT-S` is found whole and by its beginnings `hf-trail` and `hf-trail-jkt`."""
    found = set()
    for word in _words(sku):
        parts = word.split("-")
        found |= {word, *("-".join(parts[:length]) for length in range(2, len(parts)))}
    return found


def text_terms(text: str) -> set[str]:
    """Every word, and the parts of one with punctuation inside: `O'Brien` is found whole, by `o` and by `brien`."""
    return {term for word in _words(text) for term in (word, *_parts(word))}


def _words(text: str) -> Iterator[str]:
    """The words between white space and control characters, without surrounding punctuation."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    for word in "".join(" " if unicodedata.category(each)[0] == "C" else each for each in folded).split():
        letters = [place for place, character in enumerate(word) if _is_letter(character)]
        if letters:
            yield word[letters[0] : letters[-1] + 1]


def _parts(word: str) -> Iterator[str]:
    for inside, characters in groupby(word, key=_is_letter):
        if inside:
            yield "".join(characters)


def _is_letter(character: str) -> bool:
    """A letter, a digit, or a mark that belongs to the letter before it (Unicode's categories L, N, M)."""
    return unicodedata.category(character)[0] in "LNM"
