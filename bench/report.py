"""Tables on a terminal or as Markdown; `python -m bench.report RESULT.json` prints the latter again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from bench.figures import Figure
from bench.orders import RUN as ORDERS
from bench.runs import NOT_COUNTED

PROCESSES = (
    "api",
    "workers",
    "checkout-worker",
    "orders-worker",
    "temporal",
    "postgres",
    "valkey",
    "sandbox",
    "load",
)
CALLS = ("create", "item", "email", "address", "option", "checkout")
WIDTH = 190
PHASES = {"cpu_all_in": "all in", "cpu_answer": "to the answer", "cpu_later": "after it"}


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Figures:
    """Figures by subject; a missing one is shown as empty."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.all = figures
        self.runs = list(dict.fromkeys(figure.run for figure in figures))
        self._by = {(figure.run, figure.name, figure.of): figure.value for figure in figures}

    def get(self, run: str, name: str, of: str | None = None) -> float | None:
        return self._by.get((run, name, of))

    def show(self, run: str, name: str, of: str | None = None, digits: int = 1) -> str:
        value = self.get(run, name, of)
        return "" if value is None else f"{value:,.{digits}f}"

    def parts(self, run: str, name: str) -> list[str]:
        return [f.of for f in self.all if f.run == run and f.name == name and f.of is not None]


def tables(result: dict[str, Any]) -> list[Table]:
    figures = Figures([Figure.of_json(found) for found in result["figures"]])
    makers: Sequence[Callable[[Figures], Table]] = (_latency, _reads, _cpu, _floors, _calls, _statements, _histories)
    found = [_budgets(result["budgets"]), *(make(figures) for make in (*makers, _orders))]
    return [table for table in found if table.rows]


def _budgets(budgets: Sequence[dict[str, Any]]) -> Table:
    rows = [
        (b["name"], f"{b['limit']:g} {b['unit']}", f"{b['value']:,.1f} {b['unit']}", "yes" if b["met"] else "no")
        for b in budgets
    ]
    return Table("Budget", ("what", "at most", "measured", "met"), rows)


def _latency(figures: Figures) -> Table:
    header = ("run", "n", "failed", "per s", "p50 ms", "p95 ms", "p99 ms", "checkout p50", "checkout p99")
    rows = [
        (
            run,
            figures.show(run, "purchases", digits=0),
            figures.show(run, "failures", digits=0),
            *(figures.show(run, name) for name in ("per_second", "p50", "p95", "p99")),
            *(figures.show(run, name, "checkout") for name in ("p50", "p99")),
        )
        for run in figures.runs
        if figures.get(run, "p50") is not None and figures.get(run, "failures") is not None
    ]
    return Table("Latency and throughput", header, rows)


def _reads(figures: Figures) -> Table:
    words = {"idle": "reads alone", "during": "reads beside them", "login": "sign-ins"}
    rows = [
        (
            run,
            what,
            figures.show(run, "calls", call, digits=0),
            *(figures.show(run, name, call) for name in ("p50", "p95", "p99")),
            figures.show(run, "read_p99_ratio", digits=2) if call == "during" else "",
            figures.show(run, "logins_per_second") if call == "login" else "",
        )
        for run in figures.runs
        if figures.get(run, "read_p99_ratio") is not None
        for call, what in words.items()
    ]
    header = ("run", "what", "n", "p50 ms", "p95 ms", "p99 ms", "p99, × alone", "per s")
    return Table("Catalogue reads beside people who sign in", header, rows)


def _cpu(figures: Figures) -> Table:
    seen = [p for p in PROCESSES if any(figures.get(run, name, p) for run in figures.runs for name in PHASES)]
    header = ("run", "CPU ms", *(f"({p})" if p in NOT_COUNTED else p for p in seen), "total", "× floor", "strangers %")
    rows = [
        (
            run,
            words,
            *(figures.show(run, name, process) for process in seen),
            figures.show(run, name),
            figures.show(run, "cpu_to_floor", _floor_of(figures, run)) if name == "cpu_all_in" else "",
            figures.show(run, "elsewhere", digits=0) if name == "cpu_all_in" else "",
        )
        for run in figures.runs
        for name, words in PHASES.items()
        if figures.get(run, name) is not None
    ]
    return Table("CPU ms a purchase, by process; in brackets what is not counted", header, rows)


def _floor_of(figures: Figures, run: str) -> str | None:
    return next(iter(figures.parts(run, "cpu_to_floor")), None)


