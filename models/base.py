"""The two kinds of data that travel: frozen records between our own parts, strict bodies from outside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A command, a result or a stored document: frozen, unknown fields ignored (histories outlive fields)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
