"""Finds card numbers in requests, so that the API refuses them: the shop stores tokens, never card numbers.

A card number (ISO/IEC 7812-1) is 13 to 19 digits that begin with an issuer's prefix and end with the check digit of
Luhn's formula; people write it with blanks or dashes between groups. Ids of ours (32 hexadecimal digits) and
telephone numbers in E.164 (`+`, up to 15 digits) are none, whatever their digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

SHORTEST = 13
LONGEST = 19

# First digits, from and to, and how long their numbers are. Where issuers share a prefix, all of their lengths.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("50", "50", frozenset(range(13, 20))),  # Maestro
    ("56", "59", frozenset(range(13, 20))),
    ("60", "69", frozenset(range(13, 20))),  # Maestro, Discover, UnionPay, RuPay
    ("81", "82", frozenset(range(16, 20))),  # UnionPay, RuPay
    ("2200", "2204", frozenset(range(16, 20))),  # Mir
    ("9792", "9792", frozenset({16})),  # Troy
)

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212-"
_RUN = re.compile(rf"\d[\d\s{_DASHES}]{{{SHORTEST - 1},}}")
_GROUP = re.compile(r"\d+")
# Of a fixed length and without a look-ahead: every position is tried once, for at most 36 characters.
_HEXADECIMAL = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])"
)
_LETTER = re.compile("[a-f]")
_E164_LONGEST = 15
_MOST_GROUPS = 1_000  # of digits in one body: far more than names and addresses have; it bounds the work

_RAW_RUN = re.compile(rb"[0-9][0-9\s-]{12,}")
_BUT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))

# Luhn: the value of every second digit.
_DOUBLED = {str(digit): digit * 2 - 9 * (digit > 4) for digit in range(10)}
_SINGLE = {str(digit): digit for digit in range(10)}


def is_card_number(digits: str) -> bool:
    """Whether `digits` (digits only) has a length, an issuer's prefix and the check digit of a card number."""
    return SHORTEST <= len(digits) <= LONGEST and _luhn(digits) and _has_issuer(digits)


def holds_card_number(text: str) -> bool:
    """Whether the text contains a card number."""
    return find_card_number(text) is not None


def find_card_number(value: Any) -> str | None:
    """The RFC 6901 pointer to the first string or number of a JSON value that contains a card number, or None.

    For a card number in a member's name it points to the object, so that the pointer never repeats the number. Time and
    memory grow with the size of the value: a pointer is written only for what was found.
    """
    checked = 0
    for place, text in _texts(value):
        for run in _RUN.finditer(_HEXADECIMAL.sub(_unless_digits, text)):
            groups = [_ascii(group) for group in _GROUP.findall(run[0])]
            checked += len(groups)
            if checked > _MOST_GROUPS:
                return _pointer(place)
            if not _is_telephone(run, groups) and any(map(is_card_number, _windows(groups))):
                return _pointer(place)
    return None


class _Place(NamedTuple):
    """A member or an element, and where its parent is."""

    parent: _Place | None
    key: str | int


def _pointer(place: _Place | None) -> str:
    keys = []
    while place is not None:
        keys.append(_escaped(str(place.key)))
        place = place.parent
    return "".join(f"/{key}" for key in reversed(keys))


def _texts(value: Any) -> Iterator[tuple[_Place | None, str]]:
    """The place and text of every name, string and whole number, in document order."""
    waiting: list[tuple[_Place | None, Any]] = [(None, value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, dict):
            yield from ((place, name) for name in found)
            waiting.extend((_Place(place, name), each) for name, each in reversed(found.items()))
        elif isinstance(found, list):
            waiting.extend((_Place(place, i), found[i]) for i in range(len(found) - 1, -1, -1))
        elif isinstance(found, str):
            yield place, found
        elif isinstance(found, int | float) and abs(found) < 10**LONGEST and found == int(found):
            yield place, str(abs(int(found)))


def _unless_digits(found: re.Match[str]) -> str:
    """An id of ours has a letter; what has none is left to be checked."""
    return "id" if _LETTER.search(found[0]) else found[0]


def _is_telephone(run: re.Match[str], groups: list[str]) -> bool:
    return run.string[: run.start()].endswith("+") and sum(map(len, groups)) <= _E164_LONGEST


def find_in_json(body: bytes) -> str | None:
    """`find_card_number` for a JSON text. Most bodies have no 13 digits in a row and are not even parsed."""
    plain = body.isascii() and b"\\u" not in body and b"\0" not in body
    if plain and not may_hold_card_number(body):
        return None
    try:
        pointer = find_card_number(json.loads(body))
    except (ValueError, RecursionError):  # reported when the body is parsed for the route
        pointer = None
    if pointer is None and holds_card_number(body.decode("latin-1")):
        return ""  # in a part that the parser drops, such as a repeated member
    return pointer


def may_hold_card_number(raw: bytes) -> bool:
    """False only if `raw` certainly has no card number in plain ASCII. Takes about a microsecond."""
    return len(raw.translate(None, _BUT_DIGITS)) >= SHORTEST and _RAW_RUN.search(raw) is not None


def may_hold_in_address(raw: bytes) -> bool:
    """`may_hold_card_number` for a path or a query, where every digit, however encoded, contains an ASCII digit."""
    return len(raw.translate(None, _BUT_DIGITS)) >= SHORTEST


def _windows(groups: list[str]) -> Iterator[str]:
    """Runs of whole groups with 13 to 19 digits: a date and a code may follow the card number."""
    for first in range(len(groups)):
        digits = ""
        for group in groups[first:]:
            digits += group
            if len(digits) > LONGEST:
                break
            if len(digits) >= SHORTEST:
                yield digits


def _has_issuer(digits: str) -> bool:
    return any(low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in _ISSUERS)


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    singles = sum(map(_SINGLE.__getitem__, digits[-1::-2]))
    return (singles + sum(map(_DOUBLED.__getitem__, digits[-2::-2]))) % 10 == 0


def _ascii(digits: str) -> str:
    """Converts the digits of other scripts to ASCII."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
