"""The audit log: the database refuses to change it, and whoever changes it all the same is found at the right row."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from models.accounts.access import Principal, Role
from models.db.migrate import upgrade
from models.db.repositories.delivery import audit
from models.db.session import Database
from tests.fixtures.shop import at_once

ADMIN = Principal(user_id="usr_admin", role=Role.ADMIN)
ROWS = 8

# A row that another was, written by somebody who knows how rows are hashed.
REHASH = "UPDATE audit_log a SET hash = audit_hash(a) WHERE number = {number}"
MOVE_UP = (
    "UPDATE audit_log SET number = -number - 1 WHERE number >= 4",
    "UPDATE audit_log SET number = -number WHERE number < 0",
)
MOVE_DOWN = "UPDATE audit_log SET number = number - 1 WHERE number > 4"
INSERT = (
    "INSERT INTO audit_log (number, at, actor_type, action, subject, data, previous, hash)"
    " SELECT {number} + 1, at, 'system', 'thing.made_up', 'x', '{{}}', hash, ''"
    " FROM audit_log WHERE number = {number}"
)
SWAP = (
    "UPDATE audit_log a SET at = b.at, subject = b.subject, data = b.data, previous = b.previous, hash = b.hash"
    " FROM audit_log b WHERE (a.number, b.number) IN ((3, 4), (4, 3))"
)


@pytest.fixture(scope="module")
def url(postgres):
    """A database of this module's own."""
    name = f"audit_{os.getpid()}"
    administrator = create_engine(postgres.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with administrator.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    made = postgres.database.rsplit("/", 1)[0] + f"/{name}"
    upgrade(made)
    yield made
    with administrator.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def database(url):
    database = Database(url, pool_size=10)
    yield database
    database.close()


@pytest.fixture
def tamper(database):
    """Runs statements as the table's owner, who has put the triggers out of action."""

    def act(*statements):
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit_log DISABLE TRIGGER USER")
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql("ALTER TABLE audit_log ENABLE TRIGGER USER")

    return act


@pytest.fixture
def log(database, tamper):
    """Eight rows."""
    tamper("TRUNCATE audit_log")
    for number in range(1, ROWS + 1):
        append(database, number)
    assert bad_row(database) is None


def append(database, number):
    with database.transaction() as connection:
        audit.append(connection, ADMIN, "thing.done", f"thing-{number}", number=number, words="früh ☀")


def bad_row(database):
    with database.transaction() as connection:
        return audit.first_bad_row(connection)


def head(database):
    with database.autocommit() as connection:
        return audit.head(connection)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET action = 'nothing.done' WHERE number = 3",
        "DELETE FROM audit_log WHERE number = 8",
        "TRUNCATE audit_log",
    ],
)
def test_the_database_refuses_changes(database, log, statement):
    before = head(database)
    with pytest.raises(DBAPIError, match="audit_log"), database.engine.begin() as connection:
        connection.execute(text(statement))
    assert head(database) == before


def test_what_is_appended_is_numbered_and_dated_by_the_database(database, log, tamper):
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_log (number, at, actor_type, action, subject, data, previous, hash)"
                " VALUES (77, '2001-01-01', 'system', 'a.b', 'x', '{}', 'p', 'h')"
            )
        )
    assert head(database).rows == ROWS + 1
    assert bad_row(database) is None


@pytest.mark.parametrize(
    ("what", "number", "statements"),
    [
        ("a changed value", 5, ["UPDATE audit_log SET subject = 'thing-9' WHERE number = 5"]),
        ("a changed word", 5, ['UPDATE audit_log SET data = data || \'{"words": "fruh"}\' WHERE number = 5']),
        ("a changed actor", 1, ["UPDATE audit_log SET actor_id = NULL WHERE number = 1"]),
        ("a changed time", 8, ["UPDATE audit_log SET at = at + interval '1 microsecond' WHERE number = 8"]),
        ("two columns exchanged", 2, ["UPDATE audit_log SET action = subject, subject = action WHERE number = 2"]),
        ("a changed hash", 6, ["UPDATE audit_log SET hash = sha256('x') WHERE number = 6"]),
        (
            "a changed value, hashed anew",
            6,
            ["UPDATE audit_log SET subject = 'x' WHERE number = 5", REHASH.format(number=5)],
        ),
        ("a removed row", 5, ["DELETE FROM audit_log WHERE number = 4"]),
        ("the first row removed", 2, ["DELETE FROM audit_log WHERE number = 1"]),
        ("a removed row, those behind it moved down", 4, ["DELETE FROM audit_log WHERE number = 4", MOVE_DOWN]),
        ("an inserted row", 4, [*MOVE_UP, INSERT.format(number=3)]),
        ("an inserted row, hashed", 5, [*MOVE_UP, INSERT.format(number=3), REHASH.format(number=4)]),
        ("swapped rows", 3, [SWAP]),
        ("an appended row of somebody's own", 9, [INSERT.format(number=8)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_changed_is_found(database, log, tamper, what, number, statements):
    tamper(*statements)
    assert bad_row(database) == number


def test_a_cut_off_end_is_seen_only_by_a_head_that_was_kept(database, log, tamper):
    kept = head(database)
    assert kept.rows == ROWS
    tamper("DELETE FROM audit_log WHERE number = 8")
    assert bad_row(database) is None
    with database.autocommit() as connection:
        assert not audit.holds(connection, kept.hash)


def test_thirty_at_once_give_a_chain_without_gaps(database, log):
    at_once([lambda number=number: append(database, number) for number in range(30)])
    assert head(database).rows == ROWS + 30
    assert bad_row(database) is None


def test_what_was_taken_back_leaves_no_gap(database, log):
    with database.engine.connect() as connection:
        audit.append(connection, ADMIN, "thing.done", "thing-9")
        connection.rollback()
    append(database, 9)
    assert head(database).rows == ROWS + 1
    assert bad_row(database) is None
