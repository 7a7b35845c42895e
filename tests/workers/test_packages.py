"""Flat package names are safe only while nobody else's distribution brings one of them."""

from __future__ import annotations

from importlib.metadata import packages_distributions

import pytest

OURS = ("runtime", "models", "activities", "workflows", "workers", "api", "sandbox", "deploy", "bench")


@pytest.mark.parametrize("package", OURS)
def test_no_other_distribution_claims_our_name(package):
    assert set(packages_distributions().get(package, [])) <= {"holdfast-commerce"}


@pytest.mark.parametrize("package", OURS)
def test_it_is_ours_that_is_imported(package):
    import importlib
    from pathlib import Path

    module = importlib.import_module(package)
    assert Path(next(iter(module.__path__))).parent == Path(__file__).parents[2]
