"""PayPal's errors: `{name, message, debug_id, details: [{issue, description}], links}` with their statuses."""

import secrets

from sandbox.store import Row


class PayPalError(Exception):
    """422 UNPROCESSABLE_ENTITY with its issue; source: developer.paypal.com/api/rest/responses, …/orders/v2/errors."""

    status = 422
    name = "UNPROCESSABLE_ENTITY"
    message = "The requested action could not be performed, semantically incorrect, or failed business validation."

    def __init__(self, issue: str, description: str = "", field: str | None = None) -> None:
        super().__init__(f"{issue}: {description}")
        detail: Row = {"issue": issue, "description": description or issue.replace("_", " ").capitalize() + "."}
        if field is not None:
            detail["field"] = field
        self.body: Row = {
            "name": self.name,
            "message": self.message,
            "debug_id": secrets.token_hex(7),
            "details": [detail],
            "links": [],
        }


class BadRequest(PayPalError):
    """The request breaks the schema, 400."""

    status = 400
    name = "INVALID_REQUEST"
    message = "Request is not well-formed, syntactically incorrect, or violates schema."


class Missing(PayPalError):
    """No such resource, 404."""

    status = 404
    name = "RESOURCE_NOT_FOUND"
    message = "The specified resource does not exist."

    def __init__(self) -> None:
        super().__init__("INVALID_RESOURCE_ID", "Specified resource ID does not exist. Please check the resource ID.")


class Unauthenticated(PayPalError):
    """No token, an unknown one or one that has run out, 401."""

    status = 401
    name = "AUTHENTICATION_FAILURE"
    message = "Authentication failed due to missing authorization header, or invalid authentication credentials."


class InProgress(PayPalError):
    """A request with the same PayPal-Request-Id is still running, 409."""

    status = 409
    name = "RESOURCE_CONFLICT"
    message = "The server has detected a conflict while processing this request."

    def __init__(self) -> None:
        super().__init__(
            "PREVIOUS_REQUEST_IN_PROGRESS",
            "A previous request on this resource is currently in progress. Please wait for some time and try again.",
        )


class Scripted(PayPalError):
    """A status from a script."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.name = {429: "RATE_LIMIT_REACHED", 503: "SERVICE_UNAVAILABLE"}.get(
            status, "INTERNAL_SERVER_ERROR" if status >= 500 else "INVALID_REQUEST"
        )
        self.message = f"A script of the sandbox answers {status} here."
        super().__init__(self.name)
