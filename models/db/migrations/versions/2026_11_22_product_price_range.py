"""product price range."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('product_prices', sa.Column('highest', sa.BigInteger(), nullable=True))
    op.execute("""
        UPDATE product_prices pp SET highest = (
            SELECT max(vp.amount) FROM variants v JOIN variant_prices vp ON vp.sku = v.sku
            WHERE v.product_id = pp.product_id AND vp.currency = pp.currency)
    """)
    op.alter_column('product_prices', 'highest', nullable=False)


def downgrade() -> None:
    op.drop_column('product_prices', 'highest')