def _floors(figures: Figures) -> Table:
    """One row a floor and level: the mean over all brackets."""
    kinds = dict.fromkeys(f.of for f in figures.all if f.name == "floor_p50" and f.of)
    rows = []
    for kind in kinds:
        values = {
            name: [f.value for f in figures.all if f.name == name and f.of == kind]
            for name in ("floor_p50", "floor_per_second", "floor_cpu")
        }
        low, high = min(values["floor_p50"]), max(values["floor_p50"])
        means = {name: sum(found) / len(found) for name, found in values.items()}
        rows.append(
            (
                kind,
                f"{means['floor_per_second']:.0f}",
                f"{means['floor_p50']:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{means['floor_cpu']:.1f}",
            )
        )
    return Table("Floors around the runs", ("floor, at once", "per s", "p50 ms", "from, to", "CPU ms"), rows)


def _calls(figures: Figures) -> Table:
    run = next((run for run in figures.runs if run.startswith("steps-")), "")
    seen = [p for p in PROCESSES if any((figures.get(run, f"cpu_{call}", p) or 0) >= 0.05 for call in CALLS)]
    rows = [
        (call, *(figures.show(run, f"cpu_{call}", p) for p in seen), figures.show(run, f"cpu_{call}"))
        for call in CALLS
        if figures.get(run, f"cpu_{call}") is not None
    ]
    header = ("call", *(f"({p})" if p in NOT_COUNTED else p for p in seen), "total")
    return Table("CPU ms of each call, to its answer", header, rows)


def _statements(figures: Figures) -> Table:
    run = next((run for run in reversed(figures.runs) if figures.get(run, "statements_answer")), "")
    phases = ("answer", "later")
    rows: list[Sequence[str]] = [
        (
            "all round trips",
            *(
                cell
                for phase in phases
                for cell in (
                    figures.show(run, f"statements_{phase}"),
                    figures.show(run, f"statements_{phase}_ms", digits=2),
                    figures.show(run, f"statements_{phase}_plan_ms", digits=2),
                )
            ),
        ),
        *(
            (words, figures.show(run, f"{name}_answer"), "", "", figures.show(run, f"{name}_later"), "", "")
            for words, name in (("COMMIT, each with its BEGIN", "commits"), ("syncs of the log", "wal_syncs"))
        ),
    ]
    for text in dict.fromkeys(text for phase in phases for text in figures.parts(run, f"statement_{phase}_ms")):
        cells = [
            figures.show(run, f"statement_{phase}_{what}", text, digits)
            for phase in phases
            for what, digits in (("calls", 1), ("ms", 2), ("plan_ms", 2))
        ]
        rows.append((text[:90].replace("|", "¦"), *cells))
    header = ("statement, a purchase", "to the answer", "ms", "planned", "after it", "ms", "planned")
    return Table("PostgreSQL", header, rows if run else [])


def _histories(figures: Figures) -> Table:
    run = next((run for run in figures.runs if figures.parts(run, "history_events")), "")
    rows = [
        (
            workflow,
            figures.show(run, "workflow_tasks", workflow),
            figures.show(run, "history_events", workflow),
            figures.show(run, "history_size", workflow),
        )
        for workflow in figures.parts(run, "history_events")
    ]
    return Table("Temporal, an execution", ("workflow", "workflow tasks", "events", "KiB"), rows)


def _orders(figures: Figures) -> Table:
    pages = figures.parts(ORDERS, "found")
    rows = [
        (
            *page.split(" | "),
            figures.show(ORDERS, "found", page, digits=0),
            *(figures.show(ORDERS, f"find_{name}", page) for name in ("p50", "p95", "p99")),
            figures.show(ORDERS, "pages", page, digits=0),
        )
        for page in pages
    ]
    title = f"Finding orders among {figures.show(ORDERS, 'orders', digits=0)}"
    return Table(title, ("search", "page", "found", "p50 ms", "p95 ms", "p99 ms", "8 KiB pages"), rows)


def console() -> Console:
    """Wide output where the terminal's width is unknown."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


def show(result: dict[str, Any], console: Console) -> None:
    for table in tables(result):
        shown = RichTable(title=table.title, title_justify="left")
        for number, name in enumerate(table.header):
            shown.add_column(name, justify="left" if number == 0 else "right", no_wrap=number == 0)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def markdown(result: dict[str, Any]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    parts = [f"Measured {result['at']} on: {machine}."]
    for table in tables(result):
        lines = [table.header, ["---"] + ["---:"] * (len(table.header) - 1), *table.rows]
        parts.append(f"### {table.title}\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
