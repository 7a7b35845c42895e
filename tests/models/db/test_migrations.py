"""Migrations: up, down and up again, and the schema that the code describes."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from models.db.migrate import MIGRATIONS, check, downgrade, upgrade
from models.db.tables.base import metadata
from tests.fixtures.shop import at_once

VERSIONS = sorted((MIGRATIONS / "versions").glob("*.py"))


def tables(url):
    engine = create_engine(url, poolclass=NullPool)
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_they_make_what_the_code_describes(fresh_database_url):
    upgrade(fresh_database_url)
    check(fresh_database_url)
    assert tables(fresh_database_url) == set(metadata.tables) | {"alembic_version"}


def test_down_leaves_nothing_and_up_again_everything(fresh_database_url):
    upgrade(fresh_database_url)
    downgrade(fresh_database_url, "base")
    assert tables(fresh_database_url) <= {"alembic_version"}
    upgrade(fresh_database_url)
    check(fresh_database_url)


def test_each_can_be_taken_back_by_itself(fresh_database_url):
    upgrade(fresh_database_url)
    for _ in VERSIONS:
        downgrade(fresh_database_url, "-1")
    assert tables(fresh_database_url) <= {"alembic_version"}


def test_a_second_time_changes_nothing(fresh_database_url):
    upgrade(fresh_database_url)
    upgrade(fresh_database_url)
    check(fresh_database_url)


def test_two_migrators_at_once_wait_for_each_other(fresh_database_url):
    at_once([lambda: upgrade(fresh_database_url)] * 2)
    check(fresh_database_url)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_each_is_dated_and_says_what_it_is_for(path):
    assert re.match(r"\d{4}_\d{2}_\d{2}_[a-z_]+$", path.stem)
    assert path.read_text().startswith('"""')
