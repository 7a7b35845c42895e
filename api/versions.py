"""If-Match for versioned resources (RFC 9110, 13.1.1)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from models.errors import BadRequest, PreconditionFailed

IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=100, description='`"<version>"`')]

_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"')


def check(if_match: str | None, present: int) -> None:
    """Raises PreconditionFailed for another version, BadRequest for a malformed one; `*` matches every version."""
    if if_match is None or if_match.strip() == "*":
        return
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise BadRequest('If-Match must be "<version>"')
    if int(match[1]) != present:
        raise PreconditionFailed(version=present)


def etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}
