"""Merchants' files: every fault is named by row and column, and nothing is dropped in silence."""

from __future__ import annotations

import codecs
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.csv_tables import read_rows
from models.catalogue.product_import import StockRow, read_categories, read_locations, read_products, read_stock
from models.catalogue.rules_import import PromotionRow, read_promotions, read_shipping, read_taxes

STOCK = "sku,location,on_hand\n"
PRODUCTS = "product,title,description,status,category,attr.material,sku,option.size,backorderable,price.USD,price.JPY\n"


def faults(errors):
    return [(error.row, error.column, error.detail) for error in errors]


def stock(text):
    rows, errors = read_stock(text if isinstance(text, bytes) else text.encode())
    return [(row.sku, row.location, row.on_hand) for row in rows], faults(errors)


def products(*lines, header=PRODUCTS):
    found, errors = read_products((header + "\n".join(lines) + "\n").encode())
    return found, faults(errors)


class TestTables:
    @pytest.mark.parametrize(
        "content",
        [
            b"sku,location,on_hand\nA,east,5\n",
            codecs.BOM_UTF8 + b"sku,location,on_hand\r\nA,east,5\r\n",
            b"sku;location;on_hand\nA;east;5",
            b"on_hand\tsku\tlocation\n5\tA\teast\n",
            b'sku,location,on_hand\n\n , ,\n" A ","east",5\n',
        ],
    )
    def test_files_come_as_spreadsheets_write_them(self, content):
        assert stock(content) == ([("A", "east", 5)], [])

    def test_accents_are_the_same_however_they_are_typed(self):
        rows, _ = read_categories("slug,title\ncafe,Cafe\u0301\n".encode())
        assert rows[0].title == "Café"

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", (1, None, "the file has no header")),
            (b"\n\n", (1, None, "the file has no header")),
            ("sku,location,on_hand\nA,east,5\nÄ".encode("latin-1"), (3, None, "is not UTF-8 text")),
            (b"\xff\xfes\x00k\x00u\x00", (1, None, "is not UTF-8 text")),
            (b"sku,location\nA,east\n", (1, "on_hand", "this column is missing")),
            (b"sku,location,on_hand,colour\n", (1, "colour", "is not a column of this file; those are sku, loc")),
            (b"sku,location,on_hand,sku\n", (1, "sku", "stands twice")),
            (b"sku,location,on_hand,row\n", (1, "row", "is not a column")),
            (b"sku,location,on_hand,sku.x\n", (1, "sku.x", "is not a column")),
            (b'sku,location,on_hand\nA,east,5\n"A"x,east,1\n', (3, None, "is not CSV")),
            (b'sku,location,on_hand\nA,"east,5\n', (2, None, "is not CSV")),
        ],
    )
    def test_a_file_that_cannot_be_understood_is_refused_whole(self, content, fault):
        rows, errors = stock(content)
        assert rows == []
        assert errors[0][:2] == fault[:2]
        assert errors[0][2].startswith(fault[2])

    def test_a_bad_row_does_not_stop_the_others(self):
        rows, errors = stock(STOCK + "A,east,five\nB,east\nC,east,3,x\nD,,4\nE,east,5\nF,east,1\x00\n")
        assert rows == [("E", "east", 5)]
        assert errors == [
            (2, "on_hand", "'five' is not a whole number"),
            (3, None, "has 2 cells where the header has 3"),
            (3, "on_hand", "is empty"),
            (4, None, "has 4 cells where the header has 3"),
            (5, "location", "is empty"),
            (7, "on_hand", "contains a control character"),
        ]

    @pytest.mark.parametrize("count", ["-1", "1.0", "1e3", "1_0", "٣", "99999999999", "1000000001"])
    def test_a_count_is_a_whole_number(self, count):
        rows, errors = stock(STOCK + f"A,east,{count}\n")
        assert rows == []
        assert errors[0][:2] == (2, "on_hand")

    def test_the_same_thing_twice_is_an_error_of_the_second(self):
        rows, errors = stock(STOCK + "A,east,1\nA,west,1\nA,east,2\n")
        assert rows == [("A", "east", 1), ("A", "west", 1)]
        assert errors == [(4, "sku", "stands in row 2 already")]

    def test_a_cell_with_line_breaks_is_one_row(self):
        _, errors = products('p,P,"one\ntwo",,,,A,S,,1,', "p,,,,,,B,M,,x,")
        assert errors == [(3, "price.USD", "'x' is not a price: write digits with a decimal point, such as 1299.50")]

    @given(st.binary(max_size=300))
    def test_no_bytes_break_it(self, content):
        for read in (read_stock, read_products, read_categories, read_taxes, read_shipping, read_promotions):
            good, errors = read(content)
            assert good or errors or content.count(b"\n") <= 1

    @given(st.lists(st.tuples(*[st.text(max_size=8)] * 3), max_size=12))
    def test_every_row_is_either_read_or_named(self, records):
        written = io.StringIO()
        csv.writer(written).writerows([("sku", "location", "on_hand"), *records])
        found = read_rows(written.getvalue().encode(), StockRow)
        good, named = {row.row for row in found.good}, {error.row for error in found.errors}
        if 1 not in named:
            filled = {n for n, record in enumerate(records, start=2) if any(cell.strip() for cell in record)}
            assert good | named == filled
        assert not good & named


