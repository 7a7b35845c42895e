"""Every movement of stock changes its quantities, and publishes the SKU once a consumer wants it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from models import topics
from models.catalogue.inventory import MOVEMENTS, Movement
from models.db.repositories.catalogue import inventory
from models.db.session import Database
from tests.fixtures.shop import SKU

MOVE = """
WITH source AS (
    SELECT sku, location, 2 AS quantity FROM stock_levels WHERE sku = :sku ORDER BY location FOR UPDATE),
{moved}
SELECT sku, location FROM moved
"""


@pytest.fixture
def books(shop):
    """A transaction that is rolled back, with ten units of the SKU reserved at each of its locations."""
    database = Database(shop.settings.database, pool_size=1)
    with database.engine.connect() as connection:
        connection.execute(text("UPDATE stock_levels SET on_hand = 90, reserved = 10 WHERE sku = :sku"), {"sku": SKU})
        yield connection
        connection.rollback()
    database.close()


def levels(books):
    return books.execute(text("SELECT on_hand, reserved FROM stock_levels WHERE sku = :sku"), {"sku": SKU}).all()


def published(books):
    """By this transaction."""
    rows = books.execute(text("SELECT consumer, aggregate, data FROM outbox WHERE xmin = pg_current_xact_id()::xid"))
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("movement", Movement)
def test_a_movement_adds_or_takes_what_its_kind_says(books, movement):
    places = inventory.statement(MOVE, movement, "source").execute(books, {"sku": SKU}).all()
    on_hand, reserved = MOVEMENTS[movement]
    assert set(levels(books)) == {(90 + 2 * on_hand, 10 + 2 * reserved)}
    assert len(places) == len(levels(books))


def test_a_movement_is_published_once_a_consumer_wants_it(books, monkeypatch):
    wanted = topics.STOCK_CHANGED._replace(consumers=("stock test",))
    monkeypatch.setattr(topics, "STOCK_CHANGED", wanted)
    inventory.statement(MOVE, Movement.RESERVE, "source").execute(books, {"sku": SKU})
    assert published(books) == [("stock test", SKU, {"sku": SKU})]  # once, of however many locations


def test_a_movement_that_no_consumer_wants_is_not_stored(books, monkeypatch):
    monkeypatch.setattr(topics, "STOCK_CHANGED", topics.STOCK_CHANGED._replace(consumers=()))
    inventory.statement(MOVE, Movement.RESERVE, "source").execute(books, {"sku": SKU})
    assert not published(books)
