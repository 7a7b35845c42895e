"""The OpenAPI document: FastAPI's, completed with what all routes share."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from api.auth import Declared, declared
from api.problems import MEDIA_TYPE
from api.schemas.responses import Problem

_METHODS = frozenset({"get", "put", "post", "patch", "delete"})
_REF = "#/components/schemas/{model}"
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
_REQUEST_ID = {"X-Request-Id": {"description": "Echoed, or made.", "schema": {"type": "string"}}}


def describe(app: FastAPI) -> None:
    """Makes the app publish `contract(app)`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = contract(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents


def contract(app: FastAPI) -> dict[str, Any]:
    """Every error is a problem document; each route lists the problems that all routes share."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        routes=app.routes,
    )
    components = document["components"]
    components["schemas"] = {
        **{name: model for name, model in components["schemas"].items() if not name.endswith("ValidationError")},
        **_problem_schemas(),
    }
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token."}
    }
    asked = {
        (route.path, method.lower()): declared(route)
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS and path.startswith("/v1/"):
                _complete(operation, asked[path, method])
    return document


def _complete(operation: dict[str, Any], asked: Declared) -> None:
    """Completes `security`: the scope that a route requires; `{}` as an alternative where guests may call it."""
    scopes = [asked.scope.value] if asked.scope else []
    operation["security"] = [{"bearer": scopes}] if asked.signed_in else [{"bearer": []}, {}]
    responses = operation["responses"]
    for status, response in responses.items():
        response["headers"] = _REQUEST_ID | response.get("headers", {})
        if int(status) >= 400:
            response["content"] = _PROBLEM
    responses["default"] = {
        "description": "Any other refusal: 400, 401, 403, 404, 412, 413, 415, 422, 429 or 503.",
        "headers": _REQUEST_ID,
        "content": _PROBLEM,
    }


def _problem_schemas() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template=_REF)
    return {**schema.pop("$defs", {}), "Problem": schema}
