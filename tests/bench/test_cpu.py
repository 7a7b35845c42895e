"""CPU is told by process, whoever of its descendants has used it and whether they still live."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench.cpu import TICKS, Reading, Spent, parent_of, read_stats, seconds_of, used

# pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime …
STAT = "{pid} ({name}) S {parent} 1 1 0 -1 4194304 9 8 7 6 {user} {system} {children} 0 20 0 1 0 321692 31 41"


def stat(pid: int, parent: int, user: int = 0, system: int = 0, children: int = 0, name: str = "postgres") -> str:
    return STAT.format(pid=pid, name=name, parent=parent, user=user, system=system, children=children)


@pytest.mark.parametrize("name", ["postgres", "a b", "odd) S 1 1 (name"])
def test_reads_a_line_whatever_the_process_is_called(name: str) -> None:
    line = stat(12, 3, user=100, system=50, children=25, name=name)
    assert seconds_of(line) == 175 / TICKS
    assert parent_of(line) == 3


def test_counts_the_whole_family_and_nobody_else() -> None:
    stats = {
        10: stat(10, 1, user=100, children=40),
        11: stat(11, 10, user=20),
        12: stat(12, 11, system=3),
        20: stat(20, 1, user=500),
    }
    assert used({"postgres": 10, "gone": 99}, stats) == {"postgres": 163 / TICKS, "gone": 0.0}


BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-S", "-c", {BURN.format(seconds=0.3)!r}], check=True)
print("burnt", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """Has started a child that used 0.3 seconds and ended."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        assert popen.stdout is not None
        assert popen.stdout.readline() == "burnt\n"
        yield popen
        popen.communicate("")


def test_a_child_that_has_ended_still_counts(parent: subprocess.Popen[str]) -> None:
    found = used({"parent": parent.pid}, read_stats())
    assert 0.25 <= found["parent"] < 2.0  # the kernel counts in ticks of a hundredth


def test_between_two_readings_of_this_process() -> None:
    before = Reading.take({"me": os.getpid()})
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    spent = Spent.between(before, Reading.take({"me": os.getpid()}))
    assert 0.18 <= spent.seconds["me"] < 1.0
    assert spent.elapsed >= 0.2
    assert 0.0 <= spent.share_elsewhere <= 1.05


def test_what_has_started_in_between_does_not_count() -> None:
    before = Reading(0.0, {"api": 1.0}, 5.0)
    after = Reading(2.0, {"api": 1.5, "new": 3.0}, 7.0)
    assert Spent.between(before, after).seconds == {"api": 0.5}


def test_idling_is_subtracted_by_the_second_and_never_below_nothing() -> None:
    idle = Spent(2.0, {"api": 0.02, "temporal": 0.2}, 0.0)
    spent = Spent(10.0, {"api": 1.0, "temporal": 0.5, "load": 0.3}, 0.0)
    assert spent.without_idle(idle) == pytest.approx({"api": 0.9, "temporal": 0.0, "load": 0.3})
