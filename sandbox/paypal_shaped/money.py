"""The currencies that PayPal takes, and its decimal strings.

Source: developer.paypal.com/api/rest/reference/currency-codes. Amounts are stored in whole units of the last decimal
that PayPal allows: HUF, JPY and TWD have none, all others two.
"""

import re
from typing import Any

from sandbox.paypal_shaped.errors import BadRequest, PayPalError
from sandbox.store import Row

_CODES = "AUD BRL CAD CNY CZK DKK EUR HKD HUF ILS JPY MYR MXN TWD NZD NOK PHP PLN GBP SGD SEK CHF THB USD"
DECIMALS = {code: 0 if code in ("HUF", "JPY", "TWD") else 2 for code in _CODES.split()}
_VALUE = re.compile(r"(-?\d{1,9})(?:\.(\d{1,6}))?")


def read_amount(raw: Any, field: str) -> tuple[int, str]:
    """`{currency_code, value}` as units and currency. Raises BadRequest or PayPalError as PayPal does."""
    if not isinstance(raw, dict) or set(raw) - {"currency_code", "value", "breakdown"}:
        raise BadRequest("MISSING_REQUIRED_PARAMETER", field=field)
    code, value = raw.get("currency_code"), raw.get("value")
    if not isinstance(code, str) or len(code) != 3:
        raise BadRequest("INVALID_CURRENCY_CODE", field=f"{field}/currency_code")
    if code not in DECIMALS:
        raise PayPalError("CURRENCY_NOT_SUPPORTED", "Currency code is not currently supported.", field)
    match = _VALUE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadRequest("INVALID_PARAMETER_SYNTAX", field=f"{field}/value")
    whole, fraction = match[1], match[2] or ""
    if fraction and DECIMALS[code] == 0:
        raise PayPalError("DECIMALS_NOT_SUPPORTED", "Currency does not support decimals.", field)
    if len(fraction) > DECIMALS[code]:
        raise PayPalError("DECIMAL_PRECISION", "Too many decimals.", field)
    units = int(whole + fraction.ljust(DECIMALS[code], "0"))
    if units <= 0:
        raise PayPalError("CANNOT_BE_ZERO_OR_NEGATIVE", field=field)
    return units, code


def write_amount(units: int, code: str) -> Row:
    """As PayPal writes it: `{"currency_code": "USD", "value": "19.90"}`."""
    decimals = DECIMALS[code]
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(decimals + 1, "0")
    value = digits if decimals == 0 else f"{digits[:-decimals]}.{digits[-decimals:]}"
    return {"currency_code": code, "value": sign + value}


def processing_fee(units: int) -> int:
    """PayPal's fee for a capture: 3.49 % and 49, rounded, never more than the amount."""
    return min(units, round(units * 0.0349) + 49)
