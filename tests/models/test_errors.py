"""The tree of refusals: as its docstring draws it, and as HTTP and Temporal need it."""

from __future__ import annotations

import re

import pytest

from models import errors
from models.errors import CheckoutInProgress, HoldfastError, OutOfStock, RequestInProgress, Unavailable, error_named


def tree(root=HoldfastError):
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


ALL = list(tree())


def test_the_docstring_shows_the_tree():
    drawn = re.findall(r"(\w+)\s{2,}(\d{3})\s+([a-z-]+)", errors.__doc__)
    assert {(name, int(status), slug) for name, status, slug in drawn} == {
        (error.__name__, error.status, error.slug) for error in ALL if error is not HoldfastError
    }


def test_every_slug_is_one_errors():
    slugs = [error.slug for error in ALL if error is not HoldfastError]
    assert len(slugs) == len(set(slugs))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
class TestEachOne:
    def test_is_found_by_its_name(self, error):
        assert error_named(error.__name__) is error

    def test_is_a_problem(self, error):
        problem = error("why", extra=1).problem()
        assert problem["type"] == f"/problems/{error.slug}"
        assert (problem["status"], problem["detail"], problem["extra"]) == (error.status, "why", 1)
        assert error().detail == error.title

    def test_is_tried_again_only_where_that_can_help(self, error):
        assert error.retryable == issubclass(error, Unavailable)

    def test_is_kept_only_where_something_had_begun(self, error):
        expected = error.status in (402, 409) and error not in (CheckoutInProgress, RequestInProgress)
        assert error().stored == expected


def test_an_unknown_name_is_none():
    assert error_named("ValueError") is None


def test_it_crosses_temporal_with_all_that_it_knows():
    from temporalio.api.failure.v1 import Failure

    from workflows.failures import DATA_CONVERTER, refusal_in

    failure = Failure()
    converter = DATA_CONVERTER.failure_converter
    converter.to_failure(OutOfStock("gone", sku="A", available=0), DATA_CONVERTER.payload_converter, failure)
    assert failure.application_failure_info.non_retryable
    refusal = refusal_in(converter.from_failure(failure, DATA_CONVERTER.payload_converter))
    raised = refusal.raised()
    assert (type(raised), raised.detail, raised.extra) == (OutOfStock, "gone", {"sku": "A", "available": 0})
