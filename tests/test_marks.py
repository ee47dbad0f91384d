from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aihub.marks import (
    ADMISSION,
    CLAIM,
    HELD,
    OWNER,
    SERVER,
    Component,
    Identity,
    admission_of,
    claim_mark,
    claim_name,
    claim_ours,
    held_claim,
    is_claim_name,
    labels,
    owner_of,
    selector,
    server_name,
    server_ours,
)
from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim, HeldClaim

HUB = Identity("hub/aihub", "aihub")
OTHER = Identity("hub/aihub2", "aihub2")
DNS_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")

PEOPLE = (
    "ann",
    "Ann",
    "ANN",
    "änn",
    "a-nn",
    "a.nn",
    "안나",
    "安娜",
    "ann@example.org",
    "x" * 300,
    "x" * 301,
    "-",
    "\ud800",
)


@pytest.mark.parametrize("person", PEOPLE, ids=ascii)
@pytest.mark.parametrize("server", ["", "two", "a-b"])
def test_names_are_dns_labels(person: str, server: str) -> None:
    names = (
        server_name(HUB, person, server),
        claim_name(HUB, f"home/{person}"),
        claim_name(HUB, f"home/ml101/{person}"),
        claim_name(HUB, f"project/{person}"),
    )
    for name in names:
        assert DNS_LABEL.fullmatch(name), name


def test_names_tell_people_what_they_are() -> None:
    assert re.fullmatch(r"server-ann-gpu-[0-9a-f]{20}", server_name(HUB, "ann", "gpu"))
    assert re.fullmatch(r"home-ml101-ann-[0-9a-f]{20}", claim_name(HUB, "home/ml101/ann"))
    assert re.fullmatch(r"project-ml101-[0-9a-f]{20}", claim_name(HUB, "project/ml101"))
    assert re.fullmatch(r"server-[0-9a-f]{20}", server_name(HUB, "안나"))


def test_names_never_change() -> None:
    # Claims of a hub that is running are found by these.
    assert claim_name(HUB, "home/ann") == "home-ann-2891b08f293fd63e4652"
    assert server_name(HUB, "ann") == "server-ann-1ba00d7cc1df52a484d9"


def test_different_things_have_different_names() -> None:
    keys = [(hub, person, server) for hub in (HUB, OTHER) for person in (*PEOPLE, "a") for server in ("", "nn", "b")]
    assert len({server_name(*key) for key in keys}) == len(keys)
    ids = [f"{kind}/{person}" for kind in ("home", "home/a", "project") for person in PEOPLE]
    assert len({claim_name(hub, each) for hub in (HUB, OTHER) for each in ids}) == 2 * len(ids)


@given(st.text(), st.text(), st.text(), st.text())
def test_two_servers_share_no_name(person: str, server: str, other: str, second: str) -> None:
    same = (person, server) == (other, second)
    assert (server_name(HUB, person, server) == server_name(HUB, other, second)) is same


def test_a_person_and_a_server_are_kept_apart() -> None:
    assert server_name(HUB, "ann", "b-c") != server_name(HUB, "ann-b", "c")
    assert server_name(HUB, "ann-", "b") != server_name(HUB, "ann", "-b")


@pytest.mark.parametrize("claim", ["", "home", "home/", "dataset/x", "Home/ann", "/ann"])
def test_what_is_no_claim_has_no_name(claim: str) -> None:
    with pytest.raises(ValueError, match="not the id of a claim"):
        claim_name(HUB, claim)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (claim_name(HUB, "home/ann"), True),
        (claim_name(OTHER, "project/안"), True),
        ("home-ann", False),
        ("datasets", False),
        (f"scratch-{'0' * 20}", False),
    ],
)
def test_names_of_claims_are_recognized(name: str, ours: bool) -> None:
    assert is_claim_name(name) is ours


