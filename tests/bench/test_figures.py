"""Percentiles are values that were measured; figures survive JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Figure, mean, percentile, percentiles

SAMPLES = st.lists(st.floats(0, 1000), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (95, 95), (99, 99), (100, 100)]
)
def test_nearest_rank_of_a_hundred(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_of_one_and_of_none() -> None:
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 50))
    assert math.isnan(mean([]))


@given(SAMPLES, st.integers(1, 100))
def test_is_a_sample_with_as_many_below_as_it_says(samples: list[float], percent: int) -> None:
    found = percentile(samples, percent)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= percent / 100 * len(samples)


def test_percentiles_are_told_in_milliseconds() -> None:
    assert dict(percentiles([0.001, 0.002, 0.003])) == {"p50": 2.0, "p95": 3.0, "p99": 3.0}


def test_a_figure_goes_through_json() -> None:
    figure = Figure("p50", 12.5, "ms", "sequence-closed-8", at_once=8)
    written = json.loads(json.dumps(figure.as_json()))
    assert written == {"name": "p50", "value": 12.5, "unit": "ms", "run": "sequence-closed-8", "at_once": 8}
    assert Figure.of_json(written) == figure
