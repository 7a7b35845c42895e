"""`python -m api > docs/openapi.json` writes the copy of the OpenAPI document that is kept in the repository."""

from __future__ import annotations

import json
import sys

from api.main import create_app
from runtime.settings import Settings


def document() -> str:
    """Sorted, so that a change of the contract makes a small diff."""
    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
