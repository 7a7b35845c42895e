"""Checks new passwords against the shop's rules and zxcvbn's list of common passwords."""

from __future__ import annotations

from functools import cache

from api.services import Services
from models.accounts.passwords import check_password


def checked_password(shop: Services, password: str, pointer: str, *context: str) -> str:
    """Returns the password normalised for hashing. Raises PasswordRefused with the reason, at the pointer.

    `context`: strings that an attacker may guess, such as the person's address and name.
    """
    return check_password(
        password,
        pointer,
        min_length=shop.settings.password_min_length,
        common=common_passwords().__contains__,
        context=(*context, shop.settings.shop_name),
    )


@cache
def common_passwords() -> frozenset[str]:
    """zxcvbn's list of 30,000 passwords, cached. Loading it takes a quarter of a second."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

    return frozenset(word.casefold() for word in FREQUENCY_LISTS["passwords"])
