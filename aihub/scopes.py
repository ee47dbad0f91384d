"""The custom scopes of AIHub: what a token must be granted to use our routes.

People have them through the role `user`; the token of a running server has neither (upstream.md 40).
"""

from __future__ import annotations

__all__ = ["DECIDE_SCOPE", "READ_SCOPE"]

READ_SCOPE = "custom:aihub:read"
DECIDE_SCOPE = "custom:aihub:decide"
