"""A postal address in the API's shape. `api/addresses.py` validates it by country."""

from __future__ import annotations

from models.base import Record


class Address(Record):
    """`country` ISO 3166-1 alpha-2; `region` the ISO 3166-2 part after the dash; `phone` E.164."""

    name: str
    company: str | None = None
    line1: str
    line2: str | None = None
    city: str
    region: str | None = None
    postal_code: str | None = None
    country: str
    phone: str | None = None
