"""reconciliation runs count the rows of the provider's list that are in no currency of the shop."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reconciliation_runs", sa.Column("skipped", sa.Integer(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.drop_column("reconciliation_runs", "skipped")
