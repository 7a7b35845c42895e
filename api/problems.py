"""Maps errors to HTTP: RFC 9457 problem+json, without stack traces or internal names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from models.errors import (
    BadRequest,
    HoldfastError,
    InternalError,
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

_BY_STATUS: Mapping[int, type[HoldfastError]] = {
    400: BadRequest,
    401: Unauthenticated,
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
    415: UnsupportedMediaType,
}


def problem(request: Request, error: HoldfastError, more: Mapping[str, str] | None = None) -> Response:
    """The response for one error; `instance` and `request_id` are this request's. `more`: further headers."""
    request.scope["problem"] = error.slug  # for the access log
    body = error.problem() | {
        "instance": request.url.path,
        "request_id": request.scope.get("request_id"),
    }
    headers = dict(more or {})
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="holdfast"'
    if error.status in (429, 503) or error.slug in ("request-in-progress", "checkout-in-progress"):
        headers["Retry-After"] = str(error.extra.get("retry_after", RETRY_AFTER_SECONDS))
    return Response(json.dumps(body, default=str), status_code=error.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    async def domain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HoldfastError)
        if isinstance(error, Unavailable):
            log.warning("unavailable", detail=error.detail, cause=repr(error.__cause__))
        return problem(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(request, from_validation(error.errors()))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, HoldfastError):  # FastAPI wraps errors raised while it reads the body
            return problem(request, error.__cause__)
        kind = _BY_STATUS.get(error.status_code, BadRequest)
        if error.status_code == 400 and "body" in str(error.detail):
            kind = MalformedJson
        return problem(request, kind(), error.headers)

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected_error", path=request.url.path, exc_info=error)
        return problem(request, InternalError())

    app.add_exception_handler(HoldfastError, domain)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def from_validation(errors: Any) -> HoldfastError:
    """400 for malformed JSON; 422 with a pointer to each field that violates the schema."""
    if any(error["type"] == "json_invalid" for error in errors):
        return MalformedJson()
    found = [{"pointer": _pointer(error["loc"]), "detail": error["msg"]} for error in errors]
    return InvalidRequest("; ".join(f"{e['pointer'] or 'body'}: {e['detail']}" for e in found[:3]), errors=found)


def validated(error: ValidationError) -> HoldfastError:
    """The same for a body that a route validates by itself."""
    return from_validation([{**found, "loc": ("body", *found["loc"])} for found in error.errors()])


def _pointer(location: tuple[Any, ...]) -> str:
    """RFC 6901 into the body; a parameter by its location: `/query/limit`."""
    where, *rest = location
    parts = rest if where == "body" else [where, *rest]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
