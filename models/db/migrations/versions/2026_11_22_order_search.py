"""order search: the words of every order, in the order of its pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from models.orders.search_terms import terms_of

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

BATCH = 1000

NEXT = sa.text("""
SELECT id, number, document -> 'lines' AS lines, email, shipping_address ->> 'name' AS recipient, placed_at FROM orders
WHERE id > :after ORDER BY id LIMIT :batch
""")

ADD = sa.text("""
INSERT INTO order_terms (term, placed_at, order_id)
SELECT * FROM unnest(CAST(:terms AS text[]), CAST(:times AS timestamptz[]), CAST(:ids AS text[]))
""")


def upgrade() -> None:
    op.create_table('order_terms',
    sa.Column('term', sa.Text(), nullable=False),
    sa.Column('placed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('order_id', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['order_id'], ['orders.id'], name=op.f('fk_order_terms_order_id_orders')),
    sa.PrimaryKeyConstraint('term', 'placed_at', 'order_id', name=op.f('pk_order_terms'))
    )
    op.create_index('ix_order_terms_order_id', 'order_terms', ['order_id'], unique=False)
    # A common word must be known as common, and there are more of those than the usual hundred.
    op.execute("ALTER TABLE order_terms ALTER COLUMN term SET STATISTICS 1000")
    # The newest orders are asked for most; a page that no vacuum has seen is read besides its index.
    op.execute("ALTER TABLE order_terms SET (autovacuum_vacuum_insert_scale_factor = 0.02)")
    op.drop_index('ix_orders_customer', table_name='orders')
    mine = sa.text('customer_id IS NOT NULL')
    op.create_index('ix_orders_customer', 'orders', ['customer_id', 'placed_at', 'id'], unique=False, postgresql_where=mine)
    op.create_index('ix_orders_customer_status', 'orders', ['customer_id', 'status', 'placed_at', 'id'], unique=False, postgresql_where=mine)
    op.create_index('ix_orders_status', 'orders', ['status', 'placed_at', 'id'], unique=False)
    _add_terms()


def _add_terms() -> None:
    """Of the orders that exist. `holdfast orders rebuild` adds those that old code places meanwhile."""
    connection = op.get_bind()
    after = ''
    while rows := connection.execute(NEXT, {'after': after, 'batch': BATCH}).all():
        found = [
            (term, row.placed_at, row.id)
            for row in rows
            for term in terms_of(
                row.number, [(line['sku'], line['title']) for line in row.lines], row.recipient, row.email
            )
        ]
        terms, times, ids = (list(column) for column in zip(*found, strict=True))
        connection.execute(ADD, {'terms': terms, 'times': times, 'ids': ids})
        after = rows[-1].id


def downgrade() -> None:
    op.drop_index('ix_orders_status', table_name='orders')
    op.drop_index('ix_orders_customer_status', table_name='orders', postgresql_where=sa.text('customer_id IS NOT NULL'))
    op.drop_index('ix_orders_customer', table_name='orders', postgresql_where=sa.text('customer_id IS NOT NULL'))
    op.create_index('ix_orders_customer', 'orders', ['customer_id', 'placed_at', 'id'], unique=False)
    op.drop_table('order_terms')
