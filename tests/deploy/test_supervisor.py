"""Children are brought back, stopped in order, and never outlive the one that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.errors import StackError
from deploy.stack.engines import start_together
from deploy.stack.process import Process
from deploy.stack.supervisor import Supervisor

SLEEP = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
)
BROKEN = (sys.executable, "-I", "-S", "-c", "import sys; print('no such table'); sys.exit(3)")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, lines: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, on_event=lines.append)
    yield supervisor
    supervisor.close()


def sleeper(name: str = "sleeper", **more: object) -> Process:
    return Process(name=name, command=SLEEP, ready=lambda: True, **more)  # type: ignore[arg-type]


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_dies_is_started_again(supervisor: Supervisor, lines: list[str]) -> None:
    supervisor.start(sleeper())
    first = supervisor.pids["sleeper"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: supervisor.pids.get("sleeper", first) != first)
    assert lines == ["sleeper stopped unexpectedly (SIGKILL); starting it again in 0.2 s"]
    assert supervisor.failure is None


def test_what_keeps_dying_is_given_up_in_one_line(tmp_path: Path, lines: list[str]) -> None:
    supervisor = Supervisor(tmp_path, on_event=lines.append, restarts=1)
    supervisor.start(sleeper())
    for _ in range(2):
        eventually(lambda: "sleeper" in supervisor.pids)
        os.kill(supervisor.pids["sleeper"], signal.SIGKILL)
        eventually(lambda: "sleeper" not in supervisor.pids)
    eventually(lambda: supervisor.failure is not None)
    assert str(supervisor.failure) == f"sleeper keeps stopping (SIGKILL): see {tmp_path}/sleeper.log"
    supervisor.close()


def test_a_failed_start_tells_the_last_line_of_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(StackError, match=r"broken stopped while starting \(no such table\): see .*broken.log"):
        supervisor.start(Process(name="broken", command=BROKEN, ready=lambda: False))


def test_one_failure_ends_the_waiting_for_the_others(supervisor: Supervisor) -> None:
    slow = Process(name="slow", command=SLEEP, ready=lambda: False)
    broken = Process(name="broken", command=BROKEN, ready=lambda: False)
    began = time.monotonic()
    with pytest.raises(StackError, match="no such table"):
        start_together(supervisor, [slow, broken])
    assert time.monotonic() - began < 20  # the slow one is given a minute


def test_kill_lets_it_lie_until_restart(supervisor: Supervisor, lines: list[str]) -> None:
    supervisor.start(sleeper())
    first = supervisor.pids["sleeper"]
    supervisor.kill("sleeper")
    time.sleep(0.5)
    assert supervisor.pids == {}
    supervisor.restart("sleeper")
    assert supervisor.pids["sleeper"] != first
    assert lines == []


def test_stops_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    told = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        f"def end(*_): open({str(told)!r}, 'a').write(sys.argv[1] + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
    )
    for name in ("first", "second", "third"):
        log = supervisor.log_of(name)
        command = (sys.executable, "-I", "-S", "-c", code, name)
        supervisor.start(Process(name=name, command=command, ready=lambda log=log: b"up" in log.read_bytes()))
    supervisor.close()
    assert told.read_text() == "third second first "


def test_a_deaf_child_is_killed_after_its_grace(supervisor: Supervisor, lines: list[str]) -> None:
    log = supervisor.log_of("deaf")
    supervisor.start(Process(name="deaf", command=STUBBORN, ready=lambda: b"deaf" in log.read_bytes(), grace=0.3))
    pid = supervisor.pids["deaf"]
    supervisor.close()
    assert is_gone(pid)
    assert lines == ["deaf did not stop within 0 s and was killed"]


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from deploy.stack.process import Process\nfrom deploy.stack.supervisor import Supervisor\n"
        "supervisor = Supervisor(Path(sys.argv[1]))\n"
        "supervisor.start(Process(name='child', command=sys.argv[2:], ready=lambda: True))\n"
        "print(supervisor.pids['child'], flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *SLEEP], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not is_gone(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: is_gone(child), 5)
