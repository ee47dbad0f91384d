"""When an idle server stops: the one rule that pages and the culler share.

A server was started under its project's idle rules and keeps them: they are in its spawner's state (`aihub`:
`stopAfter`, `maxAge`), which the hub's API shows to who may read `admin:server_state`. Pure values in, values out.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

__all__ = ["CULLER_SCOPES", "activity_interval", "kept_rules", "patience", "stops_at"]

CULLER_SCOPES = ("list:users", "read:servers", "admin:server_state", "delete:servers")
"""What the culler's role needs: the names and servers of all, the rules in their state, and to stop them."""

SLOWEST = 300
"""Seconds between two reports of activity by a user server (JupyterHub's own default)."""


def stops_at(
    started: datetime, last_activity: datetime | None, stop_after: float | None, max_age: float | None
) -> datetime | None:
    """When a server will be stopped if nothing happens in it from now on; None when no rule stops it.

    `stop_after` and `max_age` are seconds; None or 0 is never. Without any activity the idle time counts from the
    start. All times are aware, or all are naive.
    """
    ends = []
    if stop_after:
        ends.append(max(started, last_activity or started) + timedelta(seconds=stop_after))
    if max_age:
        ends.append(started + timedelta(seconds=max_age))
    return min(ends, default=None)


def kept_rules(state: object) -> tuple[float | None, float | None]:
    """`stop_after` and `max_age` in seconds from a server's state; never stopped when the state does not say."""
    kept: Any = state.get("aihub") if isinstance(state, dict) else None
    if not isinstance(kept, dict):
        return None, None
    return _seconds(kept.get("stopAfter")), _seconds(kept.get("maxAge"))


def activity_interval(stop_after: float | None) -> int:
    """Seconds between two reports of activity to the hub (`JUPYTERHUB_ACTIVITY_INTERVAL` of the user server).

    A server that works all the time must be known to do so well before its idle time is over: four reports fit in.
    """
    return min(SLOWEST, max(5, int(stop_after / 4))) if stop_after else SLOWEST


def patience(stop_after: float | None) -> int:
    """Seconds after which a living server has reported for certain, once the hub can hear it.

    A report comes every `activity_interval`, give or take a tenth; a failed one is tried again within 15 seconds.
    """
    return 2 * activity_interval(stop_after) + 20


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return value
