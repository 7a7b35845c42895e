"""Runs the whole suite repeatedly, each time in another order, and reports the failed tests with their seeds.

`make flakes N=5 BUSY=2`: five runs with the machine to themselves, and five beside two processes that keep a core busy
each. Exit status 0 only when nothing failed in any of them.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import secrets
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOGS = Path(".flakes")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run of the suite."""

    name: str
    seed: int
    seconds: float
    count: int
    failed: tuple[str, ...]
    status: int

    def __str__(self) -> str:
        found = f"{len(self.failed)} of {self.count} failed" if self.count else f"ended with {self.status}"
        return f"{self.name:<8} seed {self.seed:<10} {self.seconds:6.0f} s  {found}"


def run(name: str, processes: int, tests: Sequence[str]) -> Outcome:
    seed = secrets.randbelow(2**31)
    report, log = LOGS / f"{name}.xml", LOGS / f"{name}.log"
    report.unlink(missing_ok=True)
    # Python's own random seed is left alone: with it every process would draw the same ports and ids.
    order = ["-p", "randomly", "--randomly-dont-reset-seed", f"--randomly-seed={seed}"]
    command = [sys.executable, "-m", "pytest", "-n", str(processes), "-q", *order, f"--junitxml={report}", *tests]
    began = time.monotonic()
    with log.open("wb") as output:
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    count, failed = _read(report) if report.exists() else (0, ())
    return Outcome(name, seed, time.monotonic() - began, count, failed, status)


def _read(report: Path) -> tuple[int, tuple[str, ...]]:
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  written by our own run
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), tuple(f"{case.get('classname')}::{case.get('name')}" for case in bad)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes of ordinary priority that keep a core busy each."""
    loops = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


def _spin() -> None:
    while True:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of each kind")
    parser.add_argument("--busy", type=int, default=2, help="busy loops beside the second kind; 0: only the first kind")
    parser.add_argument("--only-busy", action="store_true", help="only the second kind")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("tests", nargs="*", help="files or folders; all if none")
    asked = parser.parse_args()
    LOGS.mkdir(exist_ok=True)
    kinds = [] if asked.only_busy else [("idle", 0)]
    kinds += [("busy", asked.busy)] if asked.busy else []
    outcomes = []
    for kind, loops in kinds:
        for number in range(1, asked.runs + 1):
            with busy(loops) if loops else contextlib.nullcontext():
                outcomes.append(run(f"{kind}-{number}", asked.processes, asked.tests))
            print(outcomes[-1], flush=True)
    failures = Counter(test for outcome in outcomes for test in outcome.failed)
    for test, times in failures.most_common():
        print(f"  {times} × {test}")
    bad = [outcome for outcome in outcomes if outcome.status]
    print(f"{len(bad)} of {len(outcomes)} runs failed; their output is in {LOGS}/")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
