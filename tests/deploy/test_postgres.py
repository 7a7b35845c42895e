"""PostgreSQL starts where others may not look, keeps what it acknowledged, and lets no one in without a password."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.stack import postgres
from deploy.stack.ports import free_ports
from deploy.stack.process import spawn
from deploy.stack.supervisor import Supervisor
from runtime.settings import Settings


def settings_in(folder: Path) -> Settings:
    return Settings.model_validate({"data_dir": folder, "postgres_port": free_ports(1)[0]})


@contextmanager
def running(settings: Settings) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings.data_dir / "logs", restarts=None)
    try:
        supervisor.start(postgres.process(settings))
        yield supervisor
    finally:
        supervisor.close()


def execute(settings: Settings, *statements: str) -> list[tuple[object, ...]]:
    connection = psycopg.connect(settings.database.replace("+psycopg", ""))
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def test_works_under_a_folder_that_only_its_owner_may_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    settings = settings_in(closed / "deep" / "data")
    with running(settings):
        assert execute(settings, "SELECT 1") == [(1,)]


def test_kill_9_keeps_what_was_committed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with running(settings) as supervisor:
        execute(settings, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (42)")
        for _ in range(3):
            supervisor.kill("postgres")
            supervisor.restart("postgres")
        assert execute(settings, "SELECT n FROM kept") == [(42,)]


def test_a_forgotten_server_on_the_same_data_is_ended_first(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    process = postgres.process(settings)
    process.prepare()
    with (tmp_path / "forgotten.log").open("wb") as log:
        forgotten = spawn(process, log)
    while not process.ready():
        time.sleep(0.05)
    execute(settings, "CREATE TABLE kept (n int)")
    with running(settings):
        assert forgotten.wait(10) is not None
        assert execute(settings, "SELECT count(*) FROM kept") == [(0,)]


def test_the_next_stack_waits_for_the_server_of_a_killed_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    code = (
        "import sys, time\nfrom deploy.stack import postgres\nfrom deploy.stack.supervisor import Supervisor\n"
        "from runtime.settings import Settings\nsettings = Settings()\n"
        "supervisor = Supervisor(settings.data_dir / 'logs')\n"
        "supervisor.start(postgres.process(settings))\nprint('up', flush=True)\ntime.sleep(600)"
    )
    environment = {
        **os.environ,
        "HOLDFAST_DATA_DIR": str(settings.data_dir),
        "HOLDFAST_POSTGRES_PORT": str(settings.postgres_port),
    }
    stack = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
    assert stack.stdout is not None
    assert stack.stdout.readline() == b"up\n"
    execute(settings, "CREATE TABLE kept (n int)")
    stack.kill()
    stack.wait()
    stack.stdout.close()
    with running(settings):
        assert execute(settings, "SELECT count(*) FROM kept") == [(0,)]


def test_durability_is_on_and_the_extensions_are_there(postgres: Settings) -> None:
    assert execute(postgres, "SELECT current_setting('fsync'), current_setting('synchronous_commit')") == [("on", "on")]
    for extension in ("pg_trgm", "btree_gin", "unaccent", "citext"):
        execute(postgres, f"CREATE EXTENSION IF NOT EXISTS {extension}")
    assert execute(postgres, "SELECT count(*) > 0 FROM pg_stat_statements") == [(True,)]


def test_the_role_is_no_superuser_and_needs_its_password(postgres: Settings) -> None:
    assert execute(postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = 'holdfast'") == [(False,)]
    for user, password in (("holdfast", "wrong"), ("postgres", "")):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(
                host="127.0.0.1", port=postgres.postgres_port, user=user, password=password, dbname="holdfast"
            )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else")
def test_never_runs_as_root(postgres: Settings, supervisor: Supervisor) -> None:
    server = psutil.Process(supervisor.pids["postgres"])
    assert server.uids().effective != 0
    with open(f"/proc/{server.pid}/status", encoding="ascii") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    assert held.bit_count() <= 1
