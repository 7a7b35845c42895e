"""One stack a folder, leftovers ended, and `reset` deletes nothing that is not ours."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.errors import StackError
from deploy.stack.folder import delete, end_leftovers, held, read_record, write_record


def test_a_second_stack_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    with (
        held(tmp_path),
        pytest.raises(StackError, match=rf"another stack \(pid {os.getpid()}\) uses"),
        held(tmp_path),
    ):
        pass


def test_a_killed_stacks_lock_is_no_lock(tmp_path: Path) -> None:
    killed = multiprocessing.get_context("spawn").Process(target=_hold_and_die, args=(tmp_path,))
    killed.start()
    killed.join()
    assert (tmp_path / "stack.lock").exists()
    with held(tmp_path):
        pass


def _hold_and_die(folder: Path) -> None:
    with held(folder):
        os._exit(9)


def test_recorded_leftovers_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    write_record(tmp_path, {}, {"api": left.pid, "worker": os.getpid()})
    record = read_record(tmp_path)
    record["processes"]["worker"]["started"] += "0"  # the pid is ours now, and was another's then
    (tmp_path / "stack.json").write_text(json.dumps(record))
    assert end_leftovers(tmp_path) == ["api"]
    left.wait()
    assert psutil.pid_exists(os.getpid())


def test_reset_deletes_only_what_is_ours(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "postgres").mkdir(parents=True)
    (folder / "temporal.db").touch()
    (folder / "diary.txt").touch()
    delete(folder)
    assert [path.name for path in folder.iterdir()] == ["diary.txt"]


def test_reset_removes_an_emptied_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "logs").mkdir(parents=True)
    delete(folder)
    assert not folder.exists()
    assert "nothing to delete" in delete(folder)


def test_reset_refuses_while_a_stack_runs(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(StackError, match="another stack"):
        delete(tmp_path)
