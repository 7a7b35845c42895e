"""Tables of products, prices, stock, taxes, shipping and discount codes.

Amounts are bigint minor units with a currency column, or JSON objects `{"USD": 599}` with one amount per currency.
A SKU never changes: prices, stock, carts and holds refer to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from models.catalogue.products import ProductStatus
from models.checkout.promotions import PromotionKind
from models.db.tables.base import id_column, json_column, metadata, one_of, time_column
from models.money import CURRENCIES

categories = Table(
    "categories",
    metadata,
    id_column(),
    Column("slug", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("parent_id", Text, ForeignKey("categories.id")),
    Column("position", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("parent_id <> id", name="parent"),
    Index("ix_categories_parent_id", "parent_id"),
)

products = Table(
    "products",
    metadata,
    id_column(),
    Column("slug", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("category_id", Text, ForeignKey("categories.id")),
    json_column("attributes", default="{}"),  # {"material": "Waxed cotton"}
    # For the filter `attr.X`: attributes and every variant's options, in lower case: {"color": ["moss", "rust"]}
    json_column("facets", default="{}"),
    json_column("images", default="[]"),
    Column("rating_sum", Integer, nullable=False, server_default=text("0")),
    Column("rating_count", Integer, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
    CheckConstraint(one_of("status", ProductStatus), name="status"),
    Index("ix_products_category", "category_id", "id"),
    Index("ix_products_newest", "id", postgresql_where=text("status = 'active'")),
    Index("ix_products_facets", "facets", postgresql_using="gin", postgresql_ops={"facets": "jsonb_path_ops"}),
)
Index("ix_products_title", func.lower(products.c.title), products.c.id)

variants = Table(
    "variants",
    metadata,
    id_column(),
    Column("product_id", Text, ForeignKey("products.id"), nullable=False),
    Column("sku", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    json_column("options", default="{}"),  # {"size": "M", "color": "Moss"}
    Column("backorderable", Boolean, nullable=False, server_default=text("false")),
    Column("position", Integer, nullable=False, server_default=text("0")),
    Index("ix_variants_product", "product_id", "position"),
)

variant_prices = Table(
    "variant_prices",
    metadata,
    Column("sku", Text, ForeignKey("variants.sku"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    PrimaryKeyConstraint("sku", "currency"),
    CheckConstraint("amount >= 0", name="amount"),
    CheckConstraint(one_of("currency", CURRENCIES), name="currency"),
)

# The price range of a product's variants. Derived, so that pages by price are keyset pages over an index.
product_prices = Table(
    "product_prices",
    metadata,
    Column("product_id", Text, ForeignKey("products.id"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("lowest", BigInteger, nullable=False),
    Column("highest", BigInteger, nullable=False),
    PrimaryKeyConstraint("product_id", "currency"),
    Index("ix_product_prices_lowest", "currency", "lowest", "product_id"),
)

stock_locations = Table(
    "stock_locations",
    metadata,
    Column("code", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("priority", Integer, nullable=False, server_default=text("0")),  # lower comes first
    # Its address, for distances and labels: ISO 3166-1 alpha-2, ISO 3166-2's second part.
    Column("country", Text),
    Column("region", Text),
    Column("postal_code", Text),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
)

stock_levels = Table(
    "stock_levels",
    metadata,
    Column("sku", Text, ForeignKey("variants.sku"), nullable=False),
    Column("location", Text, ForeignKey("stock_locations.code"), nullable=False),
    Column("on_hand", Integer, nullable=False),
    Column("reserved", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("sku", "location"),
    CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="reserved"),
    postgresql_with={"fillfactor": 70},  # updated by every sale: leaves room for heap-only updates
)

stock_adjustments = Table(
    "stock_adjustments",
    metadata,
    id_column(),
    Column("sku", Text, ForeignKey("variants.sku"), nullable=False),
    Column("location", Text, ForeignKey("stock_locations.code"), nullable=False),
    Column("delta", Integer, nullable=False),
    Column("on_hand", Integer, nullable=False),  # after the adjustment
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),  # `staff:usr_…`, `machine:key_…`, `import`
    time_column("at", default_now=True),
    CheckConstraint("delta <> 0", name="delta"),
    Index("ix_stock_adjustments_sku", "sku", "id"),
)

tax_rates = Table(
    "tax_rates",
    metadata,
    Column("country", Text, nullable=False),
    Column("region", Text, nullable=False, server_default=text("''")),  # '': the whole country
    Column("name", Text, nullable=False),
    Column("rate_ppm", Integer, nullable=False),
    Column("inclusive", Boolean, nullable=False),
    Column("applies_to_shipping", Boolean, nullable=False),
    PrimaryKeyConstraint("country", "region", "name"),
    CheckConstraint("rate_ppm BETWEEN 0 AND 1000000", name="rate_ppm"),
)

# Zones and options have the merchant's ids (`us-express`): short, and stable across imports.
shipping_zones = Table(
    "shipping_zones",
    metadata,
    id_column(),
    Column("title", Text, nullable=False),
    Column("places", ARRAY(Text), nullable=False),  # `US-HI`, `US`, `*`
)

shipping_options = Table(
    "shipping_options",
    metadata,
    id_column(),
    Column("zone_id", Text, ForeignKey("shipping_zones.id"), nullable=False),
    Column("title", Text, nullable=False),
    json_column("prices"),
    json_column("free_over", default="{}"),
    Column("min_days", Integer, nullable=False),
    Column("max_days", Integer, nullable=False),
    CheckConstraint("min_days BETWEEN 0 AND max_days", name="days"),
    Index("ix_shipping_options_zone_id", "zone_id"),
)

promotions = Table(
    "promotions",
    metadata,
    id_column(),
    Column("code", Text, nullable=False, unique=True),  # upper case
    Column("kind", Text, nullable=False),
    Column("percent_ppm", Integer),
    json_column("amounts", default="{}"),
    json_column("minimum_subtotal", default="{}"),
    time_column("starts_at", nullable=True),
    time_column("ends_at", nullable=True),
    Column("usage_limit", Integer),
    Column("used", Integer, nullable=False, server_default=text("0")),
    Column("per_customer_limit", Integer),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("combinable", Boolean, nullable=False, server_default=text("true")),
    CheckConstraint(one_of("kind", PromotionKind), name="kind"),
    CheckConstraint("code = upper(code)", name="code"),
    CheckConstraint("used >= 0 AND (usage_limit IS NULL OR used <= usage_limit)", name="used"),
    postgresql_with={"fillfactor": 70},
)
