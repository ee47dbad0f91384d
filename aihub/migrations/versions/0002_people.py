"""Whose a user name is at the provider of sign-in, and whose a session there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of people."""
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released", sa.DateTime(timezone=True)),
    )
    held = sa.text("released IS NULL")
    for index, columns in {"identity_name": ["name"], "identity_subject": ["issuer", "subject"]}.items():
        op.create_index(index, "identity", columns, unique=True, sqlite_where=held, postgresql_where=held)
    op.create_table(
        "provider_session",
        sa.Column("issuer", sa.String, primary_key=True),
        sa.Column("session", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("provider_session_at", "provider_session", ["at"])
