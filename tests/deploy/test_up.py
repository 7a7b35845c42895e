"""`make run` brings up the shop, survives what it should, and leaves no process behind, however it ends."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.stack.folder import read_record
from deploy.stack.plan import environment
from deploy.stack.ports import free_ports
from runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PORTS = ("api", "postgres", "valkey", "temporal", "temporal_ui", "sandbox", "worker_metrics")
UP = [sys.executable, "-m", "deploy.cli", "up"]


# What runs in the background of a shell, as tests may, ignores Ctrl-C, and so do those that it starts.
AS_IN_A_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Run:
    """A started stack and all that it has printed."""

    def __init__(self, command: list[str], settings: Settings) -> None:
        self.settings = settings
        self.lines: list[str] = []
        self.program = subprocess.Popen(
            [sys.executable, "-c", AS_IN_A_TERMINAL, *command],
            cwd=ROOT,
            env={**os.environ, **environment(settings)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.program.stdout is not None
        with self.program.stdout as output:
            self.lines.extend(output)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = 90) -> None:
        wait_until(lambda: re.search(pattern, self.text) or self.program.poll() is not None, seconds)
        assert re.search(pattern, self.text), self.text

    def wait_for_silence(self, seconds: float = 40) -> None:
        """No process of this stack is left."""
        self.program.wait(seconds)
        self._reader.join(seconds)
        wait_until(lambda: not processes_of(self.settings), 10)


def wait_until(holds: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def processes_of(settings: Settings) -> list[psutil.Process]:
    """Everything that was started for this data folder knows it from its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOLDFAST_DATA_DIR") == str(settings.data_dir):
                found.append(process)
        except (psutil.Error, OSError):  # gone, a zombie, or another user's
            continue
    return found


def holdfast(settings: Settings, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", command],
        cwd=ROOT,
        env={**os.environ, **environment(settings)},
        capture_output=True,
        text=True,
        check=False,
    )


def is_alive(line: http.client.HTTPConnection) -> bool:
    """Asked through that very connection."""
    line.request("GET", "/health/live")
    answer = line.getresponse()
    answer.read()
    return answer.status == 200


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    ports = {f"{name}_port": port for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    return Settings.model_validate({"data_dir": tmp_path_factory.mktemp("stack") / "data", **ports})


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """What a failed test started must not stay either."""
    started: list[Run] = []
    yield started
    for run in started:
        if run.program.poll() is None:
            os.killpg(run.program.pid, signal.SIGKILL)
            run.wait_for_silence()


def test_the_story_of_make_run(own: Settings, runs: list[Run]) -> None:
    run = Run(["make", "run"], own)
    runs.append(run)
    run.wait_for(r"Logs follow")
    assert re.search(r"Order \S+ over [\d.]+ USD is confirmed", run.text)
    assert own.api_url in run.text
    assert str(own.temporal_ui_port) in run.text
    assert run.text.count("curl ") == 3
    line = http.client.HTTPConnection("127.0.0.1", own.api_port)
    assert is_alive(line)
    asked = time.monotonic()

    second = holdfast(own, "up")
    assert second.returncode == 1
    assert re.fullmatch(r"error: another stack \(pid \d+\) uses .*\n", second.stderr)

    before = read_record(own.data_dir)["processes"]["workers"]["pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: read_record(own.data_dir)["processes"]["workers"]["pid"] != before, 10)
    run.wait_for(r"workers stopped unexpectedly \(SIGKILL\); starting it again")
    assert "is confirmed" in holdfast(own, "demo").stdout
    wait_until(lambda: time.monotonic() > asked + 6, 6)  # idle for longer than uvicorn itself would keep it
    assert is_alive(line)
    line.close()

    run.program.send_signal(signal.SIGTERM)  # to make alone, as a service manager would
    run.wait_for_silence()
    assert "Everything has stopped." in run.text
    assert read_record(own.data_dir)["processes"] == {}


def test_the_death_of_make_stops_the_stack_half_way(own: Settings, runs: list[Run]) -> None:
    run = Run(["make", "run"], own)
    runs.append(run)
    run.wait_for(r"✓ postgres")
    run.program.kill()
    run.wait_for_silence()


def test_kill_9_of_the_stack_itself_leaves_nothing(own: Settings, runs: list[Run]) -> None:
    run = Run(UP, own)
    runs.append(run)
    run.wait_for(r"✓ valkey")
    run.program.kill()
    run.wait_for_silence()


def test_ctrl_c_at_once_is_an_orderly_stop(own: Settings, runs: list[Run]) -> None:
    run = Run(UP, own)
    runs.append(run)
    run.wait_for(r"✓ valkey")
    os.killpg(run.program.pid, signal.SIGINT)
    run.wait_for_silence()
    assert run.program.returncode == 0
    assert "Traceback" not in run.text


def test_a_taken_port_ends_it_in_one_line(own: Settings, runs: list[Run]) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", own.sandbox_port))
        holder.listen()
        run = Run(UP, own)
        runs.append(run)
        run.wait_for_silence()
    assert run.program.returncode == 1
    assert re.fullmatch(rf"error: port {own.sandbox_port} \(HOLDFAST_SANDBOX_PORT\) is taken by .*\n", run.text)


def test_a_failure_half_way_names_itself_and_takes_the_rest_down(own: Settings, runs: list[Run]) -> None:
    broken = own.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_ports(1)[0]}/0"})
    run = Run(UP, broken)
    runs.append(run)
    run.wait_for_silence()
    assert run.program.returncode == 1
    assert run.lines[-1].startswith("error: the server of HOLDFAST_REDIS_URL does not answer: ")
    assert "Traceback" not in run.text
