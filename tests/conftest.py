"""The real engines for the tests that ask: each started once a session, on free ports, gone with pytest."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from deploy.stack import postgres as postgres_engine
from deploy.stack import temporal as temporal_engine
from deploy.stack import valkey as valkey_engine
from deploy.stack.engines import start_together
from deploy.stack.ports import free_ports
from deploy.stack.supervisor import Supervisor
from runtime.settings import Environment, Settings

if TYPE_CHECKING:
    from models.db.session import Database

pytest_plugins = ["tests.fixtures.plugin", "tests.fixtures.schedule"]

PREFIX = "holdfast-test-"
_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """What a developer exported must not steer the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A folder of this session's own; those that killed sessions left behind are cleared away."""
    for abandoned in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_unless_in_use(abandoned)
    made = Path(tempfile.mkdtemp())
    with (made / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(f"{PREFIX}{made.name}"))  # locked before another session can see it
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_in_use(folder: Path) -> None:
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, or another user's
        return


@pytest.fixture(scope="session")
def settings(data_dir: Path) -> Settings:
    """Every port free (and four more after them, for what a test starts twice), every engine the embedded one."""
    names = (
        "api",
        "postgres",
        "valkey",
        "temporal",
        "temporal_ui",
        "sandbox",
        "worker_metrics",
    )  # the last has followers
    ports = {f"{name}_port": port for name, port in zip(names, free_ports(len(names) + 4), strict=False)}
    return Settings.model_validate({"env": Environment.TEST, "data_dir": data_dir, **ports})


@pytest.fixture(scope="session")
def supervisor(data_dir: Path) -> Iterator[Supervisor]:
    """Of the engines; a test that kills one brings it back with `supervisor.restart(name)`."""
    supervisor = Supervisor(data_dir / "logs", restarts=None)
    yield supervisor
    supervisor.close()


@pytest.fixture(scope="session")
def postgres(settings: Settings, supervisor: Supervisor) -> Settings:
    """PostgreSQL with an empty database `holdfast`."""
    if "postgres" not in supervisor.names:
        supervisor.start(postgres_engine.process(settings))
    return settings


@pytest.fixture(scope="session")
def valkey(settings: Settings, supervisor: Supervisor) -> Settings:
    if "valkey" not in supervisor.names:
        supervisor.start(valkey_engine.process(settings))
    return settings


@pytest.fixture(scope="session")
def temporal(settings: Settings, supervisor: Supervisor) -> Settings:
    if "temporal" not in supervisor.names:
        supervisor.start(temporal_engine.process(settings))
    return settings


@pytest.fixture(scope="session")
def engines(settings: Settings, supervisor: Supervisor) -> Settings:
    """All three, started together; the settings that reach them."""
    makers = {"postgres": postgres_engine, "valkey": valkey_engine, "temporal": temporal_engine}
    start_together(
        supervisor, [maker.process(settings) for name, maker in makers.items() if name not in supervisor.names]
    )
    return settings


@pytest.fixture(scope="session")
def database_url(postgres: Settings) -> Iterator[str]:
    """The session's database with every migration applied. Whatever the tests did, its orders are their events."""
    from models.db.migrate import upgrade
    from tests.fixtures.projections import assert_orders_are_their_events

    upgrade(postgres.database)
    yield postgres.database
    assert_orders_are_their_events(postgres)


@pytest.fixture
def fresh_database_url(postgres: Settings) -> Iterator[str]:
    """An empty database of the test's own, for migrations and for what must not meet other tests' rows."""
    name = f"fresh_{os.getpid()}_{next(_numbers)}"
    _administer(postgres, f"CREATE DATABASE {name}")
    yield postgres.database.rsplit("/", 1)[0] + f"/{name}"
    _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def outbox_database(postgres: Settings) -> Iterator[Database]:
    """Migrated, and without workers: what a test publishes is delivered by its own relays. A test has a consumer of its
    own."""
    from models.db.migrate import upgrade
    from models.db.session import Database
    from tests.fixtures.catalogue import lasting

    name = f"outbox_{os.getpid()}"
    _administer(postgres, f"CREATE DATABASE {name}")
    url = postgres.database.rsplit("/", 1)[0] + f"/{name}"
    upgrade(url)
    database = lasting(Database(url, pool_size=10))
    yield database
    database.close()
    _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(settings: Settings, statement: str) -> None:
    connection = psycopg.connect(settings.database.replace("+psycopg", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
