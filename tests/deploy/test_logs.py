"""Logs of all processes come as one stream, whole lines only, and never grow without end."""

import io
import time
from collections.abc import Callable
from pathlib import Path

from deploy.stack import logs
from deploy.stack.logs import LogFollower, rotate


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_new_lines_come_with_the_name_of_their_process(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text("before\n")
    out = io.StringIO()
    follower = LogFollower(tmp_path, ["api", "workers"], lambda: None, out)
    follower.start()
    with (tmp_path / "api.log").open("a") as api, (tmp_path / "workers.log").open("a") as workers:
        api.write("one\ntw")
        workers.write("three\n")
        api.flush()
        workers.flush()
        eventually(lambda: "three" in out.getvalue())
        api.write("o\n")
    follower.close()
    assert sorted(out.getvalue().splitlines()) == ["api     │ one", "api     │ two", "workers │ three"]


def test_a_reader_that_is_gone_stops_us(tmp_path: Path) -> None:
    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    told = []
    follower = LogFollower(tmp_path, ["api"], lambda: told.append("closed"), Closed())
    follower.start()
    (tmp_path / "api.log").write_text("line\n")
    eventually(lambda: told == ["closed"])
    follower.close()


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_bytes(b"x" * (logs.KEEP_BYTES + 1))
    (tmp_path / "workers.log").write_text("small")
    rotate(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api.log.old", "workers.log"]
