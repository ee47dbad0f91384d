"""Reservations, and instructors' decisions with their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "reservation",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("server_name", sa.String, nullable=False),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("charge", sa.JSON, nullable=False),
        sa.Column("claims", sa.JSON, nullable=False),
        sa.Column("accelerator", sa.String),
        sa.Column("devices", sa.JSON, nullable=False),
        sa.Column("object_name", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double),
        sa.Column("closed", sa.Double),
    )
    op.create_index("reservation_closed", "reservation", ["closed"])
    op.create_table(
        "image_decision",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("reference", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("successor", sa.String),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("updated_by", sa.String, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "project_choice",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("default_reference", sa.String),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_table(
        "decision_history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("reference", sa.String),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undo_of", sa.Integer),
    )
    op.create_index("decision_history_project", "decision_history", ["project", "id"])
    op.create_index("decision_history_undo_of", "decision_history", ["undo_of"])
