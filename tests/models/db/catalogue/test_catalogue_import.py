"""Imports against PostgreSQL: repeatable, whole products, and never against what was sold since."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, text

from activities.catalogue.imports import Catalogue
from deploy.demo import seed
from deploy.demo.seed import DEMO, seed_catalogue
from models import topics
from models.catalogue.imports import ImportFile, ImportKind
from models.db.repositories.catalogue import inventory, products
from models.db.session import Database
from models.db.tables import catalogue as tables
from runtime.settings import Settings
from tests.fixtures.catalogue import demo_database

PRODUCTS = "product,title,category,attr.material,sku,option.size,price.USD,price.EUR\n"


@pytest.fixture(scope="module")
def database(postgres: Settings) -> Iterator[Database]:
    with demo_database(postgres) as database:
        yield database


@pytest.fixture
def seeded(postgres: Settings) -> Iterator[Database]:
    """With nothing in it but the demo shop, whatever ran before."""
    with demo_database(postgres) as database:
        yield database


@pytest.fixture
def load(database: Database):
    """Imports text as a file of a kind; what came of it."""
    catalogue = Catalogue(database)

    def import_text(kind: str, content: str, *, only_new: bool = False):
        command = ImportFile(kind=ImportKind(kind), content=content.encode(), actor="test", only_new=only_new)
        return catalogue.import_file(command)

    return import_text


def counts(imported):
    return imported.created, imported.changed, imported.unchanged


def faults(imported):
    return [(error.row, error.column, error.detail) for error in imported.errors]


def product(database, slug, currency="USD"):
    with database.autocommit() as connection:
        return products.find_product(connection, slug, currency)


def test_what_changes_is_published(database, load, monkeypatch):
    for name in ("PRODUCT_CHANGED", "PRICE_CHANGED"):
        monkeypatch.setattr(topics, name, getattr(topics, name)._replace(consumers=("search",)))
    header = PRODUCTS.rstrip() + ",price.JPY,price.KWD\n"
    rows = "pub,Published,,wool,PUB-S,S,10.00,11.00,1500,3.000\npub,,,,PUB-M,M,10.00,11.00,1500,3.000\n"

    def published(content):
        load("products", header + content)
        with database.autocommit() as connection:
            taken = connection.execute(text("DELETE FROM outbox WHERE consumer = 'search' RETURNING id, topic, data"))
            return [(row.topic, *row.data.values()) for row in sorted(taken)]

    ((_, product_id), *prices) = published(rows)
    assert prices == [("price.changed", "PUB-S"), ("price.changed", "PUB-M")]
    assert published(rows) == []
    assert published(rows.replace("Published", "Renamed")) == [("product.changed", product_id)]
    repriced = rows.replace("Published", "Renamed").replace("M,10.00", "M,12.00")
    assert published(repriced) == [("product.changed", product_id), ("price.changed", "PUB-M")]


def test_the_demo_shop_is_one_that_a_person_would_believe(seeded):
    def count(statement):
        with seeded.autocommit() as connection:
            return connection.execute(statement).scalar_one()

    per_sku = select(func.sum(tables.stock_levels.c.on_hand).label("total")).group_by(tables.stock_levels.c.sku)
    assert count(select(func.count()).select_from(tables.products)) >= 60
    assert count(select(func.count()).select_from(tables.variants)) >= 200
    assert count(select(func.count()).select_from(tables.categories)) >= 10
    assert count(select(func.count()).select_from(per_sku.subquery()).where(text("total >= 500"))) >= 150
    assert count(select(func.count()).select_from(per_sku.subquery()).where(text("total = 0"))) >= 3
    prices = select(tables.variant_prices.c.sku).group_by(tables.variant_prices.c.sku).having(func.count() < 4)
    assert count(select(func.count()).select_from(prices.subquery())) == 0


def test_a_second_seed_changes_nothing_and_is_fast(database):
    with database.autocommit() as connection:
        before = connection.execute(text("SELECT id, version, updated_at FROM products ORDER BY id")).all()
    began = time.thread_time()
    again = seed_catalogue(database)
    assert time.thread_time() - began < 1  # of this thread's CPU, whoever else uses the machine
    assert all((imported.created, imported.changed) == (0, 0) for imported in again)
    with database.autocommit() as connection:
        assert connection.execute(text("SELECT id, version, updated_at FROM products ORDER BY id")).all() == before


def test_the_command_seeds_the_database_of_its_settings(database, settings):
    url = database.engine.url.render_as_string(hide_password=False)
    done = seed.seed(settings.model_copy(update={"database_url": url}))
    assert [imported.kind for imported in done] == list(ImportKind)


def test_a_faulty_demo_file_ends_the_seed_by_name(database, tmp_path, monkeypatch):
    (tmp_path / "categories.csv").write_text("slug,title,parent\nlost,Lost,nowhere\n")
    monkeypatch.setattr(seed, "DEMO", tmp_path)
    with pytest.raises(SystemExit, match=r"categories\.csv row 2, parent: there is no category nowhere"):
        seed_catalogue(database)


def test_a_second_seed_does_not_undo_what_was_sold(database):
    level = {"sku": "HF-LARK-1-MOS", "location": "east"}
    with database.transaction() as connection:
        connection.execute(text("UPDATE stock_levels SET on_hand = 3, reserved = 2 WHERE sku = :sku"), level)
        connection.execute(text("UPDATE promotions SET used = 7 WHERE code = 'FIRST100'"))
    seed_catalogue(database)
    with database.autocommit() as connection:
        found = inventory.read_inventory(connection, level["sku"])
        assert connection.execute(text("SELECT used FROM promotions WHERE code = 'FIRST100'")).scalar_one() == 7
    assert [(one.on_hand, one.reserved) for one in found.by_location] == [(3, 2), (3, 2)]


def test_one_changed_cell_is_one_new_version(database, load):
    content = (DEMO / "products.csv").read_text()
    before = product(database, "hut-lantern")
    imported = load("products", content.replace("Warm light for a table of six", "Warm light for a table of eight"))
    assert counts(imported) == (0, 1, imported.unchanged)
    after = product(database, "hut-lantern")
    assert (after.id, after.version) == (before.id, before.version + 1)
    assert after.description.startswith("Warm light for a table of eight")
    assert after.variants == before.variants
    assert counts(load("products", content))[1] == 1


def test_a_price_moves_the_product_s_lowest_price_with_it(database, load):
    header = PRODUCTS + "cap-price,Cap,,Wool,CAP-P-S,S,{},18\ncap-price,,,,CAP-P-M,M,22,\n"
    assert counts(load("products", header.format("20"))) == (1, 0, 0)
    assert counts(load("products", header.format("30"))) == (0, 1, 0)
    with database.autocommit() as connection:
        lowest = dict(
            connection.execute(
                text(
                    "SELECT currency, lowest FROM product_prices pp JOIN products p ON p.id = pp.product_id"
                    " WHERE p.slug = 'cap-price'"
                )
            ).all()
        )
    assert lowest == {"USD": 2200, "EUR": 1800}
    cap = product(database, "cap-price", "EUR")
    assert [variant.price and variant.price.amount for variant in cap.variants] == [1800, None]


def test_variants_that_a_file_does_not_name_stay_at_their_place(database, load):
    def sizes():
        return [variant.title for variant in product(database, "cap-stay").variants]

    load("products", PRODUCTS + "cap-stay,Cap,,,CAP-S-S,S,20,\ncap-stay,,,,CAP-S-L,L,20,\n")
    load("products", PRODUCTS + "cap-stay,Cap,,,CAP-S-M,M,20,\ncap-stay,,,,CAP-S-L,L,21,\n")
    assert sizes() == ["S", "L", "M"]
    load(
        "products",
        PRODUCTS + "cap-stay,Cap,,,CAP-S-S,S,20,\ncap-stay,,,,CAP-S-M,M,20,\ncap-stay,,,,CAP-S-L,L,21,\n",
    )
    assert sizes() == ["S", "M", "L"]


def test_good_products_come_in_beside_bad_ones(database, load):
    imported = load(
        "products",
        PRODUCTS
        + "beside-good,Good,,,BESIDE-1,,20,\n"
        + "beside-lost,Lost,no-such-category,,BESIDE-2,,20,\n"
        + "beside-thief,Thief,,,BESIDE-3,,20,\n"
        + "beside-thief,,,,HF-HUT-LNT-CRM,One,20,\n"
        + "beside-bad,Bad,,,BESIDE-4,,twenty,\n",
    )
    assert counts(imported) == (1, 0, 0)
    assert [(row, column) for row, column, _ in faults(imported)] == [(3, "category"), (5, "sku"), (6, "price.USD")]
    assert faults(imported)[1][2] == "HF-HUT-LNT-CRM belongs to the product hut-lantern"
    assert product(database, "beside-good") is not None
    assert product(database, "beside-thief") is None


def test_many_products_are_written_in_batches(database, load):
    lines = "".join(f"many-{n},Thing {n},,,MANY-{n},,{n}.50,\n" for n in range(450))
    assert counts(load("products", PRODUCTS + lines)) == (450, 0, 0)
    assert counts(load("products", PRODUCTS + lines)) == (0, 0, 450)


def test_categories_move_but_never_below_themselves(database, load):
    tree = "slug,title,parent\nmove-a,A,\nmove-b,B,move-a\nmove-c,C,move-b\n"
    assert counts(load("categories", tree)) == (3, 0, 0)
    assert counts(load("categories", tree)) == (0, 0, 3)
    imported = load("categories", "slug,title,parent\nmove-a,A,move-c\nmove-x,X,nowhere\nmove-y,Y,move-y\n")
    assert faults(imported) == [
        (2, "parent", "makes a category its own ancestor"),
        (3, "parent", "there is no category nowhere"),
        (4, "parent", "there is no category move-y"),
    ]


def test_a_count_is_booked_and_never_falls_below_what_is_reserved(database, load):
    sku = "HF-LARK-2-MOS"
    header = "sku,location,on_hand\n"
    assert counts(load("stock", header + f"{sku},east,40\n{sku},west,50\n")) == (0, 2, 0)
    assert counts(load("stock", header + f"{sku},east,41\n{sku},west,50\n")) == (0, 1, 1)
    with database.transaction() as connection:
        connection.execute(text("UPDATE stock_levels SET reserved = 10 WHERE sku = :sku"), {"sku": sku})
    imported = load("stock", header + f"{sku},east,9\n{sku},west,10\nNOPE,east,1\n{sku},moon,1\n")
    assert counts(imported) == (0, 1, 0)
    assert faults(imported) == [
        (2, "on_hand", "10 are reserved"),
        (4, "sku", "there is no sku NOPE"),
        (5, "location", "there is no location moon"),
    ]
    with database.autocommit() as connection:
        booked = connection.execute(
            text(
                "SELECT delta, on_hand, reason, actor FROM stock_adjustments WHERE sku = :sku ORDER BY id DESC LIMIT 1"
            ),
            {"sku": sku},
        ).one()
    assert tuple(booked) == (-40, 10, "import", "test")


def test_the_books_explain_every_level(database):
    with database.autocommit() as connection:
        wrong = connection.execute(
            text(
                "SELECT s.sku FROM stock_levels s LEFT JOIN stock_adjustments a USING (sku, location)"
                " WHERE s.sku NOT IN ('HF-LARK-1-MOS') GROUP BY s.sku, s.location, s.on_hand"
                " HAVING s.on_hand <> coalesce(sum(a.delta), 0)"
            )
        ).all()
    assert wrong == []


@pytest.mark.parametrize("kind", ["locations", "taxes", "shipping", "promotions"])
def test_rules_are_updated_by_their_keys(load, kind):
    content = (DEMO / f"{kind}.csv").read_text()
    rest = content.partition("\n")[2]
    old, new = {
        "locations": ("East warehouse", "Eastern warehouse"),
        "taxes": ("DE,,MwSt,19", "DE,,MwSt,16"),
        "shipping": ("us-express,Express,1,2", "us-express,Express,1,3"),
        "promotions": ("WELCOME10,percentage,10", "WELCOME10,percentage,15"),
    }[kind]
    assert old in rest
    assert counts(load(kind, content))[:2] == (0, 0)
    assert counts(load(kind, content.replace(old, new)))[:2] == (0, 1)
    assert counts(load(kind, content))[:2] == (0, 1)


def test_an_empty_file_is_an_error_and_an_empty_table_is_not(load):
    assert faults(load("stock", "")) == [(1, None, "the file has no header")]
    assert counts(load("stock", "sku,location,on_hand\n")) == (0, 0, 0)
    assert counts(load("stock", "sku,location,on_hand\nNOPE,east,1\n")) == (0, 0, 0)
