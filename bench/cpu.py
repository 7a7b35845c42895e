"""CPU seconds by process, from /proc: its own, its living descendants' and those of children it has waited for.

PostgreSQL needs all three: an ended session's time is counted by the postmaster that reaps it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(stat: str) -> float:
    """User and system time of one /proc/PID/stat line, children that were waited for included."""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return sum(map(int, fields[11:15])) / TICKS


def parent_of(stat: str) -> int:
    return int(stat.rpartition(")")[2].split()[1])


def read_stats() -> dict[int, str]:
    """Every process's line, by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = Path(f"/proc/{entry}/stat").read_text()
            except OSError:  # it has just ended
                continue
    return found


def used(roots: Mapping[str, int], stats: Mapping[int, str]) -> dict[str, float]:
    """Seconds since its start of each named process with all its descendants."""
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(parent_of(stat), []).append(pid)

    def family(pid: int) -> float:
        own = seconds_of(stats[pid]) if pid in stats else 0.0
        return own + sum(map(family, children.get(pid, ())))

    return {name: family(pid) for name, pid in roots.items()}


@dataclass(frozen=True)
class Reading:
    """What the named processes and the whole machine had used at one moment, in seconds."""

    at: float
    used: Mapping[str, float]
    machine: float

    @classmethod
    def take(cls, pids: Mapping[str, int]) -> Reading:
        times = psutil.cpu_times()
        machine = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        return cls(time.monotonic(), used(pids, read_stats()), machine)


@dataclass(frozen=True)
class Spent:
    """Between two readings. `elsewhere`: the time of all other processes."""

    elapsed: float
    seconds: Mapping[str, float]
    elsewhere: float

    @classmethod
    def between(cls, before: Reading, after: Reading) -> Spent:
        seconds = {name: now - before.used[name] for name, now in after.used.items() if name in before.used}
        elsewhere = after.machine - before.machine - sum(seconds.values())
        return cls(after.at - before.at, seconds, max(0.0, elsewhere))

    @property
    def share_elsewhere(self) -> float:
        return self.elsewhere / (self.elapsed * (os.cpu_count() or 1))

    def without_idle(self, idle: Spent) -> dict[str, float]:
        """Less what each process would have used idle; never below zero."""
        scale = self.elapsed / idle.elapsed
        return {name: max(0.0, used - idle.seconds.get(name, 0.0) * scale) for name, used in self.seconds.items()}
