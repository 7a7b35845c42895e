"""Stripe's errors: `{error: {type, code, decline_code, message, param, …}}` with their statuses."""

from typing import Any

from sandbox.store import Row


class StripeError(Exception):
    """An error. Saved under the idempotency key like any response; source: docs.stripe.com/api/errors."""

    saved = True
    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, code: str | None = None, param: str | None = None, **more: Any) -> None:
        super().__init__(message)
        named = {"code": code, "param": param, **more}
        self.body: Row = {
            "error": {
                **{key: value for key, value in named.items() if value is not None},
                "message": message,
                "type": self.type,
            }
        }


class BadParameter(StripeError):
    """The parameters fail validation, so nothing was executed and nothing is saved for the key."""

    saved = False


class Missing(StripeError):
    """No such object, 404."""

    status = 404

    def __init__(self, what: str, object_id: str, param: str = "id") -> None:
        super().__init__(f"No such {what}: '{object_id}'", "resource_missing", param)


class UnknownUrl(StripeError):
    """No such endpoint, 404."""

    saved = False
    status = 404

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Unrecognized request URL ({method}: {path}).")


class CardDeclined(StripeError):
    """Declined by the issuer or the bank, 402."""

    status = 402
    type = "card_error"


class Unauthenticated(StripeError):
    """No key, or one that isn't a test secret key, 401."""

    saved = False
    status = 401


class KeyMisused(StripeError):
    """An idempotency key came back with other parameters, 400."""

    saved = False
    type = "idempotency_error"


class KeyInUse(StripeError):
    """A request with the same idempotency key is still running, 409."""

    saved = False
    status = 409


class Scripted(StripeError):
    """A status from a script."""

    saved = True

    def __init__(self, status: int) -> None:
        self.status = status
        self.type = "api_error" if status >= 500 else "invalid_request_error"
        code = "rate_limit" if status == 429 else None
        super().__init__(f"A script of the sandbox answers {status} here.", code)
