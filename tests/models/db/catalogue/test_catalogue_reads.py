"""Catalogue reads against PostgreSQL: every filter and order, page after page, nothing twice and nothing missed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from models.catalogue.inventory import MAX_STOCK, AdjustStock
from models.catalogue.products import ProductQuery, facet_values
from models.db.repositories.catalogue import inventory, products
from models.db.session import Database
from models.errors import InvalidRequest, NotFound, StockBelowReserved, UnknownLocation
from runtime.settings import Settings
from tests.fixtures.catalogue import demo_database, stocked_sku


@pytest.fixture(scope="module")
def database(postgres: Settings) -> Iterator[Database]:
    with demo_database(postgres) as database:
        yield database


def listed(database, **query):
    """All pages of a query, in order."""
    asked = ProductQuery(limit=7, **query)
    found, after = [], None
    with database.autocommit() as connection:
        while True:
            page, after = products.list_products(connection, asked, after)
            assert len(page) <= 7
            found.extend(page)
            if after is None:
                return found


def lowest(product, currency="USD"):
    return min(price.amount for v in product.variants for price in v.prices if price.currency == currency)


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD"])
@pytest.mark.parametrize("sort", ["newest", "price", "-price", "title"])
def test_pages_hold_every_product_once_in_order(database, sort, currency):
    found = listed(database, sort=sort, currency=currency)
    assert len({product.id for product in found}) == len(found) == 83
    keys = {
        "newest": [product.id for product in found][::-1],
        "price": [(lowest(product, currency), product.id) for product in found],
        "-price": [(lowest(product, currency), product.id) for product in found][::-1],
        "title": [(product.title.lower(), product.id) for product in found],
    }[sort]
    if sort == "title":  # by the database's collation, which is not Python's
        assert {key[0] for key in keys} == {product.title.lower() for product in found}
    else:
        assert keys == sorted(keys)
    assert all(v.price.currency == currency for product in found for v in product.variants)


def test_the_last_page_knows_that_it_is(database):
    with database.autocommit() as connection:
        page, after = products.list_products(connection, ProductQuery(limit=83))
        assert (len(page), after) == (83, None)
        assert products.list_products(connection, ProductQuery(category="no-such")) == ([], None)


def test_a_page_takes_two_statements_and_one_for_its_category(database):
    statements = []
    with database.autocommit() as connection:
        event.listen(connection, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        products.list_products(connection, ProductQuery(in_stock=True, price_min=1))
        assert len(statements) == 2
        products.list_products(connection, ProductQuery(category="clothing"))
        assert len(statements) == 2 + 3


def test_a_category_holds_its_subcategories(database):
    clothing, jackets = listed(database, category="clothing"), listed(database, category="jackets")
    assert {product.category.slug for product in clothing} == {"jackets", "base-layers", "trousers", "hats-gloves"}
    assert {product.category.slug for product in jackets} == {"jackets"}
    assert len(clothing) > len(jackets)


def test_attributes_and_options_are_found_without_case(database):
    plum = listed(database, attributes={"color": ("PLUM",)})
    assert plum
    assert all("Plum" in {v.options.get("color") for v in product.variants} for product in plum)
    either = listed(database, attributes={"color": ("plum", "Ochre")})
    assert len(either) > len(plum)
    both = listed(database, attributes={"color": ("plum",), "gender": ("women",)})
    assert [product.slug for product in both] == ["hearth-down-jacket"]
    assert listed(database, attributes={"color": ("no such",)}) == []
    assert listed(database, attributes={"no": ("such",)}) == []


def test_prices_are_bounded_in_the_asked_currency(database):
    found = listed(database, price_min=50_000, price_max=60_000)
    assert [product.slug for product in found] == ["glacier-sleeping-bag", "homestead-family-tent"]
    assert len(listed(database, price_max=1_000)) == len([p for p in listed(database) if lowest(p) <= 1_000])
    assert listed(database, currency="KWD", price_min=2_000_000) == []


def test_what_is_sold_out_can_be_asked_for_or_left_out(database):
    gone, there = listed(database, in_stock=False), listed(database, in_stock=True)
    assert {"candle-lantern", "roll-top-table"} <= {product.slug for product in gone}
    assert all(v.available == 0 for product in gone for v in product.variants)
    assert all(any(v.available for v in product.variants) for product in there)
    assert len(gone) + len(there) == 83


def test_only_active_products_are_listed_and_drafts_have_no_page(database):
    with database.transaction() as connection:
        connection.execute(text("UPDATE products SET status = 'draft' WHERE slug = 'hut-lantern'"))
        connection.execute(text("UPDATE products SET status = 'archived' WHERE slug = 'dry-bag'"))
    try:
        assert not {"hut-lantern", "dry-bag"} & {product.slug for product in listed(database)}
        with database.autocommit() as connection:
            assert products.find_product(connection, "hut-lantern", "USD") is None
            assert products.find_product(connection, "dry-bag", "USD").status == "archived"
    finally:
        with database.transaction() as connection:
            connection.execute(text("UPDATE products SET status = 'active'"))


def test_a_product_has_two_names(database):
    with database.autocommit() as connection:
        by_slug = products.find_product(connection, "tarn-mid-boot", "EUR")
        assert products.find_product(connection, by_slug.id, "EUR") == by_slug
        assert products.find_product(connection, "prod_0", "EUR") is None
    assert [v.title for v in by_slug.variants[:2]] == ["7 / Brown", "8 / Brown"]
    assert by_slug.variants[0].price.currency == "EUR"
    assert {price.currency for price in by_slug.variants[0].prices} == {"USD", "EUR", "JPY", "KWD"}


def test_ratings_are_rounded_to_a_decimal(database):
    with database.transaction() as connection:
        connection.execute(text("UPDATE products SET rating_sum = 14, rating_count = 3 WHERE slug = 'fly-tarp'"))
        rating = products.find_product(connection, "fly-tarp", "USD").rating
    assert (rating.average, rating.count) == (4.7, 3)


def test_the_tree_is_in_the_merchant_s_order(database):
    with database.autocommit() as connection:
        tree = products.category_tree(connection)
    assert [top.slug for top in tree] == [
        "clothing",
        "footwear",
        "camp",
        "kitchen",
        "packs",
        "lighting",
        "navigation",
    ]
    assert [child.slug for child in tree[0].children] == ["jackets", "base-layers", "trousers", "hats-gloves"]
    assert {child.parent for child in tree[0].children} == {"clothing"}


def test_facets_are_every_value_in_lower_case():
    assert facet_values(
        {"material": "Wool"}, [{"color": "Red", "size": "M"}, {"color": "red", "material": "Silk"}]
    ) == {
        "color": ["red"],
        "material": ["silk", "wool"],
        "size": ["m"],
    }


class TestInventory:
    SKU = "HF-FIREFLY-CLP-RED"

    @pytest.fixture
    def adjust(self, database):
        def change(delta, location="east", sku=self.SKU):
            with database.transaction() as connection:
                wanted = AdjustStock(location=location, delta=delta, reason="count")
                return inventory.adjust_stock(connection, sku, wanted, "staff:usr_1")

        return change

    def read(self, database, sku=SKU):
        with database.autocommit() as connection:
            return inventory.read_inventory(connection, sku)

    def test_locations_add_up(self, database):
        found = self.read(database)
        assert [level.location for level in found.by_location] == ["east", "west"]
        assert found.on_hand == sum(level.on_hand for level in found.by_location)
        assert found.available == found.on_hand - found.reserved
        assert self.read(database, "NOPE") is None

    def test_an_adjustment_is_booked(self, database, adjust):
        before = self.read(database).by_location[0]
        booked = adjust(-3)
        assert (booked.delta, booked.on_hand, booked.available) == (-3, before.on_hand - 3, before.available - 3)
        assert (booked.actor, booked.reason, booked.at.utcoffset().total_seconds()) == ("staff:usr_1", "count", 0)
        assert self.read(database).by_location[0].on_hand == before.on_hand - 3

    def test_stock_never_falls_below_what_is_reserved(self, database, adjust):
        with database.transaction() as connection:
            connection.execute(
                text("UPDATE stock_levels SET on_hand = 10, reserved = 4 WHERE sku = :sku AND location = 'west'"),
                {"sku": self.SKU},
            )
        with pytest.raises(StockBelowReserved) as caught:
            adjust(-7, "west")
        assert caught.value.extra == {"on_hand": 10, "reserved": 4}
        assert adjust(-6, "west").available == 0

    def test_what_does_not_exist_is_named(self, adjust):
        with pytest.raises(NotFound):
            adjust(1, sku="NOPE")
        with pytest.raises(UnknownLocation):
            adjust(1, "moon")
        with pytest.raises(InvalidRequest, match="more than"):
            adjust(MAX_STOCK)

    def test_a_new_place_begins_at_nothing(self, database, adjust):
        sku = stocked_sku(database)
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO stock_locations (code, title, priority) VALUES ('north', 'N', 9)"))
        with pytest.raises(StockBelowReserved):
            adjust(-1, "north", sku)
        assert adjust(5, "north", sku).on_hand == 5
        assert [level.location for level in self.read(database, sku).by_location] == ["east", "north"]

    def test_an_unstocked_sku_has_zeros(self, database):
        with database.transaction() as connection:
            connection.execute(text("DELETE FROM stock_levels WHERE sku = 'HF-MAP-KITA'"))
        found = self.read(database, "HF-MAP-KITA")
        assert (found.on_hand, found.available, found.by_location) == (0, 0, ())

    def test_adjustments_at_once_lose_nothing(self, database, adjust):
        before = self.read(database).by_location[0].on_hand
        threads = [threading.Thread(target=adjust, args=(delta,)) for delta in (1, 2, 3, -1, 4, -2, 5, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.read(database).by_location[0].on_hand == before + 18
