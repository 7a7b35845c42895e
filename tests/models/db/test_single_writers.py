"""What one repository alone writes, so that it is written in one way."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REPOSITORIES = "models/db/repositories"


@pytest.mark.parametrize(
    ("statement", "writer"),
    [
        ("INSERT INTO ledger_entries", f"{REPOSITORIES}/ledger.py"),
    ],
)
def test_a_statement_is_in_one_file(statement, writer):
    sources = [
        path
        for room in ("models", "activities", "workers", "api")
        for path in (ROOT / room).rglob("*.py")
        if "migrations" not in path.parts
    ]
    assert [str(path.relative_to(ROOT)) for path in sources if statement in path.read_text()] == [writer]
