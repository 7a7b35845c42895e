"""Base classes of request bodies."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


def _no_control(value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("must not hold control characters")
    return value


Line = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_no_control),
]


class Body(BaseModel):
    """A request body: unknown fields are refused, and nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)