class TestProducts:
    def test_the_product_s_columns_are_carried_down(self):
        found, errors = products(
            "boot,Boot,A boot,,shoes,Leather,B-41,41,,189.00,30800",
            "boot,Boot,,,,,B-42,42,yes,189,",
        )
        assert errors == []
        (boot,) = found
        assert (boot.title, boot.description, boot.status, boot.category) == ("Boot", "A boot", "active", "shoes")
        assert boot.attributes == {"material": "Leather"}
        assert [(v.sku, v.title, v.options, v.prices, v.backorderable) for v in boot.variants] == [
            ("B-41", "41", {"size": "41"}, {"USD": 18900, "JPY": 30800}, False),
            ("B-42", "42", {"size": "42"}, {"USD": 18900}, True),
        ]

    def test_a_lone_variant_is_called_as_its_product(self):
        (mug,), _ = products("mug,Mug,,,,,MUG,,,39,")
        assert mug.variants[0].title == "Mug"

    def test_a_product_is_imported_whole_or_not_at_all(self):
        found, errors = products(
            "boot,Boot,,,,,B-41,41,,x,",
            "boot,,,,,,B-42,42,,189,",
            "mug,Mug,,,,,MUG,,,39,",
            "hat,Hat,,,,,HAT-S,S,,20,",
            "hat,,,,,,HAT-M,M,,,",
        )
        assert [product.slug for product in found] == ["mug"]
        assert [(row, column) for row, column, _ in errors] == [(2, "price.USD"), (6, "price")]

    @pytest.mark.parametrize(
        ("line", "column", "detail"),
        [
            ("p,,,,,,A2,M,,1,", "option", None),
            ("p,Other,,,,,A2,M,,1,", "title", "differs from the product's first row 2"),
            ("p,,Other,,,,A2,M,,1,", "description", "differs from the product's first row 2"),
            ("p,,,draft,,,A2,M,,1,", "status", "differs from the product's first row 2"),
            ("p,,,,shoes,,A2,M,,1,", "category", "differs from the product's first row 2"),
            ("p,,,,,Wool,A2,M,,1,", "attr.material", "differs from the product's first row 2"),
            ("p,,,,,,A,M,,1,", "sku", "stands in row 2 already"),
            ("p,,,,,,A2,S,,1,", "option", "the same options stand in row 2"),
            ("p,,,,,,A2,M,perhaps,1,", "backorderable", None),
            ("p,,,,,,A2,M,,1,10.5", "price.JPY", "'10.5' has more decimals than JPY (0)"),
            ('p,,,,,,A2,M,,"1,299",', "price.USD", None),
            ("p,,,,,,A2,M,,-1,", "price.USD", None),
            ("p,,,,,,A2,M,,9999999999,", "price.USD", None),
            ("p,,,,,,A/2,M,,1,", "sku", None),
            ("p,,,gone,,,A2,M,,1,", "status", None),
            ("New Product,T,,,,,A2,M,,1,", "product", None),
            ("q,,,,,,A2,M,,1,", "title", "is empty on the product's first row"),
        ],
    )
    def test_what_is_wrong_is_named(self, line, column, detail):
        _, errors = products("p,P,,,,,A,S,,1,", line)
        if (column, detail) == ("option", None):
            assert errors == []
            return
        assert errors[0][:2] == (3, column)
        assert detail is None or errors[0][2] == detail

    @pytest.mark.parametrize("column", ["price.GBP", "price", "price.", "attr", "option.", "title.en"])
    def test_a_column_must_be_one_we_know(self, column):
        found, errors = products("p,P,A,1,x", header=f"product,title,sku,price.USD,{column}\n")
        assert found == []
        assert errors[0][:2] == (1, column)

    @pytest.mark.parametrize("name", ["Größe", "9lives", "a b"])
    def test_an_attribute_s_name_is_a_plain_word(self, name):
        _, errors = products("p,P,A,1,x", header=f"product,title,sku,price.USD,attr.{name}\n")
        assert errors[0][:2] == (2, f"attr.{name}")


