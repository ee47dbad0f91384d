"""Quantities against the rules of apimachinery and a second parser; the laws of the vector."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kubernetes.utils import quantity as kubernetes_quantity

from aihub.errors import QuantityError
from aihub.resources import (
    CPU,
    MEMORY,
    SERVERS,
    STORAGE,
    Resources,
    format_amount,
    format_quantity,
    is_accelerator,
    parse_quantity,
    sort_keys,
)

# The client ships no annotations.
kubernetes_parse: Callable[[str], Decimal] = kubernetes_quantity.parse_quantity

# Written out from the documentation of resource.Quantity, independent of the table in the module.
SUFFIXES = {
    "n": Fraction(1, 1000000000),
    "u": Fraction(1, 1000000),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(1000),
    "M": Fraction(1000000),
    "G": Fraction(1000000000),
    "T": Fraction(1000000000000),
    "P": Fraction(1000000000000000),
    "E": Fraction(1000000000000000000),
    "Ki": Fraction(1024),
    "Mi": Fraction(1048576),
    "Gi": Fraction(1073741824),
    "Ti": Fraction(1099511627776),
    "Pi": Fraction(1125899906842624),
    "Ei": Fraction(1152921504606846976),
}

digits = st.text("0123456789", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("1.", "1"),
        (".5", "0.5"),
        ("007", "7"),
        ("500m", "0.5"),
        ("100u", "0.0001"),
        ("1n", "0.000000001"),
        ("2k", "2000"),
        ("3M", "3000000"),
        ("1E", "1000000000000000000"),
        ("2Gi", "2147483648"),
        ("1.5Gi", "1610612736"),
        ("0.1Ki", "102.4"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e+3", "1000"),
        ("1e-3", "0.001"),
        ("1.25e2", "125"),
        ("9223372036854775807", "9223372036854775807"),
        ("1234567890123456789012345678901234567.9", "1234567890123456789012345678901234567.9"),
    ],
)
def test_a_quantity_is_read_exactly(text: str, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 ",
        " 1",
        "1\n",
        "\t1",
        "1 Gi",
        "NaN",
        "nan",
        "sNaN",
        "Infinity",
        "inf",
        "-1",
        "-5Gi",
        "+1",
        "--1",
        "1_000",
        "1,5",
        "1'000",
        "１",
        "１Gi",
        "٣",
        "²",
        "1½",
        "1K",
        "1g",
        "1ki",
        "1mi",
        "1ni",
        "1kii",
        "1Gib",
        "1GB",
        "1B",
        "Gi",
        "m",
        ".",
        ".m",
        "1..5",
        "1.5.5",
        "1e",
        "1e+",
        "1e1.5",
        "1e3Ki",
        "1e3m",
        "1Ee3",
        "0x10",
        "1f",
        "1e99",
        "1e-99",
        "1e999999999",
        "1e-999999999",
        "1" * 41,
        "1\0",
        "1\N{RIGHT-TO-LEFT OVERRIDE}",
        "1\N{NO-BREAK SPACE}",
    ],
    ids=repr,
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


@pytest.mark.parametrize("value", [None, 1, 1.5, True, Decimal(1), b"1", ["1"]], ids=repr)
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(QuantityError, match="is not text"):
        parse_quantity(value)  # type: ignore[arg-type] # that is the test


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("-5Gi", "has a sign"),
        ("1K", "is not a quantity"),
        ("1e31", "has an exponent"),
        ("1" * 41, "long"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(QuantityError, match=problem):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1e999999999", "9" * 1_000_000, "1" * 500_000 + "Ei", "1e" + "9" * 1_000_000])
def test_a_huge_quantity_is_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(QuantityError):
        parse_quantity(text)
    assert time.perf_counter() - started < 0.5


@given(whole=digits, fraction=digits | st.none(), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_quantities_agree_with_the_table(whole: str, fraction: str | None, suffix: str) -> None:
    number = whole if fraction is None else f"{whole}.{fraction}"
    assert Fraction(parse_quantity(number + suffix)) == Fraction(number) * SUFFIXES[suffix]


@given(whole=digits, fraction=digits, exponent=st.integers(-30, 30), letter=st.sampled_from("eE"))
def test_decimal_exponents_agree_with_fractions(whole: str, fraction: str, exponent: int, letter: str) -> None:
    expected = Fraction(f"{whole}.{fraction}") * Fraction(10) ** exponent
    assert Fraction(parse_quantity(f"{whole}.{fraction}{letter}{exponent}")) == expected


@given(number=st.integers(0, 10**9).map(str), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_the_maintained_parser_reads_the_same(number: str, suffix: str) -> None:
    assert parse_quantity(number + suffix) == kubernetes_parse(number + suffix)


@given(text=st.text(max_size=50) | st.text("0123456789.eE+-numkMGTPEiK_ ", max_size=12))
def test_any_text_is_an_amount_or_a_refusal(text: str) -> None:
    try:
        amount = parse_quantity(text)
    except QuantityError:
        return
    assert amount.is_finite()
    assert amount >= 0
    # What passes the guard means the same to the maintained parser, up to the 28 digits that it keeps.
    assume(len(text) <= 20)
    assert amount == kubernetes_parse(text)


@pytest.mark.parametrize(
    ("key", "amount", "text"),
    [
        (MEMORY, "0", "0 B"),
        (MEMORY, "1", "1 B"),
        (MEMORY, "1023", "1023 B"),
        (MEMORY, "1024", "1 KiB"),
        (MEMORY, "2147483648", "2 GiB"),
        (MEMORY, "536870912", "512 MiB"),
        (MEMORY, "1610612736", "1.5 GiB"),
        (STORAGE, "10737418240", "10 GiB"),
        (STORAGE, "1500000000", "1.5 GB"),
        (STORAGE, "1000", "1 kB"),
        (STORAGE, "1572864000", "1500 MiB"),
        (MEMORY, "1073741825", "≈ 1 GiB"),
        (MEMORY, "123456789", "≈ 117.74 MiB"),
        (MEMORY, "-2147483648", "-2 GiB"),
        (CPU, "0.5", "0.5"),
        (CPU, "0.500", "0.5"),
        (CPU, "2", "2"),
        (CPU, "1E+1", "10"),
        (CPU, "0.125", "0.125"),
        (CPU, "0.33333", "≈ 0.33"),
        (CPU, "0.00001", "< 0.01"),
        (SERVERS, "3", "3"),
        (SERVERS, "0", "0"),
        (SERVERS, "-1", "-1"),
        ("nvidia.com/gpu", "4", "4"),
        ("nvidia.com/mig-1g.10gb", "1000", "1000"),
    ],
)
def test_amounts_are_written_for_people(key: str, amount: str, text: str) -> None:
    assert format_amount(key, Decimal(amount)) == text


@given(number=st.integers(1, 9999), suffix=st.sampled_from(["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"]))
def test_an_amount_without_a_sign_of_rounding_is_exact(number: int, suffix: str) -> None:
    amount = parse_quantity(f"{number}{suffix}")
    text, _, unit = format_amount(MEMORY, amount).partition(" ")
    assert text != "≈"
    assert Fraction(text) * SUFFIXES[unit.removesuffix("B")] == Fraction(amount)


@pytest.mark.parametrize(
    ("key", "amount", "text"),
    [
        (MEMORY, "2147483648", "2Gi"),
        (MEMORY, "1610612736", "1536Mi"),
        (MEMORY, "1500000000", "1500M"),
        (MEMORY, "1", "1"),
        (MEMORY, "1.2", "2"),
        (STORAGE, "0", "0"),
        (CPU, "0.5", "500m"),
        (CPU, "2", "2"),
        (CPU, "0.0005", "500u"),
        (CPU, "1E-10", "1n"),
        (SERVERS, "3", "3"),
        ("nvidia.com/gpu", "1000", "1000"),
    ],
)
def test_amounts_are_written_for_kubernetes(key: str, amount: str, text: str) -> None:
    assert format_quantity(key, Decimal(amount)) == text


@given(amount=st.integers(0, 2**63 - 1), key=st.sampled_from([MEMORY, STORAGE, SERVERS, "amd.com/gpu"]))
def test_whole_amounts_survive_the_way_through_kubernetes(amount: int, key: str) -> None:
    assert parse_quantity(format_quantity(key, Decimal(amount))) == amount


@given(amount=st.integers(0, 10**15))
def test_cpu_survives_the_way_through_kubernetes_to_the_nano(amount: int) -> None:
    cores = Decimal(amount).scaleb(-9)
    assert parse_quantity(format_quantity(CPU, cores)) == cores


def test_a_negative_amount_is_no_quantity() -> None:
    with pytest.raises(QuantityError, match="negative"):
        format_quantity(CPU, Decimal(-1))


@pytest.mark.parametrize(("key", "answer"), [("nvidia.com/gpu", True), ("cpu", False), ("storage", False)])
def test_accelerators_have_a_domain(key: str, answer: bool) -> None:
    assert is_accelerator(key) is answer


def test_keys_have_one_order() -> None:
    keys = ["storage", "nvidia.com/gpu", "memory", "amd.com/gpu", "cpu", "servers"]
    assert sort_keys(keys) == ["servers", "cpu", "memory", "amd.com/gpu", "nvidia.com/gpu", "storage"]


amounts = st.decimals(0, 10**15, places=9, allow_nan=False, allow_infinity=False)
keys = st.sampled_from([CPU, MEMORY, SERVERS, STORAGE, "nvidia.com/gpu", "amd.com/gpu"])
vectors = st.dictionaries(keys, amounts, max_size=6).map(Resources)


@given(one=vectors, two=vectors, three=vectors)
def test_addition_is_that_of_a_vector_space(one: Resources, two: Resources, three: Resources) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Resources() == one
    assert (one + two) - two == one
    assert not one - one


@given(one=vectors, key=keys)
def test_entries_that_are_zero_are_not_there(one: Resources, key: str) -> None:
    assert all(one.values())
    assert (key in one) == (one[key] != 0)
    assert Resources({**one, "nothing": 0}) == one
    assert list(one) == sort_keys(one)
    assert len(one) == len(list(one))


@given(one=vectors, two=vectors)
def test_equal_vectors_have_equal_hashes(one: Resources, two: Resources) -> None:
    same = Resources(dict(reversed(list(one.items()))))
    assert same == one
    assert hash(same) == hash(one)
    assert (one == two) == (dict(one) == dict(two))


def test_sums_are_not_rounded() -> None:
    large, small = parse_quantity("9999999999999999999999999999E"), parse_quantity("0.1n")
    total = Resources({CPU: large}) + Resources({CPU: small})
    assert (total - Resources({CPU: large}))[CPU] == small


def test_a_vector_is_no_mapping_of_another_kind() -> None:
    assert Resources({CPU: 1}) != {CPU: Decimal(1)}
    assert repr(Resources({CPU: 1})) == "Resources({'cpu': '1'})"


@given(one=vectors, chosen=st.sets(keys))
def test_only_keeps_what_was_asked_for(one: Resources, chosen: set[str]) -> None:
    part = one.only(chosen)
    assert set(part) == set(one) & chosen
    assert all(part[key] == one[key] for key in part)


@pytest.mark.parametrize(
    ("wants", "room", "exceeding"),
    [
        ({CPU: 1}, {CPU: 1}, []),
        ({CPU: 2}, {CPU: 1}, [CPU]),
        ({"nvidia.com/gpu": 1}, {CPU: 9}, ["nvidia.com/gpu"]),
        ({}, {}, []),
        ({MEMORY: 2, CPU: 2}, {CPU: 1, MEMORY: 1}, [CPU, MEMORY]),
    ],
)
def test_exceeding_names_the_keys_without_room(
    wants: dict[str, int], room: dict[str, int], exceeding: list[str]
) -> None:
    assert Resources(wants).exceeding(Resources(room)) == exceeding
