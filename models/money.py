"""Money: whole minor units and a currency. No floats; a split always sums to the whole.

Rounding policy, the only one in the code base: **half away from zero** (`divide_rounded`), on exact
integers, at the only places where a fraction of a minor unit can arise: a percentage discount of a cart and
the tax of a line. The result is spread over lines by largest remainder (`allocate`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from models.errors import CurrencyMismatch

CURRENCIES: Final = MappingProxyType({"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3})
"""ISO 4217 exponents: the number of decimals of the currency."""

SMALLEST: Final = MappingProxyType({"KWD": 10})
"""The step of payable amounts, if more than one minor unit: card networks require the third decimal to be 0."""

MAX_AMOUNT: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly; the database's bigint is larger."""

PPM: Final = 1_000_000
"""Rates are whole parts per million: 8.875 % is 88 750."""


def _known(currency: str) -> str:
    if currency not in CURRENCIES:
        raise ValueError(f"must be one of {', '.join(CURRENCIES)}")
    return currency


Currency = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(CURRENCIES)})]
MinorUnits = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]
"""A price or a threshold: never negative, never a float or a bool."""


class Money(BaseModel):
    """`{"amount": 1999, "currency": "USD"}` is $19.99; amounts may be negative (a refund, a reversal)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    amount: int = Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="minor units by ISO 4217 exponent")
    currency: Currency

    @classmethod
    def of(cls, amount: int, currency: str) -> Money:
        """Raises ValidationError for a float, a bool, an unknown currency or an amount past MAX_AMOUNT."""
        return cls(amount=amount, currency=currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(amount=0, currency=currency)

    def __add__(self, other: Money) -> Money:
        return Money(amount=self.amount + self._same(other).amount, currency=self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(amount=self.amount - self._same(other).amount, currency=self.currency)

    def __neg__(self) -> Money:
        return Money(amount=-self.amount, currency=self.currency)

    def __mul__(self, times: int) -> Money:
        return Money(amount=self.amount * times, currency=self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other).amount

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} can't be mixed")
        return other


def sum_money(amounts: Iterable[Money], currency: str) -> Money:
    """The sum; zero of `currency` without amounts. Raises CurrencyMismatch."""
    return sum(amounts, Money.zero(currency))


def payable(amount: Money) -> Money:
    """The amount rounded down to what a provider can move: 4.567 KWD gives 4.560."""
    return Money(amount=amount.amount - amount.amount % SMALLEST.get(amount.currency, 1), currency=amount.currency)


def divide_rounded(numerator: int, denominator: int) -> int:
    """The exact quotient, rounded half away from zero: 5/2 → 3, -5/2 → -3. Raises ZeroDivisionError."""
    if denominator == 0:
        raise ZeroDivisionError("divide_rounded by zero")
    quotient, remainder = divmod(abs(numerator), abs(denominator))
    if 2 * remainder >= abs(denominator):
        quotient += 1
    return quotient if (numerator >= 0) == (denominator > 0) else -quotient


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Splits `total` in proportion to `weights` by largest remainder; the parts sum to `total` exactly.

    Ties go to the earlier weight. A part never exceeds its weight where `total` doesn't exceed their sum. A
    zero weight gets nothing, unless all are zero: then all count the same. Raises ValueError for a negative
    weight, or for a total that isn't 0 without weights.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights can't be negative")
    if not weights:
        if total:
            raise ValueError("there are no weights")
        return []
    whole = sum(weights)
    shares, whole = (list(weights), whole) if whole else ([1] * len(weights), len(weights))
    split = [divmod(abs(total) * share, whole) for share in shares]
    parts = [quotient for quotient, _ in split]
    left = abs(total) - sum(parts)
    by_remainder = sorted(range(len(split)), key=lambda i: -split[i][1])
    for i in by_remainder[:left]:
        parts[i] += 1
    return parts if total >= 0 else [-part for part in parts]


_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")


def parse_major(text: str, currency: str) -> int:
    """Parses a decimal price into minor units: `"19.9"` USD → 1990, `"2980"` JPY → 2980.

    Raises ValueError, with a message for the merchant, for anything else: a sign, a thousands separator, an
    exponent, or more decimals than the currency has.
    """
    decimals = CURRENCIES[_known(currency)]
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a price: write digits with a decimal point, such as 1299.50")
    whole, fraction = match[1], (match[2] or "")
    if len(fraction.rstrip("0")) > decimals:
        raise ValueError(f"{text!r} has more decimals than {currency} ({decimals})")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))
