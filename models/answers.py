"""What a caller is told: kept beside the facts, so that a repeated request gets the same bytes."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from models.errors import HoldfastError


class Answer(BaseModel):
    """An HTTP status and the JSON text of its body."""

    model_config = ConfigDict(frozen=True)

    status: int
    body: str

    @classmethod
    def of(cls, status: int, body: dict[str, Any]) -> Answer:
        return cls(status=status, body=json.dumps(body, separators=(",", ":"), ensure_ascii=False))

    @classmethod
    def refusal(cls, error: HoldfastError) -> Answer:
        """The problem as it is stored: without the members that belong to one request."""
        return cls.of(error.status, error.problem())

    @property
    def stored(self) -> bool:
        """Whether the same key gets it again; a 5xx never."""
        return self.status < 500
