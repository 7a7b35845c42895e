"""leases of periodic work; indexes for the uses of a promotion and for the tasks of a subject."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_index("ix_promotion_uses_checkout_id", "promotion_uses", ["checkout_id"])
    op.create_index(
        "ix_promotion_uses_customer",
        "promotion_uses",
        ["customer_id", "promotion_id"],
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.create_index("ix_tasks_subject", "tasks", ["subject", "kind", "id"])


def downgrade() -> None:
    op.drop_index("ix_tasks_subject", "tasks")
    op.drop_index("ix_promotion_uses_customer", "promotion_uses")
    op.drop_index("ix_promotion_uses_checkout_id", "promotion_uses")
    op.drop_table("leases")
