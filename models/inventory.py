"""Stock as people see and correct it: on hand, of which reserved; the rest is available."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_STOCK = 10**9
"""Units of one sku at one location."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class StockLevel(BaseModel):
    """`available` = on_hand - reserved, never negative."""

    model_config = _FROZEN

    location: str
    on_hand: int
    reserved: int
    available: int


class Inventory(BaseModel):
    """One sku over all locations, the first asked first."""

    model_config = _FROZEN

    sku: str
    on_hand: int
    reserved: int
    available: int
    by_location: tuple[StockLevel, ...]


class AdjustStock(BaseModel):
    """`delta` units more or fewer on the shelf than the books say: a delivery, a count, a breakage."""

    model_config = _FROZEN

    location: str = Field(min_length=1, max_length=64)
    delta: Annotated[int, Field(strict=True, ge=-MAX_STOCK, le=MAX_STOCK)]
    reason: str = Field(min_length=1, max_length=500)

    @field_validator("delta")
    @classmethod
    def _changes_something(cls, delta: int) -> int:
        if delta == 0:
            raise ValueError("must not be zero")
        return delta

    @field_validator("location", "reason")
    @classmethod
    def _storable(cls, text: str) -> str:
        if "\x00" in text:
            raise ValueError("contains a NUL character")
        return text


class StockAdjustment(BaseModel):
    """What was done, by whom, and what is there since. `at` by the database's clock."""

    model_config = _FROZEN

    id: str
    sku: str
    location: str
    delta: int
    reason: str
    actor: str
    at: datetime
    on_hand: int
    reserved: int
    available: int
