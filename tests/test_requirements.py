from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.requirements import check_requirement, normalised


@pytest.mark.parametrize(
    "text",
    ["numpy", "numpy==2.1", "torch >=2, <3", "jupyterlab[extra1,extra2]~=4.2", "a; python_version < '4'",
     "a @ https://example.org/a-1.0-py3-none-any.whl"],
)  # fmt: skip
def test_accepted(text: str) -> None:
    assert check_requirement(text) is None
    assert len(normalised([text])) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("-r other.txt", "option"),
        ("  --index-url=https://example.org", "option"),
        ("-e .", "option"),
        (".", "not a requirement"),
        ("./folder", "not a requirement"),
        ("numpy==", "not a requirement"),
        ("numpy --no-deps", "not a requirement"),
        ("numpy 2.1", "not a requirement"),
        ("# comment", "not a requirement"),
        ("0_", "not a requirement"),
        ("a[b_]", "not a requirement"),
        ("a @ file:///etc/passwd", "https"),
        ("a @ git+https://example.org/a", "https"),
        ("numpy\n--index-url x", "characters"),
        ("numpy\x00", "characters"),
        ("\u202enumpy", "characters"),
        ("nümpy", "characters"),
        ("a" * 501, "longer"),
    ],
)
def test_refused(text: str, word: str) -> None:
    problem = check_requirement(text)
    assert problem is not None
    assert word in problem
    assert "\n" not in problem


@given(st.text(max_size=40))
def test_never_raises_and_what_it_accepts_can_be_normalised(text: str) -> None:
    if check_requirement(text) is None:
        (spelled,) = normalised([text])
        assert not spelled.startswith("-")
        assert normalised([spelled]) == (spelled,)


def test_normalised_is_sorted_and_has_each_once() -> None:
    assert normalised(["b", "A_x [Q,p] >1 ,<2", "b"]) == ("a-x[p,q]<2,>1", "b")
