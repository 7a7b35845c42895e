"""A million orders, made inside PostgreSQL, with the sizes, states and term frequencies of an old shop.

It takes about a minute. It makes only orders and their terms: no carts, checkouts or events.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

from models.db.session import Database
from models.orders.search_terms import sku_terms, text_terms

Parameters = dict[str, Any]

NEWEST = datetime(2026, 11, 1, tzinfo=UTC)
BIG_CUSTOMER = "usr_big"  # one that orders for a whole company: 2 % of all
ADJECTIVES = ("Trail", "Alpine", "Storm", "Summit", "River", "Forest", "Desert", "Polar", "Coast", "Meadow")
THINGS = ("Jacket", "Jacket", "Jacket", "Boots", "Tent", "Stove", "Lamp", "Rope", "Pack", "Bottle")
COLOURS = ("Red", "Blue", "Green", "Black", "Sand")
RAREST = "Theodolite"  # sold a few times in all
FIRST = (
    *("Ada", "Bela", "Chidi", "Dunja", "Emre", "Fatima", "Gustav", "Hana", "Ines", "Jörg"),
    *("Kofi", "Lena", "Mateo", "Nadia", "Omar", "Paula", "Quentin", "Rosa", "Sven", "Tariq"),
)
FAMILY = (
    *("Abe", "Bauer", "Castro", "Diaz", "Eriksen", "Fischer", "Garcia", "Haddad"),
    *("Ivanova", "Jansen", "Käufer", "Lindqvist", "Mendes", "Novak", "O’Brien", "Petit"),
)

# Left out in a scratch database: foreign keys, and indexes that are created faster afterwards.
LIGHTEN = """
DO $$ DECLARE c record; BEGIN
    CREATE TABLE bench_later (made_by text);
    CREATE TABLE bench_goods (number int PRIMARY KEY, sku text, title text, terms text[]);
    CREATE TABLE bench_people (number int PRIMARY KEY, name text, terms text[]);
    FOR c IN SELECT conrelid::regclass AS owner, conname FROM pg_constraint WHERE contype = 'f'
            AND (conrelid::regclass::text IN ('orders', 'order_terms') OR confrelid::regclass::text = 'orders') LOOP
        EXECUTE format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.owner, c.conname);
    END LOOP;
    FOR c IN SELECT conrelid::regclass AS owner, conname, pg_get_constraintdef(oid) AS made FROM pg_constraint
            WHERE contype IN ('p', 'u') AND conrelid::regclass::text IN ('orders', 'order_terms') LOOP
        INSERT INTO bench_later VALUES (format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', c.owner, c.conname, c.made));
        EXECUTE format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.owner, c.conname);
    END LOOP;
    FOR c IN SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('orders', 'order_terms') LOOP
        INSERT INTO bench_later VALUES (c.indexdef);
        EXECUTE format('DROP INDEX %%I', c.indexname);
    END LOOP;
    ALTER TABLE orders SET UNLOGGED;
    ALTER TABLE order_terms SET UNLOGGED;
END $$
"""
COMPLETE = """
DO $$ DECLARE m text; BEGIN
    SET LOCAL maintenance_work_mem = '512MB';
    FOR m IN SELECT made_by FROM bench_later LOOP EXECUTE m; END LOOP;
END $$
"""

GOODS = "INSERT INTO bench_goods VALUES (%(number)s, %(sku)s, %(title)s, %(terms)s)"
PEOPLE = "INSERT INTO bench_people VALUES (%(number)s, %(name)s, %(terms)s)"

# Two orders share each timestamp; the newest are open; 3 in 10 are guests'. `h1` and `h2` are random, the same in every
# run.
SOURCE = """
CREATE UNLOGGED TABLE bench_orders AS
SELECT n, 'ord_' || md5(n::text) AS id, p.name, g.sku, g.title, g.terms || p.terms AS terms,
    'buyer' || h2 %% (%(count)s / 4 + 1) || '@example.com' AS email,
    CASE WHEN h1 %% 50 = 0 THEN CAST(%(big_customer)s AS text)
        WHEN h2 %% 10 < 7 THEN 'usr_' || h2 %% (%(count)s / 4 + 1) END AS customer_id,
    CASE WHEN n > %(count)s * 0.995 THEN 'confirmed' WHEN n > %(count)s * 0.99 THEN 'processing'
        WHEN n > %(count)s * 0.97 THEN 'shipped' WHEN h2 %% 2000 = 3 THEN 'on_hold' WHEN h1 %% 20 = 1 THEN 'cancelled'
        ELSE 'completed' END AS status,
    CAST(%(newest)s AS timestamptz) - make_interval(secs => (%(count)s - n) / 2 * 180.0) AS placed_at
