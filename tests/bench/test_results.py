"""What was measured becomes figures with units, verdicts and tables."""

import json

from bench.figures import Figure
from bench.insight import DatabaseReading, DatabaseUse, History, Statement
from bench.report import markdown, tables
from bench.results import budgets, figures_of
from bench.runs import EVERYTHING, Floor, Measured, Run, chosen, counted

FLOORS = [
    Floor("empty-workflow", 8, [0.1, 0.2, 0.3], 0.5, {"temporal": 15.0, "floor-worker": 5.0}),
    Floor("empty-workflow", 8, [0.3, 0.4, 0.5], 1.0, {"temporal": 25.0, "floor-worker": 5.0}),
]


def measured() -> Measured:
    return Measured(
        Run("held", 3, at_once=8),
        seconds=[0.1, 0.2, 0.3],
        elapsed=0.5,
        calls={"checkout": [0.05, 0.06, 0.07]},
        all_in={"api": 20.0, "temporal": 40.0, "sandbox": 9.0, "load": 2.0},
        answer={"api": 15.0, "temporal": 30.0, "sandbox": 5.0, "load": 2.0},
        later={"api": 5.0, "temporal": 10.0, "sandbox": 4.0, "load": 0.0},
        elsewhere=0.25,
        floors=FLOORS,
        database={"answer": DatabaseUse([Statement("SELECT 1 | 2", 2.0, 0.5), Statement("COMMIT", 3.0, 0.1)], 1.5)},
        histories=[History("Checkout", 11.0, 1.0, 7.8)],
    )


def values(of: Measured) -> dict[tuple[str, str | None], float]:
    return {(figure.name, figure.of): figure.value for figure in figures_of(of)}


def test_the_sandbox_and_the_load_are_not_counted() -> None:
    assert counted(measured().all_in) == 60.0
    found = values(measured())
    assert found["cpu_all_in", None] == 60.0
    assert found["cpu_answer", None] == 45.0
    assert found["cpu_all_in", "sandbox"] == 9.0


def test_ratios_are_to_the_mean_of_the_floors_around() -> None:
    found = values(measured())
    assert found["floor_cpu", "empty-workflow-8"] == 25.0
    assert found["cpu_to_floor", "empty-workflow-8"] == 60.0 / 25.0
    assert round(found["floor_p50", "empty-workflow-8"]) == 300
    assert round(found["p50_to_floor", "empty-workflow-8"], 3) == round(200 / 300, 3)
    assert found["floor_p50_spread", "empty-workflow-8"] == 2.0


def test_every_figure_has_a_unit_and_its_level() -> None:
    for figure in figures_of(measured()):
        assert figure.unit
        assert (figure.run, figure.at_once) == ("held-closed-8", 8)


def test_budgets_say_whether_they_are_met() -> None:
    figures = [
        Figure("cpu_answer", 61.0, "CPU ms/purchase", "held-closed-8"),
        Figure("cpu_answer", 1.0, "CPU ms/purchase", "held-closed-8", of="api"),
        Figure("p99", 150.0, "ms", "checkout-open-20"),
    ]
    assert [(budget["value"], budget["met"]) for budget in budgets(figures)] == [(61.0, False), (150.0, True)]


def test_tables_come_from_the_written_result() -> None:
    figures = figures_of(measured())
    result = {
        "at": "2026-01-01T00:00:00Z",
        "machine": {"cpus": 2},
        "budgets": budgets(figures),
        "figures": [figure.as_json() for figure in figures],
    }
    result = json.loads(json.dumps(result))
    assert [len(row) == len(table.header) for table in tables(result) for row in table.rows].count(False) == 0
    text = markdown(result)
    assert "| held-closed-8 | to the answer | 15.0 | 30.0 | 5.0 | 2.0 | 45.0 |  |  |" in text
    assert "SELECT 1 ¦ 2" in text


def test_statements_are_told_by_purchase() -> None:
    before = DatabaseReading(
        {"SELECT 1": Statement("SELECT 1", 10, 5.0), "SELECT 2": Statement("SELECT 2", 4, 1.0)}, 100
    )
    after = DatabaseReading(
        {
            "SELECT 1": Statement("SELECT 1", 30, 9.0),
            "SELECT 2": Statement("SELECT 2", 4, 1.0),
            "COMMIT": Statement("COMMIT", 20, 40.0),
        },
        140,
    )
    use = DatabaseUse.between(before, after, 10)
    assert use.statements == [Statement("COMMIT", 2.0, 4.0), Statement("SELECT 1", 2.0, 0.4)]
    assert (use.calls, use.commits, use.wal_syncs) == (4.0, 2.0, 4.0)


def test_runs_are_chosen_by_kind_and_level() -> None:
    assert chosen() == list(EVERYTHING)
    assert {run.kind for run in chosen(["held"])} == {"held"}
    (one,) = chosen(["sequence"], [8], (), 200)
    assert (one.name, one.purchases) == ("sequence-closed-8", 200)
    assert [run.name for run in chosen(["checkout", "held"], (), [20.0])] == ["checkout-open-20"]
