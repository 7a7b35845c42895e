"""How our processes log: one JSON line an event, tracebacks without the values in them."""

from __future__ import annotations

import logging

import structlog


def configure(level: str) -> None:
    """Once per process. A traceback with every local variable takes seconds and holds people's data."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=False,
    )
