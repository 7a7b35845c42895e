"""What a caller is told: kept beside the facts, so that a repeated request gets the same bytes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.errors import HoldfastError


class CommandResponse(BaseModel):
    """What a process says: the status, and the bytes only where they name nobody and open nothing.

    Histories are kept in clear, so an order's or a challenge's bytes stay in the database, with the key.
    """

    model_config = ConfigDict(frozen=True)

    status: int
    body: str | None = None  # None: kept with the Idempotency-Key


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
        """The RFC 9457 problem, as the request that met it first was told."""
        return cls.of(error.status, {**error.problem(), "instance": instance, "request_id": request_id})


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as every answer writes it: `2026-11-22T13:58:02.826158Z`."""
    return moment.isoformat().replace("+00:00", "Z")
