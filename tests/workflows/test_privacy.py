"""Histories are kept in clear, so no recorded payload names a buyer."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HISTORIES = Path(__file__).parents[1] / "histories"
PERSONAL = re.compile(r'@|"(email|line1|phone|postal_code)"')


def _payloads(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "metadata" in node and isinstance(node.get("data"), str):
            yield base64.b64decode(node["data"]).decode()
        for child in node.values():
            yield from _payloads(child)
    elif isinstance(node, list):
        for child in node:
            yield from _payloads(child)


def test_no_payload_of_any_history_holds_personal_data() -> None:
    files = sorted(HISTORIES.rglob("*.json"))
    assert files
    found = {
        f"{file.parent.name}/{file.stem}: {payload[:200]}"
        for file in files
        for payload in _payloads(json.loads(file.read_text()))
        if PERSONAL.search(payload)
    }
    assert found == set()


def test_no_payload_of_a_saved_cards_history_tells_the_card_or_the_banks_secret() -> None:
    files = [
        file for kind in ("SavePaymentMethod", "RemovePaymentMethod") for file in (HISTORIES / kind).glob("*.json")
    ]
    assert len(files) > 10
    found = {
        f"{file.parent.name}/{file.stem}: {payload[:200]}"
        for file in files
        for payload in _payloads(json.loads(file.read_text()))
        if re.search(r"_secret_|client_secret|last4|exp_year|sandbox\d{10}", payload)
    }
    assert found == set()
