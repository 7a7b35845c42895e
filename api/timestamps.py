"""Timestamps of requests: RFC 3339, or whole days as the ends of a range."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc)]
"""RFC 3339 with any offset, converted to UTC."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _first_of(value: Any) -> Any:
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DAY.fullmatch(value) else value


def _first_after(value: Any) -> Any:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return value
    try:
        return _first_of(str(date.fromisoformat(value) + timedelta(days=1)))
    except OverflowError as error:
        raise ValueError("is out of range") from error


Since = Annotated[Moment, BeforeValidator(_first_of)]
"""A timestamp, or a day in UTC, which starts the range at its beginning."""
Until = Annotated[Moment, BeforeValidator(_first_after)]
"""A timestamp, or a day in UTC, which ends the range at its end."""
