"""Which shared passwords are good enough, and how guessing is slowed down."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.passwords import (
    ADMIN_PASSWORD,
    USER_PASSWORD,
    Brake,
    PasswordError,
    Passwords,
    TooManyAttemptsError,
    door,
    same,
)

GOOD = {USER_PASSWORD: "x" * 8, ADMIN_PASSWORD: "y" * 32}


def test_passwords_come_from_the_environment() -> None:
    assert Passwords.of(GOOD) == Passwords("x" * 8, "y" * 32)


def test_no_log_shows_them_by_accident() -> None:
    assert "x" * 8 not in repr(Passwords.of(GOOD))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            {USER_PASSWORD: ""}, "AIHUB_USER_PASSWORD (the key userPassword of the Secret) is missing", id="user"
        ),
        pytest.param(
            {USER_PASSWORD: "x" * 7}, "(the key userPassword of the Secret) has 7 characters", id="short user"
        ),
        pytest.param({ADMIN_PASSWORD: ""}, "(the key adminPassword of the Secret) is missing", id="admin"),
        pytest.param({ADMIN_PASSWORD: "y" * 31}, "has 31 characters, and at least 32 are needed", id="short admin"),
        pytest.param({USER_PASSWORD: "y" * 32}, "everybody would be an admin", id="the same"),
    ],
)
def test_what_is_not_good_enough_is_refused_with_its_key(change: dict[str, str], problem: str) -> None:
    with pytest.raises(PasswordError, match=re.escape(problem)) as caught:
        Passwords.of({**GOOD, **change})
    assert "aihub secrets" in str(caught.value)
    assert "yyy" not in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_an_empty_environment_is_refused() -> None:
    with pytest.raises(PasswordError, match="is missing"):
        Passwords.of({})


@given(st.text(), st.text())
def test_any_two_texts_can_be_compared(one: str, other: str) -> None:
    assert same(one, other) is (one == other)
    assert same(one, one)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        pytest.param("10.0.0.1", "10.0.0.2", False, id="neighbours"),
        pytest.param("2001:db8::1", "2001:db8::ffff", True, id="one network of IPv6"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two networks of IPv6"),
        pytest.param("::ffff:10.0.0.1", "::ffff:10.0.0.2", False, id="IPv4 written as IPv6"),
        pytest.param("::ffff:10.0.0.1", "10.0.0.1", True, id="IPv4 both ways"),
        pytest.param(None, "", True, id="not known"),
        pytest.param("/run/socket", "", True, id="no address"),
    ],
)
def test_a_door_is_a_name_and_a_network(one: str | None, other: str, equal: bool) -> None:
    assert (door("ada", one) == door("ada", other)) is equal
    assert door("ada", one) != door("bob", one)


def test_a_door_is_small() -> None:
    assert len(door("x" * 10**6, "10.0.0.1")) < 300


# --- the brake -------------------------------------------------------------------------------------------------------


def in_a_row(brake: Brake, attempts: int, at: float = 0) -> list[float]:
    """What each of so many attempts, one after the other and all wrong, waits."""
    waits = []
    for _ in range(attempts):
        waits.append(brake.attempt("ada", at))
        at += waits[-1]
    return waits


def test_a_few_mistakes_cost_nothing_and_more_cost_twice_as_much_each_time() -> None:
    assert in_a_row(Brake(), 12) == [0, 0, 0, 0, 0, 0, 0.5, 1, 2, 4, 4, 4]


def test_asking_many_times_at_once_does_not_help() -> None:
    brake, waits, refused = Brake(), [], []
    for _ in range(1000):
        try:
            waits.append(brake.attempt("ada", 0))
        except TooManyAttemptsError as error:
            refused.append(error.wait)
    assert waits == [0, 0, 0, 0, 0, 0, 0.5, 1.5, 3.5, 7.5]
    assert set(refused) == {2}


def test_whoever_was_turned_away_gets_in_after_the_wait_that_was_named() -> None:
    brake = Brake()
    for _ in range(10):
        brake.attempt("ada", 0)
    with pytest.raises(TooManyAttemptsError) as caught:
        brake.attempt("ada", 0)
    assert brake.attempt("ada", caught.value.wait) <= brake.row


def test_a_right_password_clears_the_door() -> None:
    brake = Brake()
    in_a_row(brake, 9)
    brake.right("ada")
    assert len(brake) == 0
    assert in_a_row(brake, 5) == [0] * 5


def test_a_rest_clears_the_door() -> None:
    brake = Brake(forget=300)
    in_a_row(brake, 8)
    assert brake.attempt("ada", 100) == 0
    assert in_a_row(brake, 2, at=104.1) == [0, 4]
    assert in_a_row(brake, 6, at=1000) == [0] * 6


def test_one_door_does_not_slow_another() -> None:
    brake = Brake()
    in_a_row(brake, 12)
    assert brake.attempt("bob", 0) == 0


def test_what_is_remembered_is_bounded_and_the_longest_unused_is_forgotten() -> None:
    brake = Brake(doors=3)
    in_a_row(brake, 8)
    for name in ("a", "b"):
        brake.attempt(name, 10)
    assert brake.attempt("ada", 10) == 0
    brake.attempt("c", 10)
    assert len(brake) == 3
    assert brake.attempt("ada", 10) > 0
    assert brake.attempt("a", 10) == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20), st.booleans()), max_size=60))
def test_no_wait_is_longer_than_the_row_and_one_pause(steps: list[tuple[str, float, bool]]) -> None:
    brake, now = Brake(), 0.0
    for name, later, right in steps:
        now += later
        try:
            wait = brake.attempt(name, now)
        except TooManyAttemptsError as error:
            wait = error.wait
        assert 0 <= wait <= brake.row
        if right:
            brake.right(name)


@given(st.lists(st.floats(0, 1), max_size=200))
def test_one_door_takes_a_few_guesses_and_then_one_in_four_seconds(gaps: list[float]) -> None:
    brake, now, looked_at = Brake(), 0.0, []
    for gap in gaps:
        now += gap
        try:
            looked_at.append(now + brake.attempt("ada", now))
        except TooManyAttemptsError:
            continue
    assert all(later - earlier >= 3.99 for earlier, later in pairwise(looked_at[9:]))
