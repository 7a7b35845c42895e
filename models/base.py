"""`Record`, the base of commands, results and stored documents, and `Storable` text."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _storable(value: str) -> str:
    if "\x00" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("is not text that the database can hold")
    return value


Storable = Annotated[str, AfterValidator(_storable)]
"""Text from a request that PostgreSQL can store (no NUL, no lone surrogates)."""


class Record(BaseModel):
    """A command, a result or a stored document: frozen, unknown fields ignored (histories outlive fields)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