FROM (SELECT n, abs(hashint4(n)::bigint) AS h1, abs(hashint4(-n)::bigint) AS h2
    FROM generate_series(1, CAST(%(count)s AS int)) n) s
JOIN bench_goods g ON g.number = CASE WHEN n %% %(rarely)s = 7 THEN 0 ELSE 1 + h1 %% (%(goods)s - 1) END
JOIN bench_people p ON p.number = h2 %% %(people)s
"""

ORDERS = """
INSERT INTO orders (id, number, version, status, payment_status, customer_id, cart_id, checkout_id, currency, total,
    document, email, email_key, shipping_address, billing_address, placed_at)
SELECT id, 'HF-' || n, 1, status, 'authorised', customer_id, 'cart_' || n, 'chk_' || n, 'USD', 10000,
    jsonb_build_object(
        'id', id, 'number', 'HF-' || n, 'status', status, 'payment_status', 'authorised', 'customer_id', customer_id,
        'cart_id', 'cart_' || n, 'checkout_id', 'chk_' || n, 'currency', 'USD', 'placed_at', placed_at, 'version', 1,
        'lines', jsonb_build_array(jsonb_build_object('id', 'line_' || n, 'sku', sku, 'title', title, 'quantity', 1,
            'unit_price', much, 'discount', nothing, 'tax', nothing, 'total', much)),
        'totals', totals, 'tax_lines', '[]'::jsonb, 'discounts', '[]'::jsonb, 'shipping_option', NULL,
        'payment', jsonb_build_object('id', 'pay_' || n, 'provider', 'stripe', 'authorised', much, 'captured', nothing,
            'refunded', nothing)),
    email, email, jsonb_build_object('name', name, 'line1', '1 Main Street', 'city', 'Springfield', 'country', 'US'),
    NULL, placed_at
FROM bench_orders, jsonb_build_object('amount', 10000, 'currency', 'USD') AS much,
    jsonb_build_object('amount', 0, 'currency', 'USD') AS nothing,
    jsonb_build_object('items', much, 'discount', nothing, 'shipping', nothing, 'tax', nothing, 'tax_included', nothing,
        'total', much) AS totals
"""

TERMS = """
INSERT INTO order_terms (term, placed_at, order_id)
SELECT term, placed_at, id FROM bench_orders, unnest(terms || ARRAY['hf-' || n, n::text, email]) AS term
"""


def fill(database: Database, count: int) -> None:
    """Into an empty, migrated database of the bench's own: parents are not made, so foreign keys are not put back."""
    goods, people = list(_goods()), list(_people())
    sizes = {"count": count, "goods": len(goods), "people": len(people), "rarely": max(10, count // 5)}
    with database.transaction() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(LIGHTEN)
        connection.exec_driver_sql(GOODS, goods)
        connection.exec_driver_sql(PEOPLE, people)
        connection.exec_driver_sql(SOURCE, {**sizes, "newest": NEWEST, "big_customer": BIG_CUSTOMER})
        for statement in (ORDERS, TERMS, COMPLETE):
            connection.exec_driver_sql(statement)
    with database.autocommit() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("VACUUM (ANALYZE) orders, order_terms")


def _goods() -> Iterator[Parameters]:
    """The first is the rarest."""
    yield _good(0, "BN-THEO", RAREST)
    for number, (adjective, thing, colour) in enumerate(product(ADJECTIVES, THINGS, COLOURS), 1):
        sku = f"BN-{adjective[:3]}-{thing[:3]}-{number}".upper()
        yield _good(number, sku, f"{adjective} {thing}, {colour}")


def _good(number: int, sku: str, title: str) -> Parameters:
    return {"number": number, "sku": sku, "title": title, "terms": sorted({*sku_terms(sku), *text_terms(title)})}


def _people() -> Iterator[Parameters]:
    """4,800 names: 20 first names, 15 middle ones, 16 family names."""
    for number, (first, middle, family) in enumerate(product(FIRST, range(15), FAMILY)):
        name = f"{first} {chr(65 + middle)}. {family}"
        yield {"number": number, "name": name, "terms": sorted(text_terms(name))}
