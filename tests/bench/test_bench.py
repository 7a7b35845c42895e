"""The bench runs from end to end: a few of everything, on its own stack, and the result is whole."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.report import markdown
from bench.stack import BASE, PREFIX

PROCESSES = {"api", "checkout-worker", "orders-worker", "temporal", "postgres", "valkey", "sandbox", "load"}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("bench") / "result.json"
    before = set(BASE.glob(f"{PREFIX}*"))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(BASE.glob(f"{PREFIX}*")) <= before, "the stack's folder is left"
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def named(result: dict[str, Any], run: str, name: str) -> dict[str | None, float]:
    return {
        figure.get("of"): figure["value"]
        for figure in result["figures"]
        if figure["run"] == run and figure["name"] == name
    }


def test_every_figure_is_a_number_with_its_unit_and_run(result: dict[str, Any]) -> None:
    for figure in result["figures"]:
        assert set(figure) <= {"name", "value", "unit", "run", "of", "at_once", "rate"}
        assert figure["name"]
        assert figure["unit"]
        assert figure["run"]
        assert math.isfinite(figure["value"])
        assert figure["run"] == "fdatasync" or ("at_once" in figure) != ("rate" in figure)


@pytest.mark.parametrize("run", ["sequence-closed-2", "checkout-open-20", "held-closed-2"])
def test_latency_throughput_and_cpu_of_each_run(result: dict[str, Any], run: str) -> None:
    assert named(result, run, "failures") == {None: 0}
    assert named(result, run, "purchases") == {None: 6}
    p50, p95, p99 = (named(result, run, name)[None] for name in ("p50", "p95", "p99"))
    assert 0 < p50 <= p95 <= p99
    assert named(result, run, "per_second")[None] > 0
    assert named(result, run, "cpu_all_in")[None] > 0
    assert named(result, run, "cpu_to_floor")


def test_the_answer_and_what_follows_are_told_apart(result: dict[str, Any]) -> None:
    answer, later, both = (named(result, "held-closed-2", f"cpu_{name}") for name in ("answer", "later", "all_in"))
    assert set(answer) == {None, *PROCESSES, "floors", "floor-worker"}
    assert answer["orders-worker"] == 0
    assert later["orders-worker"] > 0
    assert both[None] == pytest.approx(answer[None] + later[None], abs=0.01)


def test_each_call_and_what_is_kept_of_it(result: dict[str, Any]) -> None:
    for call in ("create", "item", "email", "address", "option", "checkout"):
        assert None in named(result, "steps-closed-2", f"cpu_{call}")
    assert named(result, "held-closed-2", "statements_answer")[None] > 5
    assert named(result, "held-closed-2", "history_events")["Checkout"] > 5


def test_reads_beside_sign_ins_are_held_against_reads_alone(result: dict[str, Any]) -> None:
    run = "logins-closed-4"
    assert named(result, run, "failures") == {None: 0}
    assert named(result, run, "calls") == {"idle": 20, "during": 20, "login": named(result, run, "calls")["login"]}
    assert named(result, run, "calls")["login"] >= 4
    idle, during = (named(result, run, "p99")[phase] for phase in ("idle", "during"))
    assert named(result, run, "read_p99_ratio")[None] == pytest.approx(during / idle, rel=0.01)
    assert "### Catalogue reads beside people who sign in" in markdown(result)


def test_orders_are_found_among_others(result: dict[str, Any]) -> None:
    assert named(result, "orders", "orders") == {None: 1000}
    assert named(result, "orders", "found")["word, common | first page"] == 21
    assert named(result, "orders", "find_p50")["number | first page"] > 0
    assert "### Finding orders among 1,000" in markdown(result)


def test_it_says_where_it_was_measured_and_reads_as_markdown(result: dict[str, Any]) -> None:
    assert result["machine"]["cpus"] >= 1
    assert [budget["name"] for budget in result["budgets"]] == ["checkout call alone, 20 a second, p99"]
    assert "### CPU ms a purchase" in markdown(result)
