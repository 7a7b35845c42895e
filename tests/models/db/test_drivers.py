"""A database URL may name psycopg2: the schema, the demo shop and lost servers are the same with it."""

from __future__ import annotations

import pytest

from deploy.demo.seed import seed_catalogue
from models.db.migrate import check, upgrade
from models.db.session import Database
from models.errors import Unavailable
from runtime.settings import Settings


def test_psycopg2_migrates_and_seeds(fresh_database_url: str) -> None:
    url = fresh_database_url.replace("+psycopg", "+psycopg2")
    upgrade(url)
    check(url)
    database = Database(url, pool_size=1)
    seed_catalogue(database)
    with database.autocommit() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM variants").scalar_one() > 0
    database.close()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_what_may_be_retried_is_unavailable(postgres: Settings, driver: str) -> None:
    database = Database(postgres.database.replace("+psycopg", f"+{driver}"), pool_size=1)
    with pytest.raises(Unavailable), database.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    database.ping()
    with pytest.raises(Unavailable), database.transaction() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(5)")
    database.close()


def test_no_driver_is_named_to_libpq() -> None:
    for url in ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d", "postgresql+psycopg2://u:p@h/d"):
        assert Settings.model_validate({"database_url": url}).libpq_url == "postgresql://u:p@h/d"