def pod(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


def test_a_server_is_ours_by_its_annotations_only() -> None:
    good = pod(**{OWNER: owner_of(HUB, "ann"), SERVER: "gpu"})
    assert server_ours(good, HUB, "ann", "gpu")
    assert not server_ours(good, HUB, "ann")
    assert not server_ours(good, HUB, "bob", "gpu")
    assert not server_ours(good, OTHER, "ann", "gpu")
    assert not server_ours({"metadata": {"name": server_name(HUB, "ann", "gpu")}}, HUB, "ann", "gpu")


def test_a_claim_is_ours_by_its_annotation_only() -> None:
    good = pod(**{CLAIM: claim_mark(HUB, "home/ann")})
    assert claim_ours(good, HUB, "home/ann")
    assert not claim_ours(good, OTHER, "home/ann")
    assert not claim_ours(good, HUB, "home/ml101/ann")
    assert not claim_ours({"metadata": {"name": claim_name(HUB, "home/ann")}}, HUB, "home/ann")


@pytest.mark.parametrize(
    "document", [{}, {"metadata": None}, {"metadata": []}, {"metadata": {"annotations": "x"}}], ids=str
)
def test_what_carries_nothing_is_nobodys(document: dict[str, Any]) -> None:
    assert not server_ours(document, HUB, "ann")
    assert not claim_ours(document, HUB, "home/ann")
    assert admission_of(document) is None
    assert held_claim(document) is None


@pytest.mark.parametrize(
    ("project", "label"),
    [
        ("ml101", "ml101"),
        ("a.b_c-d", "a.b_c-d"),
        ("", None),
        ("물리", None),
        ("-a", None),
        ("x" * 64, None),
        ("a\n", None),
    ],
)
def test_the_project_is_a_label_where_it_can_be(project: str, label: str | None) -> None:
    assert labels(HUB, Component.USER_SERVER, project).get("aihub.io/project") == label


def test_labels_meet_their_selector() -> None:
    for component in Component:
        found = labels(HUB, component)
        assert all(
            found[key] == value
            for key, _, value in (part.partition("=") for part in selector(HUB, component).split(","))
        )
        assert labels(OTHER, component)["aihub.io/hub"] != found["aihub.io/hub"]
    assert re.fullmatch(r"[0-9a-f]{20}", HUB.mark)


HELD_CLAIM = HeldClaim(
    Claim("home/ann", Resources({"storage": 5})["storage"], Amounts(user=Resources({"storage": 5}))), "ann", "ml101"
)


def test_a_held_claim_is_read_back() -> None:
    assert held_claim(pod(**{HELD: json.dumps(HELD_CLAIM.as_dict())})) == HELD_CLAIM


def changed(**changes: Any) -> str:
    document = HELD_CLAIM.as_dict()
    for path, value in changes.items():
        inner = document["claim"] if path in document["claim"] else document
        inner[path] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        "[" * 100_000,
        changed(claim=None),
        changed(size="NaN"),
        changed(size="-1"),
        changed(size="Infinity"),
        changed(size="1e400000"),
        changed(size={}),
        changed(charge=[]),
        changed(charge=[{}, {}, 5]),
        changed(charge=[{"storage": "NaN"}, {}, {}]),
        changed(charge=[{"storage": "-5"}, {}, {}]),
        changed(charge="abc"),
        changed(person=5),
        changed(person=""),
        changed(project=None),
        changed(id=None),
    ],
    ids=lambda text: text[:60] or "empty",
)
def test_garbage_is_no_held_claim(text: str) -> None:
    assert held_claim(pod(**{HELD: text})) is None


@given(
    st.text(max_size=50) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps)
)
def test_reading_back_never_raises(text: str) -> None:
    held_claim(pod(**{HELD: text}))
    assert admission_of(pod(**{ADMISSION: text})) is None


def test_an_admission_is_read_back() -> None:
    assert admission_of(pod(**{ADMISSION: '{"image": "a:1"}'})) == {"image": "a:1"}
