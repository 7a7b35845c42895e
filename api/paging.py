"""Keyset pagination: `?limit=` and an opaque `?cursor=`, never an offset."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

from fastapi import Query

from models.errors import BadCursor

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=1000)]


def encode(*keys: Any) -> str:
    """The sort keys of the last row (JSON values), as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(keys, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type) -> list[Any]:
    """The keys of a cursor, one of each kind. Raises BadCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        keys = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise BadCursor() from error
    if not isinstance(keys, list) or len(keys) != len(kinds):
        raise BadCursor()
    for key, kind in zip(keys, kinds, strict=True):
        if type(key) is not kind or (isinstance(key, str) and not key.isprintable()):
            raise BadCursor()
    return keys


def page(items: list[Any], next_cursor: str | None) -> dict[str, Any]:
    return {"items": items, "next_cursor": next_cursor}
