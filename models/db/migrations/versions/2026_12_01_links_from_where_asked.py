"""links and account requests remember the network of who asked, so that nobody else brings into force what was typed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account_requests", sa.Column("asked_from", sa.Text()))
    op.add_column("links", sa.Column("asked_from", sa.Text()))


def downgrade() -> None:
    op.drop_column("links", "asked_from")
    op.drop_column("account_requests", "asked_from")
