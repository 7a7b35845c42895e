"""New passwords at the door: checked against the shop's rules and the lists of common ones."""

from __future__ import annotations

from functools import cache

from api.services import Services
from models.accounts.passwords import check_password


def checked_password(shop: Services, password: str, pointer: str, *context: str) -> str:
    """The password as it is to be hashed. Raises PasswordRefused with the reason, at the pointer.

    `context`: the person's address, name and the like, which others may guess.
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
    """zxcvbn's list of 30,000. Loading it takes a quarter of a second, which nobody should have to wait for."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

    return frozenset(word.casefold() for word in FREQUENCY_LISTS["passwords"])
