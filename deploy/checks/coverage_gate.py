"""Fails when the test coverage is below its gates: one for all code, a higher one where money or stock moves."""

import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

TOTAL = 85.0
CRITICAL = 95.0
# The code that moves money, stock or state. A pattern without a match fails too, so that a renamed module stays gated.
CRITICAL_MODULES = (
    "models/money.py",
    "models/checkout/pricing.py",
    "models/checkout/tax.py",
    "models/checkout/promotions.py",
    "models/catalogue/allocation.py",
    "models/catalogue/inventory.py",
    "models/states.py",
    "models/orders/orders.py",
    "models/checkout/checkouts.py",
    "models/db/repositories/checkout/holds.py",
    "models/db/repositories/catalogue/inventory.py",
    "models/db/repositories/payments/payments.py",
)


def main(report: str) -> int:
    measured = json.loads(Path(report).read_text())
    problems = breaches(measured)
    for problem in problems:
        print(f"coverage: {problem}", file=sys.stderr)
    if not problems:
        total, count = _percent(measured["totals"]), len(CRITICAL_MODULES)
        print(
            f"coverage: {total:.1f} % in all, over {CRITICAL:.0f} % in each of the {count} money, stock, state modules"
        )
    return 1 if problems else 0


def breaches(measured: dict[str, Any]) -> list[str]:
    """One line for every gate that is not met."""
    found = []
    if (total := _percent(measured["totals"])) < TOTAL:
        found.append(f"{total:.1f} % of lines and branches in all, {TOTAL:.0f} % are needed")
    for pattern in CRITICAL_MODULES:
        files = {name: entry for name, entry in measured["files"].items() if fnmatch(name, pattern)}
        if not files:
            found.append(f"{pattern} was not measured: correct the list in {__file__}")
        found += [
            f"{percent:.1f} % of {name}, {CRITICAL:.0f} % are needed"
            for name, entry in files.items()
            if (percent := _percent(entry["summary"])) < CRITICAL
        ]
    return found


def _percent(summary: dict[str, Any]) -> float:
    return float(summary["percent_covered"])  # lines and branches, as branch measurement is on


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
