"""How our processes log: one JSON line an event, tracebacks without the values in them."""

from __future__ import annotations

import logging

import structlog
from temporalio import activity, workflow

from models.errors import HoldfastError

_TIME = structlog.processors.TimeStamper(fmt="iso", utc=True)
# What a library adds to a record and an operator needs; `error` and `cause` are ours.
_FIELDS = ("temporal_activity", "temporal_workflow", "error", "cause")


def configure(level: str) -> None:
    """Once per process. A traceback with every local variable takes seconds and holds people's data."""
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
    _tell_libraries()


def _tell_libraries() -> None:
    """Warnings of what logs through the standard library, in the same shape."""
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
    """Our own errors are results that a process expects: their words tell all. Every record is kept."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HoldfastError):
        record.error = _words(error)
        if error.__cause__ is not None:
            record.cause = _words(error.__cause__)
        record.exc_info = None
    return True


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
