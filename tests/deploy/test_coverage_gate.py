"""The gate stands where it says, and can't be walked around by renaming a module."""

from typing import Any

from deploy.checks.coverage_gate import CRITICAL_MODULES, breaches


def measured(total: float = 90.0, **files: float) -> dict[str, Any]:
    percents = dict.fromkeys(CRITICAL_MODULES, 99.0) | {name.replace("__", "/"): p for name, p in files.items()}
    return {
        "totals": {"percent_covered": total},
        "files": {name: {"summary": {"percent_covered": percent}} for name, percent in percents.items()},
    }


def test_enough_passes() -> None:
    assert breaches(measured()) == []


def test_total_is_gated() -> None:
    assert breaches(measured(84.9)) == ["84.9 % of lines and branches in all, 85 % are needed"]


def test_money_is_gated_higher() -> None:
    low = measured()
    low["files"]["models/money.py"]["summary"]["percent_covered"] = 94.9
    assert breaches(low) == ["94.9 % of models/money.py, 95 % are needed"]


def test_a_missing_module_is_named() -> None:
    gone = measured()
    del gone["files"]["models/money.py"]
    assert "models/money.py was not measured" in breaches(gone)[0]
