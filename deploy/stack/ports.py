"""Ports: whether they are free, who holds the taken ones, and free ones for tests."""

import contextlib
import fcntl
import os
import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from deploy.errors import StackError
from deploy.stack.cache import cache_folder

_claimed: list[int] = []  # file descriptors, open for this process's life: each locks one port


@dataclass(frozen=True)
class Port:
    number: int
    setting: str  # the environment variable that changes it


def check_free(ports: Iterable[Port]) -> None:
    """Raises StackError with the first taken port, its holder, and the setting that changes it."""
    seen: dict[int, str] = {}
    for port in ports:
        if port.number in seen:
            raise StackError(
                f"{seen[port.number]} and {port.setting} are both {port.number}", "give them different ports"
            )
        seen[port.number] = port.setting
        if not is_free(port.number):
            raise StackError(
                f"port {port.number} ({port.setting}) is taken{_holder(port.number)}",
                f"stop that program or set {port.setting} to a free port",
            )


def is_free(number: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", number))
            listener.listen()
        except OSError:
            return False
    return True


def accepts(number: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Consecutive free ports, outside the range of ephemeral ports.

    They are locked against other processes of this user while this one lives, since a stack listens seconds later.
    """
    low, high = _ephemeral_range()
    candidates = range(20_000, low) if low > 21_000 else range(high + 1, 65_000)
    begin = random.randrange(len(candidates))  # noqa: S311  so that two searches rarely meet
    for step in range(0, len(candidates), count):
        first = (begin + step) % (len(candidates) - count)
        row = list(candidates[first : first + count])
        if all(map(is_free, row)) and _claim(row):
            return row
    raise StackError("no free ports", "close some programs")


def _claim(row: Iterable[int]) -> bool:
    folder = cache_folder() / "ports"
    folder.mkdir(exist_ok=True)
    locks: list[int] = []
    try:
        for number in row:
            locks.append(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY, 0o600))
            fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        for lock in locks:
            os.close(lock)
        return False
    _claimed.extend(locks)
    return True


def _ephemeral_range() -> tuple[int, int]:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
            low, high = file.read().split()
    except OSError:
        return 32_768, 60_999
    return int(low), int(high)


def _holder(number: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == number and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
