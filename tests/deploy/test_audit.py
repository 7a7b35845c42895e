"""`holdfast audit verify`: 0 and the head, or 1 and the first bad row."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest

from models.db.migrate import upgrade


@pytest.fixture
def log(fresh_database_url):
    """A connection that may do anything, to a database with three rows."""
    upgrade(fresh_database_url)
    with psycopg.connect(fresh_database_url.replace("+psycopg", ""), autocommit=True) as connection:
        for number in range(3):
            connection.execute(
                "INSERT INTO audit_log (actor_type, action, subject, data) VALUES ('system', 'a.b', %s, '{}')",
                [f"thing-{number}"],
            )
        yield connection


def verify(url, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "audit", "verify", *arguments],
        env={**os.environ, "HOLDFAST_DATABASE_URL": url.replace("+psycopg", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_it_tells_rows_and_head_and_names_the_first_bad_row(log, fresh_database_url):
    ((head,),) = log.execute("SELECT encode(hash, 'hex') FROM audit_log WHERE number = 3").fetchall()
    assert verify(fresh_database_url) == (0, f"audit log: 3 rows, head {head}\n")
    assert verify(fresh_database_url, "--head", head)[0] == 0

    log.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
    log.execute("DELETE FROM audit_log WHERE number = 3")
    assert verify(fresh_database_url)[0] == 0
    status, told = verify(fresh_database_url, "--head", head)
    assert status == 1
    assert head in told

    log.execute("UPDATE audit_log SET subject = 'x' WHERE number = 2")
    status, told = verify(fresh_database_url)
    assert (status, told) == (1, "audit log: row 2 is not as it was written, or does not follow row 1\n")


def test_without_a_database_it_says_so_in_one_line():
    status, told = verify("postgresql://nobody@127.0.0.1:1/none")
    assert status == 1
    assert told.startswith("error: the audit log can't be read")
    assert told.count("\n") == 1
