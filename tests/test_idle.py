from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.idle import activity_interval, kept_rules, patience, stops_at

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(hour: int, minute: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute)


@pytest.mark.parametrize(
    ("last", "stop_after", "max_age", "expected"),
    [
        pytest.param(at(12, 20), None, None, None, id="no rule"),
        pytest.param(at(12, 20), 0, 0, None, id="zero is no rule"),
        pytest.param(at(12, 20), 1800, None, at(12, 50), id="idle since the last activity"),
        pytest.param(None, 1800, None, at(12, 30), id="no activity yet: idle since the start"),
        pytest.param(at(9), 1800, None, at(12, 30), id="activity of an earlier server"),
        pytest.param(at(12, 20), None, 7200, at(14), id="age, whatever happens in it"),
        pytest.param(at(12, 20), 1800, 7200, at(12, 50), id="idle first"),
        pytest.param(at(13, 50), 1800, 7200, at(14), id="age first"),
    ],
)
def test_stops_at(
    last: datetime | None, stop_after: float | None, max_age: float | None, expected: datetime | None
) -> None:
    assert stops_at(NOON, last, stop_after, max_age) == expected


@pytest.mark.parametrize(
    ("state", "rules"),
    [
        ({"aihub": {"stopAfter": 600, "maxAge": 3600.5}}, (600, 3600.5)),
        ({"aihub": {"stopAfter": None, "maxAge": 60}}, (None, 60)),
        ({"aihub": {}}, (None, None)),
        ({"aihub": None}, (None, None)),
        ({"aihub": {"stopAfter": 0, "maxAge": -1}}, (None, None)),
        ({"aihub": {"stopAfter": True, "maxAge": "60"}}, (None, None)),
        ({"aihub": {"stopAfter": float("nan")}}, (None, None)),
        ({}, (None, None)),
        (None, (None, None)),
    ],
)
def test_rules_from_a_servers_state(state: object, rules: tuple[float | None, float | None]) -> None:
    assert kept_rules(state) == rules


@pytest.mark.parametrize(
    ("stop_after", "seconds"), [(None, 300), (7200, 300), (1200, 300), (600, 150), (10, 5), (1, 5)]
)
def test_activity_interval(stop_after: float | None, seconds: int) -> None:
    assert activity_interval(stop_after) == seconds


@given(st.floats(min_value=20, max_value=1e6))
def test_a_busy_server_reports_before_it_would_count_as_idle(stop_after: float) -> None:
    """Two reports late at once, with the tenth of jitter that jupyterhub-singleuser adds, still come in time."""
    slowest = 1.1 * activity_interval(stop_after)
    assert 2 * slowest < stop_after
    assert slowest + 15 < patience(stop_after)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_activity_never_stops_a_server_earlier(later: int, stop_after: int, max_age: int) -> None:
    last = NOON + timedelta(seconds=later)
    before, after = stops_at(NOON, NOON, stop_after, max_age), stops_at(NOON, last, stop_after, max_age)
    assert before
    assert after
    assert before <= after <= NOON + timedelta(seconds=max_age)
