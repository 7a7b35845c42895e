"""Measures what a purchase costs, on a stack of its own: `make bench JSON=path`, or `python -m bench.main --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.helper import Helper
from bench.report import told
from bench.runs import Bench, Run
from bench.stack import private_stack


def run(json: Path | None = None) -> None:
    """Everything, in about four minutes."""
    measure(["--json", str(json)] if json else [])


def measure(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=["sequence", "checkout", "held", "steps", "floors"])
    parser.add_argument("--at-once", type=int, action="append")
    parser.add_argument("--rate", type=float, action="append")
    parser.add_argument("--purchases", type=int)
    parser.add_argument("--json", type=Path)
    o = parser.parse_args(arguments)
    with (
        private_stack(print) as stack,
        Helper("load", "bench.load", stack.environment, stack.log_of("load")) as load,
        Helper("floors", "bench.floors", stack.floor_environment, stack.log_of("floors")) as floors,
    ):
        bench = Bench(stack, load, floors)
        bench.measure(Run("sequence", 50, 8))
        kinds = o.only
        for kind in kinds:
            if kind in ("held", "steps"):
                stack.split_workers()
            if kind == "steps":
                for step, split in bench.steps(o.purchases or 100, 8).items():
                    print(step, {n: round(v, 1) for n, v in split.items() if v > 0.05})
                continue
            if kind == "floors":
                for f in ("empty-workflow", "no-temporal"):
                    for n in (1, 8):
                        x = bench.floor(f, n, 100)
                        print(told(x))
                continue
            for n in o.at_once or (1, 8):
                print(told(bench.measure(Run(kind, o.purchases or 100, n))), flush=True)


if __name__ == "__main__":
    import sys

    measure(sys.argv[1:])
