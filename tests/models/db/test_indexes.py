"""What is searched in each checkout, or in tables that only grow, has an index."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from models.db.session import Database


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("ix_promotion_uses_checkout_id", "DELETE FROM promotion_uses WHERE checkout_id = 'chk'"),
        (
            "ix_promotion_uses_customer",
            "SELECT promotion_id, count(*) FROM promotion_uses WHERE customer_id = 'usr' GROUP BY promotion_id",
        ),
        (
            "ix_tasks_subject",
            "SELECT outcome FROM tasks WHERE subject = 'rfd' AND kind = 'refund-failed' ORDER BY id DESC LIMIT 1",
        ),
    ],
)
def test_serves_its_query(database_url, index, statement):
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as connection:
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # the tables are nearly empty here
            plan = "\n".join(connection.execute(text(f"EXPLAIN {statement}")).scalars())
    finally:
        database.close()
    assert index in plan
