"""The command line says what it has, hands out tokens in development only, and fails in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import outbox
from deploy.cli.main import app
from deploy.cli.serve import serve_sandbox
from deploy.cli.tokens import issue
from deploy.errors import StackError
from models.accounts.access import Role
from models.db.session import Database
from runtime.settings import Environment, Settings

COMMANDS = (
    "up",
    "api",
    "worker",
    "sandbox",
    "migrate",
    "seed",
    "demo",
    "crashtest",
    "replay",
    "token",
    "staff",
    "audit",
    "outbox",
    "deploy",
    "reset",
)


def holdfast(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command() -> None:
    told = CliRunner().invoke(app, ["--help"]).output
    assert [name for name in COMMANDS if name not in told] == []


def test_a_token_speaks_for_its_role(tmp_path: Path) -> None:
    from api.tokens import Tokens

    settings = Settings(data_dir=tmp_path)
    principal = Tokens.of(settings).check(issue(settings, "support", "usr_1"))
    assert (principal.user_id, principal.role) == ("usr_1", Role.SUPPORT)


def test_an_unknown_role_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = holdfast("token", "--role", "king", HOLDFAST_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "error: there is no role king: choose one of customer, support, warehouse, merchandiser, admin\n"
    )


def test_nothing_of_development_runs_in_production() -> None:
    production = Settings.model_construct(env=Environment.PRODUCTION)
    with pytest.raises(StackError, match="tokens are not handed out in production"):
        issue(production, "admin", None)
    with pytest.raises(StackError, match="the sandbox does not run in production"):
        serve_sandbox(production, None)


@pytest.mark.parametrize("command", ["api", "worker"])
def test_nobody_is_served_in_an_environment_without_a_name(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_ENV", raising=False)
    done = CliRunner().invoke(app, [command])
    assert (done.exit_code, "HOLDFAST_ENV is not set" in done.output + str(done.exception)) == (1, True)


def test_dead_letters_are_listed_and_requeued(outbox_database: Database) -> None:
    settings = Settings(database_url=outbox_database.engine.url.render_as_string(hide_password=False))
    letter = """
        INSERT INTO dead_letters (id, consumer, topic, aggregate, data, attempts, error, created_at)
        VALUES (-1, 'cli', 'order.changed', 'ord_1', '{}', 1450, 'KeyError: order_id', now())
    """
    with outbox_database.autocommit() as connection:
        connection.exec_driver_sql(letter)
    shown = outbox.dead_letters(settings, "cli")
    assert shown.startswith("-1  cli  order.changed  ord_1  1450 attempts")
    assert shown.endswith("KeyError: order_id")
    with pytest.raises(StackError, match="name ids or a consumer"):
        outbox.requeue(settings, [], None)
    assert outbox.requeue(settings, [-1], None) == 1
    assert outbox.dead_letters(settings, "cli") == "no dead letters"
    with outbox_database.autocommit() as connection:
        taken = connection.exec_driver_sql("DELETE FROM outbox WHERE consumer = 'cli' RETURNING topic, attempts").all()
    assert [tuple(row) for row in taken] == [("order.changed", 0)]


def test_a_bad_setting_is_named_in_one_line() -> None:
    done = holdfast("up", HOLDFAST_API_PORT="eighty")
    assert done.returncode == 1
    assert done.stderr.startswith("error: bad setting HOLDFAST_API_PORT: ")
    assert done.stderr.count("\n") == 1


def test_demo_without_a_shop_says_what_to_do() -> None:
    done = holdfast("demo", HOLDFAST_API_PORT="1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the demo order failed at GET /v1/products")
    assert done.stderr.count("\n") == 1


def test_reset_says_what_it_did(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "logs").mkdir(parents=True)
    done = holdfast("reset", HOLDFAST_DATA_DIR=str(folder))
    assert done.stdout == f"{folder} is empty: the next `make run` starts over\n"
    assert not folder.exists()
