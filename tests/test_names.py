"""Names that are safe and never shared."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.slugs import is_valid_safe_slug

from aihub.names import ServerNameProblem, safe_name, server_name_problem, suggest_server_name

SAFE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@pytest.mark.parametrize("name", ["alice", "ml101", "42", "a", "data-lab", "a" * 63, "x-1-y"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("Alice", "alice-"),
        ("alice@example.org", "alice-example-org-"),
        ("Zoë Müller", "zoe-muller-"),
        ("../../etc/passwd", "etc-passwd-"),
        ("a--b", "a-b-"),
        ("-a", "a-"),
        ("a-", "a-"),
        ("a" * 100, "a" * 42 + "-"),
        ("홍길동", ""),
        ("", ""),
        ("\0", ""),
        ("\ud800", ""),
    ],
)
def test_any_other_name_is_made_safe_and_keeps_what_it_can(text: str, start: str) -> None:
    name = safe_name(text)
    assert name.startswith(start)
    assert re.fullmatch(r"[a-z2-7]{20}", name.removeprefix(start))


@given(st.text(max_size=120))
def test_a_safe_name_is_a_dns_label_without_double_hyphens(text: str) -> None:
    name = safe_name(text)
    assert SAFE.fullmatch(name)
    assert len(name) <= 63
    assert name == safe_name(text)


near = st.text("aAbB1-_@. é", max_size=6)


@given(near, near)
def test_two_texts_never_share_a_name(one: str, two: str) -> None:
    assert (safe_name(one) == safe_name(two)) == (one == two)


@given(st.text(max_size=80))
def test_nobody_can_choose_the_name_that_another_text_gets(text: str) -> None:
    name = safe_name(text)
    assert name == text or safe_name(name) != name


def test_many_names_are_all_distinct() -> None:
    texts = [f"{prefix}{number}" for number in range(20_000) for prefix in ("user", "User", "USER ", "user@", "usér")]
    assert len({safe_name(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("alice", "Alice"),
        ("é", "e\N{COMBINING ACUTE ACCENT}"),
        ("K", "\N{KELVIN SIGN}"),
        ("a" * 100, "a" * 101),
        ("ml101", "ml101 "),
    ],
)
def test_names_that_look_alike_stay_apart_on_every_file_system(one: str, two: str) -> None:
    assert safe_name(one).casefold() != safe_name(two).casefold()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpu", None),
        ("a", None),
        ("a1-b2", None),
        ("a" * 30, None),
        ("", ServerNameProblem.EMPTY),
        ("a" * 31, ServerNameProblem.TOO_LONG),
        ("Gpu", ServerNameProblem.CHARACTERS),
        ("my server", ServerNameProblem.CHARACTERS),
        ("a_b", ServerNameProblem.CHARACTERS),
        ("gpu\n", ServerNameProblem.CHARACTERS),
        ("gpù", ServerNameProblem.CHARACTERS),
        ("1a", ServerNameProblem.START),
        ("-a", ServerNameProblem.START),
        ("a-", ServerNameProblem.END),
        ("a--b", ServerNameProblem.DOUBLE_HYPHEN),
    ],
)
def test_server_names_keep_the_rule_of_the_hub(name: str, found: ServerNameProblem | None) -> None:
    assert server_name_problem(name) is found


@given(st.text(max_size=40) | st.text("ab1-A ", max_size=34))
def test_the_rule_is_the_hubs_own(name: str) -> None:
    # The hub's own check lets a newline at the end pass, because `$` matches before it.
    assert (server_name_problem(name) is None) == (is_valid_safe_slug(name) and not name.endswith("\n"))


@pytest.mark.parametrize(
    ("text", "taken", "name"),
    [
        ("GPU Lab", (), "gpu-lab"),
        ("2nd try", (), "server-2nd-try"),
        ("홍", (), "server"),
        ("", (), "server"),
        ("gpu", ("gpu",), "gpu-2"),
        ("gpu", ("gpu", "gpu-2"), "gpu-3"),
        ("a" * 40, ("a" * 30,), "a" * 28 + "-2"),
    ],
)
def test_a_suggestion_is_near_and_free(text: str, taken: tuple[str, ...], name: str) -> None:
    assert suggest_server_name(text, taken) == name


@given(st.text(max_size=60), st.sets(st.sampled_from(["server", "a", "a-2", "b"])))
def test_every_suggestion_can_be_used(text: str, taken: set[str]) -> None:
    name = suggest_server_name(text, taken)
    assert server_name_problem(name) is None
    assert name not in taken
