"""All benchmarks, one after the other."""

from __future__ import annotations

from tests.bench import starts

starts.main()
