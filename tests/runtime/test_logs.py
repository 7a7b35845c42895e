"""What an operator reads: one JSON line an event, also where a library tells it."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from models.errors import OutOfStock, ProviderUnavailable
from runtime import logs


@pytest.fixture
def told(monkeypatch):
    """The lines of what a library logs about an error, where nothing but ours listens."""
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(io.StringIO()))
    logs.configure("info")
    library = logging.getLogger("a.library")
    more = {"temporal_activity": {"attempt": 1}, "secret": "x"}

    def tell(error):
        try:
            raise error
        except Exception:
            where = (library.name, logging.WARNING, __file__, 1)
            record = library.makeRecord(*where, "It %s", ("failed",), sys.exc_info(), extra=more)
        logging.lastResort.handle(record)
        return [json.loads(line) for line in logging.lastResort.stream.getvalue().splitlines()]

    return tell


def test_a_refusal_is_one_line_without_a_traceback(told):
    (line,) = told(OutOfStock("one is left"))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "It failed",
        "level": "warning",
        "error": "OutOfStock: one is left",
        "temporal_activity": {"attempt": 1},
    }


def test_what_caused_it_is_named(told):
    error = ProviderUnavailable("Stripe did not answer")
    error.__cause__ = TimeoutError("after 5 s")
    (line,) = told(error)
    assert (line["error"], line["cause"]) == (
        "ProviderUnavailable: Stripe did not answer",
        "TimeoutError: after 5 s",
    )


def test_what_nobody_foresaw_has_its_traceback_on_the_same_line(told):
    (line,) = told(ZeroDivisionError("by nought"))
    assert "error" not in line
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ZeroDivisionError: by nought")
