"""Logging of every process: one JSON line per event, tracebacks without local variables."""

from __future__ import annotations

import logging

import structlog
from temporalio import activity, workflow

from models.errors import HoldfastError

_TIME = structlog.processors.TimeStamper(fmt="iso", utc=True)
# Extra fields of a library's record that are logged; `without_traceback_where_foreseen` sets `error` and `cause`.
_FIELDS = ("temporal_activity", "temporal_workflow", "error", "cause")


def configure(level: str) -> None:
    """Call it once per process. A traceback with every local variable takes seconds and contains personal data."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _TIME,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )
    _configure_libraries()


def _configure_libraries() -> None:
    """Formats the warnings of libraries, which use the standard library's logging, the same way."""
    activity.logger.activity_info_on_message = workflow.logger.workflow_info_on_message = False
    last = logging.lastResort
    assert last is not None
    last.addFilter(without_traceback_where_foreseen)
    last.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(allow=_FIELDS),
                _TIME,
                structlog.processors.format_exc_info,
            ],
        )
    )


def without_traceback_where_foreseen(record: logging.LogRecord) -> bool:
    """A logging filter: replaces the traceback of a HoldfastError, an expected result, by its message. Drops none."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HoldfastError):
        record.error = _message(error)
        if error.__cause__ is not None:
            record.cause = _message(error.__cause__)
        record.exc_info = None
    return True


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
