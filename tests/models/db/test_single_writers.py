"""What stands in the sources once, so that it can't drift."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REPOSITORIES = "models/db/repositories"


@pytest.mark.parametrize(
    ("statement", "writer"),
    [
        ("INSERT INTO ledger_entries", f"{REPOSITORIES}/ledger.py"),
        ("INSERT INTO webhook_events", f"{REPOSITORIES}/delivery/webhook_events.py"),
        ("INSERT INTO stock_levels", f"{REPOSITORIES}/catalogue/inventory.py"),
        ("UPDATE stock_levels", f"{REPOSITORIES}/catalogue/inventory.py"),
    ],
)
def test_a_statement_is_in_one_file(statement, writer):
    assert files_with(statement) == [writer]


def test_the_states_of_a_live_checkout_are_typed_once():
    assert not files_with("IN ('processing', 'requires_action')")


def files_with(sql):
    sources = [
        path
        for room in ("models", "activities", "workers", "api")
        for path in (ROOT / room).rglob("*.py")
        if "migrations" not in path.parts
    ]
    return [str(path.relative_to(ROOT)) for path in sources if sql in path.read_text()]
