"""Small policies for tests that need a plan."""

from __future__ import annotations

from datetime import UTC, datetime

from aihub.catalog import Catalog, ImageStream, ImageTag

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def one_image(*requirements: str) -> Catalog:
    """A catalog with the one image "tiny:1"."""
    return Catalog({"tiny": ImageStream("tiny", tags=(ImageTag("1", requirements=requirements),))})
