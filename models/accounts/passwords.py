"""The password policy: a minimum length, any Unicode, not a common password.

After NIST SP 800-63B, 5.1.1.2: no rules of composition, a list of common ones, and a reason for each refusal.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from models.errors import PasswordRefused

MAX_LENGTH = 256
SHORTEST_COMMON = 4  # letters: a shorter core within digits and punctuation is not judged
SHORTEST_OWN = 3

_AROUND = string.digits + string.punctuation + " "
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "0123456789", "1234567890", "qwertyuiopasdfghjklzxcvbnm")


def normalised(password: str) -> str:
    """NFKC (UAX #15), the form that is hashed and compared: keyboards may encode the same text differently."""
    return unicodedata.normalize("NFKC", password)


def check_password(
    password: str, pointer: str, *, min_length: int, common: Callable[[str], bool], context: Iterable[str] = ()
) -> str:
    """Returns the password normalised. Raises PasswordRefused with the reason, at the pointer.

    `common` says whether a casefolded password is common; `context`: texts that an attacker may know of its owner.
    """
    if len(password) > MAX_LENGTH:
        raise _refused(pointer, f"must be at most {MAX_LENGTH} characters")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in password):
        raise _refused(pointer, "is not text")
    plain = normalised(password)
    if min(len(password), len(plain)) < min_length:
        raise _refused(pointer, f"must be at least {min_length} characters")
    folded = plain.casefold()
    unit = _unit(folded)
    if len(unit) <= SHORTEST_OWN:
        raise _refused(pointer, "is the same few characters repeated")
    if _is_sequence(folded):
        raise _refused(pointer, "is a plain sequence of characters")
    own = {word for text in context for word in _words(text)}
    bare, trimmed = folded.strip(_AROUND), folded.rstrip(_AROUND)
    for core in (folded, unit, bare, _unit(bare), trimmed, _unit(trimmed)):
        if core in own:
            raise _refused(pointer, "is made of your name, your address or the shop's name")
        if common(core) and (core in (folded, unit) or sum(c.isalpha() for c in core) >= SHORTEST_COMMON):
            raise _refused(pointer, "is among the passwords that are most often used, and tried first")
    return plain


def _unit(text: str) -> str:
    """The shortest text that `text` repeats (the last repetition may be cut off); `text` itself if there is none."""
    for size in range(1, len(text) // 2 + 1):
        if text == (text[:size] * (len(text) // size + 1))[: len(text)]:
            return text[:size]
    return text


def _is_sequence(text: str) -> bool:
    """Whether it is a run along the alphabet, the digits or the keyboard, in either direction, wrapping around."""
    turns = len(text) // min(len(row) for row in _ROWS) + 2
    return any(text in way * turns for row in _ROWS for way in (row, row[::-1]))


def _words(text: str) -> Iterator[str]:
    """The text, its local part, both without punctuation, and each of its alphanumeric parts."""
    folded = normalised(text).casefold().strip()
    local = folded.partition("@")[0]
    pieces = "".join(c if c.isalnum() else " " for c in folded).split()
    for word in (folded, local, "".join(pieces), "".join(c for c in local if c.isalnum()), *pieces):
        if len(word) >= SHORTEST_OWN:
            yield word


def _refused(pointer: str, why: str) -> PasswordRefused:
    return PasswordRefused(f"The password {why}", errors=[{"pointer": pointer, "detail": why}])
