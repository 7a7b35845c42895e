"""The session's engines are real, reachable and cheap to have."""

import psycopg2

from models.settings import Settings


def test_every_engine_answers(engines: Settings) -> None:
    connection = psycopg2.connect(engines.database.replace("+psycopg2", ""))
    with connection.cursor() as cursor:
        cursor.execute("show fsync")
        assert cursor.fetchone() == ("on",)
    connection.close()
