"""What accounts leave behind is not kept for ever."""

from __future__ import annotations

import uuid

from sqlalchemy import text

from models.accounts.access import Role
from models.accounts.accounts import SecondFactor, account_key
from models.db.repositories.accounts import login_attempts, sessions
from models.db.repositories.accounts.login_attempts import Guesser
from models.db.repositories.accounts.sessions import Origin
from models.db.session import Database
from models.ids import digest_of, new_id

FREE = 5


def test_failures_that_no_longer_count_are_forgotten(database_url):
    database = Database(database_url, pool_size=1)
    old, new = (Guesser(account_key(f"{uuid.uuid4().hex}@example.com"), "10.0.0.0/24") for _ in range(2))
    try:
        with database.autocommit() as connection:
            for guesser in (old, new):
                login_attempts.count(connection, guesser, free=FREE)
            connection.execute(
                text("UPDATE login_failures SET last_at = now() - interval '25 hours' WHERE account_key = :key"),
                {"key": old.account},
            )

            assert login_attempts.forget_old(connection) >= 2  # from there and from everywhere
            left = connection.execute(
                text("SELECT account_key FROM login_failures WHERE account_key IN (:old, :new)"),
                {"old": old.account, "new": new.account},
            ).all()
    finally:
        database.close()

    assert [bytes(row.account_key) for row in left] == [new.account] * 2


def test_sessions_go_with_their_tokens_a_month_after_their_end(database_url):
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as connection:
            user_id = new_id("usr")
            connection.execute(
                text("INSERT INTO users (id, email, email_key, name, role) VALUES (:id, :id, :id, 'Ada', :role)"),
                {"id": user_id, "role": Role.CUSTOMER},
            )
            begun = [
                sessions.begin(
                    connection,
                    user_id,
                    method="password",
                    second_factor=SecondFactor.NONE,
                    origin=Origin("test", "127.0.0.1"),
                    refresh_digest=digest_of(user_id, str(days)),
                    seconds=-days * 86_400,
                )
                for days in (31, 29)
            ]

            assert sessions.forget_old(connection) >= 1
            left = connection.execute(
                text("SELECT s.id FROM sessions s JOIN refresh_tokens t ON t.session_id = s.id WHERE user_id = :id"),
                {"id": user_id},
            ).all()
            tokens = connection.execute(
                text("SELECT count(*) FROM refresh_tokens WHERE session_id = :id"), {"id": begun[0]}
            ).scalar_one()
    finally:
        database.close()

    assert [row.id for row in left] == begun[1:]
    assert tokens == 0
