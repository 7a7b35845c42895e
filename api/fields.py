"""Parameters and fields that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import StringConstraints

from models.base import Storable

Id = Annotated[str, Path(max_length=64)]
Words = Annotated[Storable, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=2000)]
