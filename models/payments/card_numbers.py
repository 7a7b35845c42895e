"""Card numbers in text, so that they are refused at the door: we hold tokens, never the numbers behind them.

A card number (ISO/IEC 7812-1) is 13 to 19 digits that begin with an issuer's prefix and end with the check digit of
Luhn's formula; people write it with blanks or dashes between groups. Ids of ours (32 hexadecimal digits) and
telephone numbers in E.164 (`+`, up to 15 digits) are none, whatever their digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

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
_OUR_ID = re.compile(
    r"(?<![0-9A-Za-z])(?=[0-9-]*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])"
)
_E164_LONGEST = 15
_MOST_GROUPS = 1_000  # of digits in one body: nobody's name or address has as many, and each costs a look

_RAW_RUN = re.compile(rb"[0-9][0-9\s-]{12,}")
_BUT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))

# Luhn: what every second digit counts for.
_DOUBLED = {str(digit): digit * 2 - 9 * (digit > 4) for digit in range(10)}
_SINGLE = {str(digit): digit for digit in range(10)}


def is_card_number(digits: str) -> bool:
    """Of digits alone: long enough, an issuer's, and with the right check digit."""
    return SHORTEST <= len(digits) <= LONGEST and _luhn(digits) and _has_issuer(digits)


def holds_card_number(text: str) -> bool:
    """Whether a card number stands anywhere in the text."""
    return find_card_number(text) is not None


def find_card_number(value: Any) -> str | None:
    """The RFC 6901 pointer to the first string or number of a JSON value that holds one; None where none does.

    A number in a member's name is pointed at by the object that has the member, so that no pointer repeats it.
    """
    looks = 0
    for pointer, text in _texts(value):
        for run in _RUN.finditer(_OUR_ID.sub("id", text)):
            groups = [_ascii(group) for group in _GROUP.findall(run[0])]
            looks += len(groups)
            if looks > _MOST_GROUPS or (not _is_telephone(run, groups) and any(map(is_card_number, _windows(groups)))):
                return pointer
    return None


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every name, string and whole number in it, with its pointer, in the order in which they stand."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, found = waiting.pop()
        if isinstance(found, dict):
            yield from ((pointer, name) for name in found)
            waiting.extend((f"{pointer}/{_escaped(name)}", each) for name, each in reversed(found.items()))
        elif isinstance(found, list):
            waiting.extend((f"{pointer}/{i}", found[i]) for i in range(len(found) - 1, -1, -1))
        elif isinstance(found, str):
            yield pointer, found
        elif isinstance(found, int | float) and abs(found) < 10**LONGEST and found == int(found):
            yield pointer, str(abs(int(found)))


def _is_telephone(run: re.Match[str], groups: list[str]) -> bool:
    return run.string[: run.start()].endswith("+") and sum(map(len, groups)) <= _E164_LONGEST


def find_in_json(body: bytes) -> str | None:
    """The same for a JSON text. Most hold no 13 digits in a row, and are done with after one look at the bytes."""
    plain = body.isascii() and b"\\u" not in body and b"\0" not in body
    if plain and not may_hold_card_number(body):
        return None
    try:
        pointer = find_card_number(json.loads(body))
    except (ValueError, RecursionError):  # whoever reads it next says so
        pointer = None
    if pointer is None and holds_card_number(body.decode("latin-1")):
        return ""  # in what a reader would drop, such as a member that comes twice
    return pointer


def may_hold_card_number(raw: bytes) -> bool:
    """False only when it certainly holds none in plain ASCII; about a microsecond."""
    return len(raw.translate(None, _BUT_DIGITS)) >= SHORTEST and _RAW_RUN.search(raw) is not None


def may_hold_in_address(raw: bytes) -> bool:
    """The same for a path or a query, where every digit, however it is encoded, has one in ASCII."""
    return len(raw.translate(None, _BUT_DIGITS)) >= SHORTEST


def _windows(groups: list[str]) -> Iterator[str]:
    """Whatever 13 to 19 digits begin and end with a group: the number may be followed by its date and code."""
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
    """Other scripts' digits are digits as well."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
