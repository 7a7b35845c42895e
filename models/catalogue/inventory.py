"""Stock levels, their movements and corrections. `available` = on hand - reserved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_STOCK = 10**9
"""Units of one SKU at one location."""

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Movement(StrEnum):
    """A change of a stock level."""

    RESERVE = "reserve"  # for a checkout's hold
    RELEASE = "release"  # of a hold or an allocation
    SHIP = "ship"  # of reserved units
    ADJUST = "adjust"  # a count, a correction or a return; may be negative


class Signs(NamedTuple):
    """The sign of a movement in each column: 1, -1 or 0."""

    on_hand: int
    reserved: int


MOVEMENTS: Mapping[Movement, Signs] = {
    Movement.RESERVE: Signs(on_hand=0, reserved=1),
    Movement.RELEASE: Signs(on_hand=0, reserved=-1),
    Movement.SHIP: Signs(on_hand=-1, reserved=-1),
    Movement.ADJUST: Signs(on_hand=1, reserved=0),
}


class StockLevel(BaseModel):
    """`available` = on_hand - reserved, never negative."""

    model_config = _FROZEN

    location: str
    on_hand: int
    reserved: int
    available: int


class Inventory(BaseModel):
    """One SKU over all locations, by priority."""

    model_config = _FROZEN

    sku: str
    on_hand: int
    reserved: int
    available: int
    by_location: tuple[StockLevel, ...]


class AdjustStock(BaseModel):
    """Changes `on_hand` by `delta` units: a delivery, a count, a breakage."""

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
    """An adjustment and the level after it. `at` by the database's clock."""

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