class TestRules:
    def test_a_percentage_becomes_parts_per_million(self):
        rates, errors = read_taxes(
            b"country,region,name,percent,inclusive,applies_to_shipping\n"
            b"US,NY,Sales tax,8.875,no,yes\nDE,,MwSt,19,yes,yes\n"
        )
        assert errors == []
        assert [(r.jurisdiction, r.rate_ppm, r.inclusive) for r in rates] == [
            ("US-NY", 88_750, False),
            ("DE", 190_000, True),
        ]

    @pytest.mark.parametrize("percent", ["19 %", "0.19000", "-1", "101", "1e1", ""])
    def test_a_bad_percentage_is_named(self, percent):
        rates, errors = read_taxes(
            f"country,region,name,percent,inclusive,applies_to_shipping\nDE,,MwSt,{percent},yes,yes\n".encode()
        )
        assert rates == []
        assert errors[0].column == "percent"

    def test_the_same_rate_twice_is_an_error(self):
        _, errors = read_taxes(
            b"country,name,percent,inclusive,applies_to_shipping\nDE,MwSt,19,yes,yes\nDE,MwSt,7,yes,yes\n"
        )
        assert faults(errors) == [(3, "name", "stands in row 2 already")]

    SHIPPING = b"zone,zone_title,places,option,title,min_days,max_days,price.USD,free_over.USD\n"

    def test_a_zone_gathers_its_options(self):
        zones, errors = read_shipping(
            self.SHIPPING + b"us,United States,US US-HI,us-slow,Slow,3,5,5.95,99\nus,,,us-fast,Fast,1,2,14.95,\n"
        )
        assert errors == []
        (zone,) = zones
        assert zone.places == ("US", "US-HI")
        assert [(o.id, o.prices, o.free_over) for o in zone.options] == [
            ("us-slow", {"USD": 595}, {"USD": 9900}),
            ("us-fast", {"USD": 1495}, {}),
        ]

    def test_a_zone_is_imported_whole_or_not_at_all(self):
        zones, errors = read_shipping(
            self.SHIPPING
            + b"us,United States,US,us-slow,Slow,3,5,5.95,\nus,Other,,us-fast,Fast,5,2,14.95,\n"
            + b"eu,,DE,eu-slow,Slow,3,5,5,\njp,Japan,,jp-slow,Slow,3,5,5,\ngb,GB,GB,us-slow,Slow,3,5,5,\n"
            + b"ca,Canada,CA,ca-slow,Slow,3,5,5,\nca,Kanada,CA,ca-fast,Fast,1,2,5,\n"
        )
        assert zones == []
        assert faults(errors) == [
            (3, None, "max_days can't be below min_days"),
            (4, "zone_title", "is empty on the zone's first row"),
            (5, "places", "is empty on the zone's first row"),
            (6, "option", "stands in row 2 already"),
            (8, "zone_title", "differs from the zone's first row 7"),
        ]

    PROMOTIONS = b"code,kind,percent,amount.USD,starts_at,ends_at,usage_limit,combinable\n"

    def test_codes_come_with_their_limits(self):
        rows, errors = read_promotions(
            self.PROMOTIONS + b"first100,percentage,20,,2024-01-01,2024-12-31T23:59:59+01:00,100,no\n"
        )
        assert errors == []
        promotion = rows[0].promotion("promo_1")
        assert (promotion.code, promotion.percent_ppm, promotion.usage_limit) == ("FIRST100", 200_000, 100)
        assert promotion.starts_at.isoformat() == "2024-01-01T00:00:00+00:00"
        assert not promotion.combinable

    @pytest.mark.parametrize(
        ("line", "column", "detail"),
        [
            ("X,percentage,,,,,,", None, "a percentage has a percent, and nothing else has"),
            ("X,fixed,,,,,,", None, "a fixed discount has amounts, and nothing else has"),
            ("X,free_shipping,,5,,,,", None, "a fixed discount has amounts, and nothing else has"),
            ("X,free_shipping,,,2025-01-01,2024-01-01,,", None, "ends_at must be after starts_at"),
            ("X,free_shipping,,,2024-01-01T00:00:00,,,", "starts_at", None),
            ("X,free_shipping,,,2024-13-01,,,", "starts_at", None),
            ("X,free_shipping,,,,,0,", "usage_limit", None),
            ("X,gift,,,,,,", "kind", None),
            ("X Y,free_shipping,,,,,,", "code", None),
        ],
    )
    def test_what_makes_no_promotion_is_named(self, line, column, detail):
        rows, errors = read_promotions(self.PROMOTIONS + line.encode() + b"\n")
        assert rows == []
        assert (errors[0].row, errors[0].column) == (2, column)
        assert detail is None or errors[0].detail == detail

    def test_a_code_twice_is_an_error_in_any_case(self):
        _, errors = read_promotions(self.PROMOTIONS + b"x,free_shipping,,,,,,\nX,free_shipping,,,,,,\n")
        assert faults(errors) == [(3, "code", "stands in row 2 already")]

    def test_rows_built_in_code_need_no_text(self):
        row = PromotionRow(row=2, code="x", kind="percentage", percent=100_000, usage_limit=5)
        assert row.promotion().percent_ppm == 100_000

    def test_locations_have_an_order(self):
        rows, errors = read_locations(b"code,title,priority\neast,East,0\nwest,West,1\neast,Again,2\n")
        assert [(row.code, row.priority) for row in rows] == [("east", 0), ("west", 1)]
        assert faults(errors) == [(4, "code", "stands in row 2 already")]

    def test_locations_are_somewhere(self):
        rows, errors = read_locations(
            b"code,title,country,region,postal_code\neast,East,US,NY,12207\nsouth,South,us,,\nwest,West,,NV,895\n"
        )
        assert [(row.country, row.region, row.postal_code) for row in rows] == [("US", "NY", "12207")]
        assert [(row, column) for row, column, _ in faults(errors)] == [(3, "country"), (4, None)]
