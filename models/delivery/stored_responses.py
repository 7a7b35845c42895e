"""Responses that are stored in the transaction of the change, so that a repeated request gets the same bytes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.errors import HoldfastError


class CommandResponse(BaseModel):
    """A workflow's response to an update. `body` is set only if it contains no personal data and no secret.

    Workflow histories are not encrypted, so the body of an order or a challenge is stored with the Idempotency-Key.
    """

    model_config = ConfigDict(frozen=True)

    status: int
    body: str | None = None  # None: stored with the Idempotency-Key


class StoredResponse(BaseModel):
    """An HTTP status and the JSON text of its body."""

    model_config = ConfigDict(frozen=True)

    status: int
    body: str

    @classmethod
    def of(cls, status: int, body: dict[str, Any]) -> StoredResponse:
        return cls(status=status, body=json.dumps(body, separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def refusal(cls, error: HoldfastError, *, instance: str, request_id: str) -> StoredResponse:
        """The RFC 9457 problem of the first request."""
        return cls.of(error.status, {**error.problem(), "instance": instance, "request_id": request_id})


def rfc3339(moment: datetime) -> str:
    """A UTC time as in every response: `2026-11-22T13:58:02.826158Z`."""
    return moment.isoformat().replace("+00:00", "Z")
