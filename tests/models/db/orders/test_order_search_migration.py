"""The orders of a shop that is upgraded are found like those that it sells afterwards."""

from __future__ import annotations

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from models.db.migrate import downgrade, upgrade

ORDERS = 2_500  # more than two of the migration's batches
BEFORE = (
    "INSERT INTO carts (id, token_digest, currency, country)"
    " SELECT 'cart_' || n, decode(md5(n::text), 'hex'), 'USD', 'US' FROM generate_series(1, :count) n",
    "INSERT INTO checkouts (id, cart_id, order_id, status, key_digest, currency, total, snapshot, contact)"
    " SELECT 'chk_' || n, 'cart_' || n, 'ord_' || n, 'confirmed', 'key_' || n, 'USD', 1, '{}', '{}'"
    " FROM generate_series(1, :count) n",
    "INSERT INTO orders (id, number, version, status, payment_status, cart_id, checkout_id, currency, total, document,"
    " email, shipping_address, placed_at) SELECT 'ord_' || n, 'HF-' || n, 1, 'confirmed', 'authorised', 'cart_' || n,"
    """ 'chk_' || n, 'USD', 1, '{"lines": [{"sku": "HF-BOOT", "title": "Red Boot"}]}', 'Buyer' || n || '@example.com'"""
    """, '{"name": "Käthe Buyer"}', now() FROM generate_series(1, :count) n""",
)


def test_it_gives_every_order_its_words(fresh_database_url):
    upgrade(fresh_database_url, "0004")
    engine = create_engine(fresh_database_url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in BEFORE:
            connection.execute(text(statement), {"count": ORDERS})
    upgrade(fresh_database_url, "0005")
    with engine.begin() as connection:
        found = connection.execute(text("SELECT term, count(*) FROM order_terms GROUP BY term")).all()
        places = connection.execute(
            text("SELECT count(*) FROM order_terms JOIN orders o USING (placed_at) WHERE o.id = order_id")
        ).scalar_one()
    engine.dispose()
    words = dict(found)
    assert {word: words[word] for word in ("hf-boot", "red", "boot", "käthe", "buyer")} == dict.fromkeys(
        ("hf-boot", "red", "boot", "käthe", "buyer"), ORDERS
    )
    assert words["hf-2500"] == words["2500"] == words["buyer2500@example.com"] == 1
    assert sum(words.values()) == places == 8 * ORDERS
    downgrade(fresh_database_url, "0004")
