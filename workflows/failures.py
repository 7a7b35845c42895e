"""Domain errors as Temporal failures: class name, detail and extra fields, and back again."""

from __future__ import annotations

from temporalio import workflow
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from models.errors import HoldfastError, OutcomeUnknown, Refusal, error_named


class DomainFailureConverter(DefaultFailureConverter):
    """Converts a HoldfastError to an ApplicationError of its class name; final errors are not retried."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        if isinstance(exception, HoldfastError):
            exception = ApplicationError(
                exception.detail,
                exception.extra,
                type=type(exception).__name__,
                non_retryable=not exception.retryable,
            )
        super().to_failure(exception, payload_converter, failure)


DATA_CONVERTER = DataConverter(
    payload_converter_class=PydanticPayloadConverter, failure_converter_class=DomainFailureConverter
)


def refusal_in(error: BaseException) -> Refusal | None:
    """The domain error that caused a failed activity or update; None if the cause is another error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ApplicationError) and cause.type and error_named(cause.type):
            return Refusal(error=cause.type, detail=cause.message, extra=cause.details[0] if cause.details else {})
        if isinstance(cause, HoldfastError):
            return Refusal.of(cause)
        cause = cause.cause if isinstance(cause, FailureError) else cause.__cause__
    return None


def is_known(error: BaseException) -> bool:
    """Whether the outcome at the provider is known: it refused, or was not reached."""
    refusal = refusal_in(error)
    return refusal is not None and refusal.error != OutcomeUnknown.__name__
