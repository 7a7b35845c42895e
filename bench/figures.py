"""Figures with a unit and their run, and percentiles of latencies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Figure:
    """`at_once` is set for a closed loop, `rate` (a second) for an open one; `of` names a part: a process, a call."""

    name: str
    value: float
    unit: str
    run: str
    of: str | None = None
    at_once: int | None = None
    rate: float | None = None

    def as_json(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {**found, "value": round(self.value, 4)}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        return cls(**found)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest rank: a measured value, never an interpolated one. NaN without samples."""
    if not samples:
        return math.nan
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percentiles(samples: Sequence[float]) -> Iterator[tuple[str, float]]:
    """`p50` and so on in milliseconds, from seconds."""
    for percent in PERCENTILES:
        yield f"p{percent}", percentile(samples, percent) * 1000


def mean(samples: Sequence[float]) -> float:
    return sum(samples) / len(samples) if samples else math.nan
