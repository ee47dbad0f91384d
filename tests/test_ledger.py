"""What the ledger admits, holds and frees, and what the rows around it do when things go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from aihub.errors import Reason, Refusal, StoreError
from aihub.facts import Machine, Usage
from aihub.ledger import Admissions, Entry, HeldClaim, Ledger, Phase, Request, Room, ServerKey
from aihub.plan import Plan
from aihub.profiles import Placement
from aihub.projects import IdleRules
from aihub.quota import Amounts, Quotas
from aihub.resources import Resources
from aihub.storage import Claim
from aihub.text import Text
from tests.ledger_rig import Outcome, Process, Rows

GPU = "nvidia.com/gpu"
GI = Decimal(1024**3)
NOTHING = Resources()
SMALL = Resources({"servers": 1, "cpu": Decimal("0.5"), "memory": GI})
WITH_GPU = Resources({"servers": 1, "cpu": 1, "memory": 2 * GI, GPU: 1})
WITH_TWO = Resources({"servers": 1, "cpu": 1, "memory": 2 * GI, GPU: 2})
ROOM = Room("here", Resources({"cpu": 4, "memory": 8 * GI}), {GPU: ("g0", "g1", "g2")})
ADA, BO = ServerKey("ada"), ServerKey("bo")


def storage(size: Decimal | int) -> Resources:
    return Resources({"storage": size})


def home(person: str = "ada", size: Decimal | None = GI) -> Claim:
    return Claim(f"home/{person}", size, Amounts(user=storage(size or 0)))


def folder(project: str = "ml", size: Decimal = 5 * GI) -> Claim:
    return Claim(f"project/{project}", size, Amounts(project=storage(size)))


def project_home(size: Decimal) -> Claim:
    return Claim("home/ml/ada", size, Amounts.everywhere(storage(size)))


def request(server: ServerKey = ADA, project: str = "ml", charge: Resources = SMALL, **given: Any) -> Request:
    accelerator = GPU if charge[GPU] else None
    return Request(server, project, charge, **{"deadline": 60.0, "accelerator": accelerator, **given})


def counting() -> Callable[[], str]:
    numbers = iter(range(1, 1000))
    return lambda: f"r{next(numbers)}"


def ready(room: Room | None = None) -> Ledger:
    ledger = Ledger(room, new_id=counting())
    assert ledger.rebuild((), now=0.0) == ()
    return ledger


def admitted(outcome: Entry | Refusal) -> Entry:
    assert isinstance(outcome, Entry), outcome
    return outcome


def used(ledger: Ledger, person: str = "ada", project: str = "ml") -> Amounts:
    usage = ledger.usage(person)
    assert usage is not None
    return usage.at(project)


# --- reserve ---------------------------------------------------------------------------------------------------------


def test_an_admitted_start_is_held_as_it_was_asked_for() -> None:
    ledger = ready(ROOM)
    entry = ledger.reserve(
        request(ServerKey("ada", "two"), "ml", WITH_GPU, claims=(home(), folder()), deadline=77.5, object_name="ns/pod")
    )
    assert entry == Entry(
        "r1",
        ServerKey("ada", "two"),
        "ml",
        WITH_GPU,
        (home(), folder()),
        GPU,
        ("g0",),
        Phase.RESERVED,
        77.5,
        "ns/pod",
        "",
    )
    assert ledger.entries() == (entry,)
    assert ledger.get("r1") == entry
    assert ledger.find(ServerKey("ada", "two")) == entry
    assert ledger.find(ADA) is None
    assert ledger.get("r2") is None


def test_ids_are_unique_without_being_told() -> None:
    ledger = Ledger()
    ledger.rebuild((), now=0)
    ids = {admitted(ledger.reserve(request(ServerKey("ada", f"s{number}")))).id for number in range(20)}
    assert len(ids) == 20
    assert all(len(name) == 32 for name in ids)


def test_a_start_counts_at_its_three_levels_and_nowhere_else() -> None:
    ledger = ready()
    ledger.reserve(request(ADA, "ml", claims=(home(), folder())))
    ledger.reserve(request(ServerKey("ada", "two"), "lab"))
    ledger.reserve(request(BO, "ml"))
    assert ledger.usage("ada") == Usage(
        {"ml": SMALL + SMALL + storage(5 * GI), "lab": SMALL}, {"ml": SMALL, "lab": SMALL}, SMALL + SMALL + storage(GI)
    )
    assert ledger.usage("bo") == Usage({"ml": SMALL + SMALL + storage(5 * GI), "lab": SMALL}, {"ml": SMALL}, SMALL)
    assert ledger.usage("nobody") == Usage({"ml": SMALL + SMALL + storage(5 * GI), "lab": SMALL}, {}, NOTHING)


def test_usage_is_a_snapshot() -> None:
    ledger = ready()
    ledger.reserve(request())
    before = ledger.usage("ada")
    ledger.reserve(request(ServerKey("ada", "two")))
    assert before == Usage({"ml": SMALL}, {"ml": SMALL}, SMALL)


LEVELS = [
    pytest.param("project", BO, "ml", "quota-project", id="project"),
    pytest.param("member", ServerKey("ada", "two"), "ml", "quota-member", id="member"),
    pytest.param("user", ServerKey("ada", "two"), "lab", "quota-user", id="user"),
]


@pytest.mark.parametrize(("level", "server", "project", "reason"), LEVELS)
def test_each_level_is_kept(level: str, server: ServerKey, project: str, reason: str) -> None:
    ledger = ready()
    ledger.reserve(request())
    quotas = Quotas(**{level: {"cpu": Decimal("0.9"), "servers": Decimal(5)}})
    assert ledger.reserve(request(server, project, quotas=quotas)) == Refusal(
        Reason(reason),
        {"project": project, "key": "cpu", "limit": "0.9", "used": "0.5", "requested": "0.5", "ever": True},
    )
    assert len(ledger.entries()) == 1
    full = Quotas(**{level: {"cpu": Decimal(1), "servers": Decimal(2)}})
    assert admitted(ledger.reserve(request(server, project, quotas=full))).id == "r2"


@pytest.mark.parametrize(
    ("level", "server", "project"),
    [("project", ADA, "lab"), ("member", BO, "ml"), ("member", ServerKey("ada", "two"), "lab"), ("user", BO, "ml")],
    ids=["other project", "other member", "same person elsewhere", "other user"],
)
def test_what_others_use_does_not_count(level: str, server: ServerKey, project: str) -> None:
    ledger = ready()
    ledger.reserve(request(ServerKey("ada", "first")))
    admitted(ledger.reserve(request(server, project, quotas=Quotas(**{level: {"servers": Decimal(1)}}))))


def test_no_quota_is_no_limit() -> None:
    ledger = ready()
    for number in range(50):
        admitted(ledger.reserve(request(ServerKey("ada", f"s{number}"), charge=WITH_TWO)))
    assert used(ledger).user == Resources({"servers": 50, "cpu": 50, "memory": 100 * GI, GPU: 100})


def test_a_second_start_of_the_same_server_is_busy_in_every_phase() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(ServerKey("ada", "two"))))
    busy = Refusal(Reason.SERVER_BUSY, {"server": "two"})
    assert ledger.reserve(request(ServerKey("ada", "two"), "lab")) == busy
    ledger.running(entry.id)
    assert ledger.reserve(request(ServerKey("ada", "two"), "lab")) == busy
    ledger.releasing(entry.id)
    assert ledger.reserve(request(ServerKey("ada", "two"), "lab")) == busy
    ledger.release(entry.id)
    admitted(ledger.reserve(request(ServerKey("ada", "two"), "lab")))


def test_nothing_is_known_or_admitted_before_the_rebuild() -> None:
    ledger = Ledger(ROOM)
    assert Ledger(ROOM).ready is False
    assert ledger.usage("ada") is None
    assert ledger.machines() is None
    assert ledger.reserve(request(profile="small")) == Refusal(Reason.QUOTA_UNKNOWN, {"profile": "small"})
    ledger.rebuild((), now=0)
    assert ledger.ready
    assert ledger.usage("ada") == Usage()


# --- the machine -----------------------------------------------------------------------------------------------------


def test_a_machine_shows_what_is_free() -> None:
    ledger = ready(ROOM)
    total = Resources({"cpu": 4, "memory": 8 * GI, GPU: 3})
    assert ledger.machines() == (Machine("here", total, total),)
    entry = admitted(ledger.reserve(request(charge=WITH_TWO, claims=(home(),))))
    assert ledger.machines() == (Machine("here", total, Resources({"cpu": 3, "memory": 6 * GI, GPU: 1})),)
    ledger.room = Room("smaller", Resources({"cpu": Decimal("0.5"), "memory": 9 * GI}))
    assert ledger.machines() == (
        Machine("smaller", Resources({"cpu": Decimal("0.5"), "memory": 9 * GI}), Resources({"memory": 7 * GI})),
    )
    ledger.release(entry.id)
    ledger.room = None
    assert ledger.machines() is None


@pytest.mark.parametrize(
    ("charge", "key", "wanted", "free", "total"),
    [
        (Resources({"servers": 1, "cpu": Decimal("3.1")}), "cpu", "3.1", "3", "4"),
        (Resources({"servers": 1, "memory": 7 * GI}), "memory", "7 GiB", "6 GiB", "8 GiB"),
        (Resources({"servers": 1, GPU: 2}), GPU, "2", "1", "3"),
        (Resources({"servers": 1, "amd.com/gpu": 1}), "amd.com/gpu", "1", "0", "0"),
    ],
    ids=["cpu", "memory", "accelerator", "unknown accelerator"],
)
def test_a_full_machine_refuses(charge: Resources, key: str, wanted: str, free: str, total: str) -> None:
    ledger = ready(ROOM)
    ledger.reserve(request(BO, charge=WITH_TWO))
    assert ledger.reserve(request(charge=charge, accelerator=key if "/" in key else None, profile="big")) == Refusal(
        Reason.NO_CAPACITY, {"profile": "big", "key": key, "requested": wanted, "free": free, "total": total}
    )
    assert len(ledger.entries()) == 1


def test_the_last_of_everything_is_given_out() -> None:
    ledger = ready(ROOM)
    everything = Resources({"servers": 1, "cpu": 4, "memory": 8 * GI, GPU: 3})
    assert admitted(ledger.reserve(request(charge=everything))).devices == ("g0", "g1", "g2")
    assert isinstance(ledger.reserve(request(BO, charge=Resources({"servers": 1, "cpu": Decimal("0.001")}))), Refusal)
    admitted(ledger.reserve(request(BO, charge=Resources({"servers": 1}))))


def test_quota_is_named_before_the_full_machine() -> None:
    ledger = ready(Room("tiny", Resources({"cpu": 0})))
    outcome = ledger.reserve(request(quotas=Quotas(user={"servers": Decimal(0)})))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.QUOTA_USER


def test_a_shrunk_machine_says_that_nothing_is_free() -> None:
    ledger = ready(ROOM)
    ledger.reserve(request(BO, charge=WITH_TWO))
    ledger.room = Room("here", Resources({"cpu": Decimal("0.5"), "memory": 8 * GI}))
    outcome = ledger.reserve(request(profile="small"))
    assert outcome == Refusal(
        Reason.NO_CAPACITY, {"profile": "small", "key": "cpu", "requested": "0.5", "free": "0", "total": "0.5"}
    )


def test_devices_are_given_in_order_and_to_one_server_at_a_time() -> None:
    ledger = ready(ROOM)
    first = admitted(ledger.reserve(request(ADA, charge=WITH_GPU)))
    second = admitted(ledger.reserve(request(BO, charge=WITH_GPU)))
    assert (first.devices, second.devices) == (("g0",), ("g1",))
    assert ledger.free_devices(GPU) == ("g2",)
    ledger.release(first.id)
    assert ledger.free_devices(GPU) == ("g0", "g2")
    assert admitted(ledger.reserve(request(ADA, charge=WITH_TWO))).devices == ("g0", "g2")
    assert ledger.free_devices(GPU) == ()
    assert ledger.free_devices("amd.com/gpu") == ()
    assert ready().free_devices(GPU) == ()


def test_devices_of_different_accelerators_may_share_names() -> None:
    ledger = ready(Room("two kinds", Resources(), {GPU: ("0",), "amd.com/gpu": ("0",)}))
    assert admitted(ledger.reserve(request(charge=Resources({"servers": 1, GPU: 1})))).devices == ("0",)
    amd = request(BO, charge=Resources({"servers": 1, "amd.com/gpu": 1}), accelerator="amd.com/gpu")
    assert admitted(ledger.reserve(amd)).devices == ("0",)


def test_a_device_withdrawn_while_in_use_is_not_replaced_by_one_in_use() -> None:
    ledger = ready(Room("here", Resources({"cpu": 9, "memory": 9 * GI}), {GPU: ("g0", "g1")}))
    ledger.reserve(request(BO, charge=WITH_GPU))
    ledger.room = Room("here", Resources({"cpu": 9, "memory": 9 * GI, GPU: 7}), {GPU: ("g0", "g1")})
    assert isinstance(ledger.reserve(request(ADA, charge=WITH_TWO)), Refusal), "two are counted, one of them is in use"
    # A server found alive whose device is not known: its number counts, and nobody else is given too few.
    unknown = Entry("x", ServerKey("cy"), "ml", WITH_GPU, accelerator=GPU, phase=Phase.RUNNING)
    other = Ledger(Room("here", Resources({"cpu": 9, "memory": 9 * GI}), {GPU: ("g0", "g1")}))
    other.rebuild(
        (), [replace(unknown, devices=("g0",)), replace(unknown, id="y", charge=SMALL, devices=("g1",))], now=0
    )
    assert other.reserve(request(charge=WITH_GPU, profile="gpu")) == Refusal(
        Reason.NO_CAPACITY, {"profile": "gpu", "key": GPU, "requested": "1", "free": "0", "total": "2"}
    )


def test_accelerators_counted_by_number_have_no_devices() -> None:
    ledger = ready(Room("here", Resources({"cpu": 9, "memory": 9 * GI, GPU: 1})))
    assert admitted(ledger.reserve(request(charge=WITH_GPU))).devices == ()
    assert isinstance(ledger.reserve(request(BO, charge=WITH_GPU)), Refusal)


def test_without_a_machine_of_its_own_the_ledger_gives_no_devices() -> None:
    assert admitted(ready().reserve(request(charge=WITH_TWO))).devices == ()


# --- the life of an entry --------------------------------------------------------------------------------------------


def test_usage_lasts_until_release_and_then_is_nothing() -> None:
    ledger = ready(ROOM)
    entry = admitted(ledger.reserve(request(charge=WITH_GPU)))
    stages: list[tuple[Callable[[], None], Phase, str]] = [
        (lambda: ledger.running(entry.id, "pid-7"), Phase.RUNNING, "pid-7"),
        (lambda: ledger.running(entry.id), Phase.RUNNING, "pid-7"),
        (lambda: ledger.releasing(entry.id), Phase.RELEASING, "pid-7"),
        (lambda: ledger.running(entry.id, "late news"), Phase.RELEASING, "pid-7"),
        (lambda: ledger.releasing(entry.id), Phase.RELEASING, "pid-7"),
    ]
    for follow, phase, uid in stages:
        follow()
        assert ledger.find(ADA) == replace(entry, phase=phase, uid=uid)
        assert used(ledger) == Amounts.everywhere(WITH_GPU)
    assert ledger.release(entry.id) is True
    assert ledger.release(entry.id) is False
    assert ledger.usage("ada") == Usage()
    assert ledger.entries() == ()
    assert ledger.find(ADA) is None
    assert (ledger._projects, ledger._members, ledger._users, ledger._by_server) == ({}, {}, {}, {})


def test_news_of_an_unknown_id_changes_nothing() -> None:
    ledger = ready()
    ledger.running("gone", "u")
    ledger.releasing("gone")
    assert not ledger.release("gone")
    assert not ledger.expire("gone", 1e12)
    assert ledger.entries() == ()
    assert ledger.claims() == {}


def test_a_release_frees_on_the_machine_what_that_server_held() -> None:
    ledger = ready(ROOM)
    first, second = (
        admitted(ledger.reserve(request(server, charge=charge))) for server, charge in ((ADA, SMALL), (BO, WITH_GPU))
    )
    ledger.release(first.id)
    assert ledger.machines() == (Machine("here", ROOM.total, ROOM.total - WITH_GPU.only(("cpu", "memory", GPU))),)
    ledger.release(second.id)
    assert ledger.machines() == (Machine("here", ROOM.total, ROOM.total),)


def test_entries_of_a_project() -> None:
    ledger = ready()
    first = ledger.reserve(request(ADA, "ml"))
    second = ledger.reserve(request(BO, "lab"))
    third = ledger.reserve(request(ServerKey("cy"), "ml"))
    assert ledger.entries("ml") == (first, third)
    assert ledger.entries() == (first, second, third)
    assert ledger.entries("none") == ()


@pytest.mark.parametrize(("now", "overdue"), [(59.9, False), (60.0, True), (61.0, True)])
def test_a_reservation_is_overdue_from_its_deadline_on(now: float, overdue: bool) -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(deadline=60.0)))
    assert ledger.overdue(now) == ((entry,) if overdue else ())
    assert ledger.expire(entry.id, now) is overdue
    assert ledger.entries() == (() if overdue else (entry,))


@pytest.mark.parametrize("follow", [Ledger.running, Ledger.releasing], ids=["running", "releasing"])
def test_a_server_that_was_seen_is_never_overdue(follow: Callable[[Ledger, str], None]) -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request()))
    follow(ledger, entry.id)
    assert ledger.overdue(1e12) == ()
    assert not ledger.expire(entry.id, 1e12)
    assert len(ledger.entries()) == 1


def test_a_lowered_quota_stops_nothing_and_admits_nothing_above_it() -> None:
    ledger = ready()
    ledger.reserve(request(ServerKey("ada", "a")))
    ledger.reserve(request(ServerKey("ada", "b")))
    lowered = Quotas(user={"servers": Decimal(1)})
    assert ledger.reserve(request(quotas=lowered)) == Refusal(
        Reason.QUOTA_USER,
        {"project": "ml", "key": "servers", "limit": "1", "used": "2", "requested": "1", "ever": True},
    )
    assert len(ledger.entries()) == 2


# --- claims ----------------------------------------------------------------------------------------------------------


def test_a_claim_is_charged_once_and_stays_after_its_servers() -> None:
    ledger = ready()
    first = admitted(ledger.reserve(request(ServerKey("ada", "a"), claims=(home(), folder()))))
    second = admitted(ledger.reserve(request(ServerKey("ada", "b"), claims=(home(), folder()))))
    assert used(ledger) == Amounts(SMALL + SMALL + storage(5 * GI), SMALL + SMALL, SMALL + SMALL + storage(GI))
    ledger.release(first.id)
    ledger.release(second.id)
    assert used(ledger) == Amounts(storage(5 * GI), NOTHING, storage(GI))
    assert ledger.claims() == {
        "home/ada": HeldClaim(home(), "ada", "ml"),
        "project/ml": HeldClaim(folder(), "ada", "ml"),
    }


def test_a_claim_twice_in_one_request_is_charged_once() -> None:
    ledger = ready()
    quotas = Quotas(user={"storage": GI})
    admitted(ledger.reserve(request(claims=(home(), home()), quotas=quotas)))
    assert used(ledger).user == SMALL + storage(GI)


@pytest.mark.parametrize(
    ("made", "left"),
    [
        ((), []),
        (("home/ada",), ["home/ada"]),
        (("project/ml",), ["project/ml"]),
        (None, ["home/ada", "project/ml"]),
    ],
    ids=["none", "home", "folder", "all"],
)
def test_a_failed_start_leaves_the_claims_it_made(made: tuple[str, ...] | None, left: list[str]) -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(home(), folder()))))
    ledger.release(entry.id, made)
    assert sorted(ledger.claims()) == left
    assert used(ledger).user == (storage(GI) if "home/ada" in left else NOTHING)
    assert used(ledger).project == (storage(5 * GI) if "project/ml" in left else NOTHING)


def test_a_failed_start_leaves_claims_that_existed_or_that_others_count_on() -> None:
    ledger = ready()
    first = admitted(ledger.reserve(request(ServerKey("ada", "a"), claims=(home(), folder()))))
    second = admitted(ledger.reserve(request(BO, claims=(folder(),))))
    ledger.release(first.id, ())
    assert ledger.claims() == {"project/ml": HeldClaim(folder(), "bo", "ml")}
    ledger.running(second.id)
    third = admitted(ledger.reserve(request(claims=(folder(),))))
    ledger.release(second.id)
    ledger.release(third.id, ())
    assert list(ledger.claims()) == ["project/ml"]


@pytest.mark.parametrize("follow", [Ledger.running, Ledger.releasing], ids=["running", "releasing"])
def test_a_server_that_was_seen_has_made_its_claims(follow: Callable[[Ledger, str], None]) -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(home(),))))
    follow(ledger, entry.id)
    ledger.release(entry.id, ())
    assert list(ledger.claims()) == ["home/ada"]


def test_storage_quota_counts_claims_of_stopped_servers() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(project_home(3 * GI),))))
    ledger.release(entry.id)
    other = Claim("home/lab/ada", 2 * GI, Amounts.everywhere(storage(2 * GI)))
    outcome = ledger.reserve(request(project="lab", claims=(other,), quotas=Quotas(user={"storage": 4 * GI})))
    assert outcome == Refusal(
        Reason.QUOTA_USER,
        {"project": "lab", "key": "storage", "limit": "4 GiB", "used": "3 GiB", "requested": "2 GiB", "ever": True},
    )
    admitted(ledger.reserve(request(project="lab", claims=(other,), quotas=Quotas(user={"storage": 5 * GI}))))
    assert used(ledger, project="lab") == Amounts(
        SMALL + storage(2 * GI), SMALL + storage(2 * GI), SMALL + storage(5 * GI)
    )


def test_a_claim_that_exists_needs_no_quota_again() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(project_home(3 * GI),))))
    ledger.release(entry.id)
    admitted(ledger.reserve(request(claims=(project_home(3 * GI),), quotas=Quotas(user={"storage": GI}))))


def test_a_grown_claim_is_charged_by_what_it_grew() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(project_home(2 * GI),))))
    ledger.release(entry.id)
    grown = request(claims=(project_home(5 * GI),))
    assert ledger.reserve(replace(grown, quotas=Quotas(member={"storage": 4 * GI}))) == Refusal(
        Reason.QUOTA_MEMBER,
        {"project": "ml", "key": "storage", "limit": "4 GiB", "used": "2 GiB", "requested": "3 GiB", "ever": True},
    )
    again = admitted(ledger.reserve(replace(grown, quotas=Quotas(member={"storage": 5 * GI}))))
    assert used(ledger) == Amounts.everywhere(SMALL + storage(5 * GI))
    ledger.release(again.id, ())
    assert used(ledger) == Amounts.everywhere(storage(2 * GI)), "it never grew"
    third = admitted(ledger.reserve(grown))
    ledger.release(third.id)
    assert used(ledger) == Amounts.everywhere(storage(5 * GI))


def test_what_is_charged_is_what_the_policy_is_told() -> None:
    ledger = ready()
    first = admitted(ledger.reserve(request(claims=(project_home(2 * GI), folder()))))
    assert ledger.charged() == {claim.id: claim for claim in first.claims}
    ledger.release(first.id)
    grown = admitted(ledger.reserve(request(claims=(project_home(5 * GI),))))
    assert ledger.charged() == {claim.id: claim for claim in (*grown.claims, folder())}
    ledger.release(grown.id, ())
    assert ledger.charged() == {claim.id: claim for claim in first.claims}
    ledger.remove_claim(folder().id)
    assert ledger.charged() == {project_home(2 * GI).id: project_home(2 * GI)}


def test_a_start_that_grows_a_claim_counts_as_a_server_too() -> None:
    ledger = ready()
    admitted(ledger.reserve(request(claims=(home(),))))
    larger = request(ServerKey("ada", "b"), claims=(home(size=2 * GI),), quotas=Quotas(user={"servers": Decimal(1)}))
    refusal = ledger.reserve(larger)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.parameters["key"]) == (Reason.QUOTA_USER, "servers")


def test_a_claim_never_shrinks() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(project_home(5 * GI),))))
    ledger.running(entry.id)
    for size in (2 * GI, None):
        smaller = Claim("home/ml/ada", size, Amounts.everywhere(storage(size or 0)))
        other = admitted(ledger.reserve(request(ServerKey("ada", "b"), claims=(smaller,))))
        assert used(ledger).member == SMALL + SMALL + storage(5 * GI)
        ledger.release(other.id)
        assert used(ledger).member == SMALL + storage(5 * GI)


def test_a_growing_claim_falls_back_to_the_largest_that_still_stands() -> None:
    ledger = ready()
    small = admitted(ledger.reserve(request(ServerKey("ada", "a"), claims=(project_home(2 * GI),))))
    middle = admitted(ledger.reserve(request(ServerKey("ada", "b"), claims=(project_home(3 * GI),))))
    large = admitted(ledger.reserve(request(ServerKey("ada", "c"), claims=(project_home(5 * GI),))))
    ledger.running(small.id)
    ledger.release(large.id, ())
    assert ledger.claims()["home/ml/ada"].claim.size == 3 * GI
    ledger.release(middle.id, ())
    assert ledger.claims()["home/ml/ada"].claim.size == 2 * GI


def test_a_claim_without_a_size_takes_no_quota_but_is_known() -> None:
    ledger = ready()
    admitted(ledger.reserve(request(claims=(home(size=None),), quotas=Quotas(user={"storage": Decimal(0)}))))
    assert used(ledger).user == SMALL
    assert list(ledger.claims()) == ["home/ada"]
    admitted(ledger.reserve(request(ServerKey("ada", "b"), claims=(home(size=Decimal(1)),))))
    assert used(ledger).user == SMALL + SMALL + storage(1)


def test_a_deleted_claim_is_charged_until_its_last_server_is_gone() -> None:
    ledger = ready()
    entry = admitted(ledger.reserve(request(claims=(home(),))))
    ledger.running(entry.id)
    assert ledger.remove_claim("home/ada") is False
    assert used(ledger).user == SMALL + storage(GI)
    ledger.release(entry.id)
    assert used(ledger).user == NOTHING
    assert ledger.claims() == {}


def test_a_deleted_claim_of_stopped_servers_is_free_at_once() -> None:
    ledger = ready()
    ledger.release(admitted(ledger.reserve(request(claims=(home(), folder())))).id)
    assert ledger.remove_claim("home/ada") is True
    assert used(ledger) == Amounts(project=storage(5 * GI))
    assert ledger.remove_claim("home/ada") is True
    assert ledger.remove_claim("never there") is True


# --- rebuild ---------------------------------------------------------------------------------------------------------


def held(entry_id: str, **given: Any) -> Entry:
    return Entry(**{"id": entry_id, "server": ADA, "project": "ml", "charge": SMALL, "deadline": 60.0, **given})


def test_a_rebuilt_ledger_counts_rows_servers_and_claims() -> None:
    ledger = Ledger(ROOM)
    row = held("r1", claims=(home(),))
    running = held("r2", server=BO, charge=WITH_GPU, accelerator=GPU, devices=("g1",), phase=Phase.RUNNING)
    stopping = held("r3", server=ServerKey("bo", "two"), phase=Phase.RELEASING)
    stopped = HeldClaim(Claim("home/cy", 7 * GI, Amounts(user=storage(7 * GI))), "cy", "ml")
    assert ledger.rebuild([row], [running, stopping], [stopped], now=10.0) == ()
    assert set(ledger.entries()) == {row, running, stopping}
    assert used(ledger) == Amounts(SMALL + WITH_GPU + SMALL, SMALL, SMALL + storage(GI))
    assert used(ledger, "bo").user == WITH_GPU + SMALL
    assert used(ledger, "cy").user == storage(7 * GI)
    assert ledger.free_devices(GPU) == ("g0", "g2")


@pytest.mark.parametrize(
    ("now", "absent", "counts"),
    [(59.9, (), True), (60.0, (), False), (59.9, ("other",), True), (0.0, ("r1",), False)],
    ids=["may still land", "deadline passed", "another is absent", "proved absent"],
)
def test_an_open_row_without_a_server_counts_while_it_may_land(
    now: float, absent: tuple[str, ...], counts: bool
) -> None:
    ledger = Ledger()
    row = held("r1", claims=(home(),))
    assert ledger.rebuild([row], now=now, absent=absent) == (() if counts else ("r1",))
    assert ledger.entries() == ((row,) if counts else ())
    assert used(ledger).user == (SMALL + storage(GI) if counts else NOTHING)


def test_a_row_whose_server_is_seen_is_closed_and_counted_once() -> None:
    ledger = Ledger()
    seen = held("r1", phase=Phase.RUNNING, uid="u", claims=(home(),))
    assert ledger.rebuild([held("r1", claims=(home(),))], [seen, seen], now=1e12) == ("r1",)
    assert ledger.entries() == (seen,)
    assert used(ledger).user == SMALL + storage(GI)
    ledger.release("r1", ())
    assert list(ledger.claims()) == ["home/ada"], "what a living server mounts exists"


def test_a_row_without_a_deadline_counts_until_it_is_proved_absent() -> None:
    ledger = Ledger()
    ledger.rebuild([held("r1", deadline=None)], now=1e12)
    assert len(ledger.entries()) == 1
    assert ledger.overdue(1e12) == ()


def test_an_older_run_of_a_server_keeps_it_busy() -> None:
    ledger = Ledger(new_id=counting())
    old, new = held("old", phase=Phase.RELEASING), held("new", phase=Phase.RUNNING)
    ledger.rebuild((), [old, new], now=0)
    assert ledger.find(ADA) == old
    ledger.release("old")
    assert ledger.find(ADA) == new
    assert ledger.reserve(request()) == Refusal(Reason.SERVER_BUSY, {"server": ""})
    ledger.release("new")
    admitted(ledger.reserve(request()))


def test_rebuilt_claims_are_charged_at_their_largest() -> None:
    ledger = Ledger()
    known = [HeldClaim(project_home(2 * GI), "ada", "ml"), HeldClaim(folder(), "bo", "ml")]
    growing = held("r1", claims=(project_home(5 * GI), folder()))
    ledger.rebuild([growing], claims=known, now=0)
    assert used(ledger).member == SMALL + storage(5 * GI)
    assert ledger.claims()["project/ml"] == known[1]
    assert ledger.expire("r1", 60, made=())
    assert used(ledger) == Amounts(storage(7 * GI), storage(2 * GI), storage(2 * GI))


def test_what_ends_while_the_ledger_is_rebuilt_is_not_counted_from_an_older_look() -> None:
    ledger = Ledger()
    seen = held("r1", phase=Phase.RUNNING, uid="u", claims=(home(),))
    assert not ledger.release("r1")
    assert ledger.rebuild([held("r2")], [seen], now=0) == ()
    assert [entry.id for entry in ledger.entries()] == ["r2"]
    again = Ledger()
    again.release("r2")
    assert again.rebuild([held("r2")], now=0) == ("r2",)


def test_a_rebuild_happens_once() -> None:
    ledger = ready()
    with pytest.raises(RuntimeError, match="before"):
        ledger.rebuild((), now=0)


# --- values ----------------------------------------------------------------------------------------------------------


def test_an_entry_goes_through_json_exactly() -> None:
    entry = Entry(
        "r1",
        ServerKey("ada", "two"),
        "ml",
        Resources({"servers": 1, "cpu": Decimal("0.1"), "memory": Decimal("1152921504606846977.5")}),
        (project_home(3 * GI), Claim("project/ml", None, Amounts(project=storage(1), member=storage(2)))),
        GPU,
        ("g0", "g1"),
        Phase.RELEASING,
        77.25,
        "ns/pod",
        "uid",
    )
    assert Entry.from_dict(json.loads(json.dumps(entry.as_dict()))) == entry
    assert entry.as_dict() == {
        "id": "r1",
        "person": "ada",
        "server": "two",
        "project": "ml",
        "charge": {"servers": "1", "cpu": "0.1", "memory": "1152921504606846977.5"},
        "claims": [
            {"id": "home/ml/ada", "size": "3221225472", "charge": [{"storage": "3221225472"}] * 3},
            {"id": "project/ml", "size": None, "charge": [{"storage": "1"}, {"storage": "2"}, {}]},
        ],
        "accelerator": GPU,
        "devices": ["g0", "g1"],
        "phase": "releasing",
        "deadline": 77.25,
        "objectName": "ns/pod",
        "uid": "uid",
    }


def test_a_held_claim_goes_through_json_exactly() -> None:
    claim = HeldClaim(home(size=Decimal("1.5")), "ada", "ml")
    assert HeldClaim.from_dict(json.loads(json.dumps(claim.as_dict()))) == claim
    assert claim.as_dict() == {
        "claim": {"id": "home/ada", "size": "1.5", "charge": [{}, {}, {"storage": "1.5"}]},
        "person": "ada",
        "project": "ml",
    }


def test_what_is_not_said_of_an_entry_is_empty() -> None:
    assert Entry("r1", ADA, "ml", NOTHING).as_dict() == {
        "id": "r1",
        "person": "ada",
        "server": "",
        "project": "ml",
        "charge": {},
        "claims": [],
        "accelerator": None,
        "devices": [],
        "phase": "reserved",
        "deadline": None,
        "objectName": "",
        "uid": "",
    }
    assert [phase.value for phase in Phase] == ["reserved", "running", "releasing"]
    plain = Request(ADA, "ml", SMALL, 60.0)
    assert (plain.claims, plain.accelerator, plain.quotas) == ((), None, Quotas())
    assert (plain.object_name, plain.profile) == ("", "")


def plan(accelerator: str | None, count: int) -> Plan:
    return Plan(
        person="ada",
        project="ml",
        project_name=Text(),
        stream="pytorch",
        tag="2.9",
        image_name=Text(),
        image=None,
        requirements=(),
        profile="small",
        profile_name=Text(),
        requests=Resources({"cpu": Decimal("0.5"), "memory": GI}),
        limits=Resources({"cpu": 2, "memory": 2 * GI}),
        accelerator=accelerator,
        accelerator_count=count,
        placement=Placement(),
        shared_memory=None,
        home=home(),
        claims=(home(), folder()),
        shared=None,
        may_write_shared=False,
        datasets=(),
        environment={},
        idle=IdleRules(),
        charge=Amounts.everywhere(SMALL + storage(9)),
        quotas=Quotas(user={"servers": Decimal(3)}),
    )


def test_a_plan_asks_for_its_requests_its_claims_and_one_server() -> None:
    assert Request.of(plan(None, 0), "two", deadline=9.5, object_name="ns/pod") == Request(
        server=ServerKey("ada", "two"),
        project="ml",
        charge=SMALL,
        deadline=9.5,
        claims=(home(), folder()),
        accelerator=None,
        quotas=Quotas(user={"servers": Decimal(3)}),
        object_name="ns/pod",
        profile="small",
    )
    with_gpus = Request.of(plan(GPU, 2), "", deadline=1.0)
    assert with_gpus.charge == SMALL + Resources({GPU: 2})
    assert (with_gpus.accelerator, with_gpus.object_name) == (GPU, "")


# --- admissions ------------------------------------------------------------------------------------------------------


class Hub:
    """One process on one table, and a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rows = Rows()
        self.process = Process(self.rows, ROOM, lambda: self.now, counting())
        self.ledger, self.admissions = self.process.ledger, self.process.admissions
        self.process.run(self.admissions.rebuild(()))

    def admit(self, asked: Request, outcome: Outcome = Outcome.DONE) -> Entry | Refusal:
        result: Entry | Refusal = self.process.run(self.admissions.admit(asked), outcome)
        return result

    def sweep(self, outcome: Outcome = Outcome.DONE, gone: tuple[str, ...] | None = None) -> None:
        async def look(entry: Entry) -> tuple[str, ...] | None:
            return gone

        self.process.run(self.admissions.sweep(look), outcome)


@pytest.fixture
def hub() -> Any:
    hub = Hub()
    yield hub
    hub.process.crash()


def test_the_row_is_committed_before_anything_is_created(hub: Hub) -> None:
    task = hub.process.begin(hub.admissions.admit(request()))
    assert not task.done()
    assert len(hub.ledger.entries()) == 1, "held before the row is written"
    hub.process.end_all()
    assert task.result() == hub.ledger.find(ADA)
    assert hub.rows.open == {"r1": task.result()}


def test_a_refused_start_writes_no_row(hub: Hub) -> None:
    outcome = hub.admit(request(quotas=Quotas(user={"servers": Decimal(0)})))
    assert isinstance(outcome, Refusal)
    assert hub.rows.written == []


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.LOST], ids=["not written", "written, answer lost"])
def test_a_start_whose_row_cannot_be_written_is_refused(
    hub: Hub, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    assert hub.admit(request(claims=(home(),)), outcome) == Refusal(Reason.STORE_UNAVAILABLE)
    assert hub.ledger.entries() == ()
    assert hub.ledger.claims() == {}
    assert caplog.record_tuples == [
        ("aihub.ledger", logging.WARNING, f"Cannot reserve for {ADA}: the database is away")
    ]
    hub.sweep()
    assert hub.rows.open == {}
    admitted(hub.admit(request()))


def test_a_cancelled_start_holds_nothing_and_its_late_row_is_closed(hub: Hub) -> None:
    task = hub.process.begin(hub.admissions.admit(request(claims=(home(),))))
    hub.process.cancel(task)
    assert task.cancelled()
    assert hub.ledger.entries() == ()
    assert hub.ledger.claims() == {}
    hub.sweep()  # ends the write, too
    hub.sweep()
    assert hub.rows.written == ["r1"]
    assert hub.rows.open == {}


def test_an_unexpected_error_is_passed_on_and_holds_nothing(hub: Hub) -> None:
    def broken(entry: Entry) -> None:
        raise ZeroDivisionError

    hub.rows.write = broken  # type: ignore[method-assign]
    task = hub.process.begin(hub.admissions.admit(request()))
    with pytest.raises(ZeroDivisionError):
        hub.process.jobs[0].call()
    hub.process.jobs.pop().future.set_exception(ZeroDivisionError())
    hub.process.spin()
    assert isinstance(task.exception(), ZeroDivisionError)
    assert hub.ledger.entries() == ()


def test_a_seen_server_closes_its_row(hub: Hub) -> None:
    hub.admit(request())
    hub.process.run(hub.admissions.running("r1", "pid-7"))
    assert hub.rows.open == {}
    assert admitted(hub.ledger.get("r1") or Refusal(Reason.SERVER_BUSY)).uid == "pid-7"


def test_a_released_server_closes_its_row_and_again_is_fine(hub: Hub) -> None:
    hub.admit(request(claims=(home(),)))
    hub.process.run(hub.admissions.release("r1", ()))
    assert hub.rows.open == {}
    assert hub.ledger.claims() == {}
    task = hub.process.begin(hub.admissions.release("r1"))
    assert task.done(), "nothing is left to be closed"


def test_a_row_that_cannot_be_closed_is_closed_later(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.admit(request())
    hub.process.run(hub.admissions.release("r1"), Outcome.FAILED)
    assert hub.ledger.entries() == ()
    assert list(hub.rows.open) == ["r1"]
    assert caplog.messages == ["Cannot close reservation r1 yet: the database is away"]
    hub.sweep(Outcome.FAILED)
    assert list(hub.rows.open) == ["r1"]
    hub.sweep()
    assert hub.rows.open == {}
    task = hub.process.begin(hub.admissions.sweep(lambda entry: asyncio.sleep(0, None)))
    assert task.done(), "it is not closed a third time"


def test_one_row_that_cannot_be_closed_does_not_hold_up_a_start(hub: Hub) -> None:
    hub.admit(request())
    hub.process.run(hub.admissions.release("r1"), Outcome.FAILED)
    hub.admit(request(BO))
    hub.process.begin(hub.admissions.running("r2"))
    assert len(hub.process.jobs) == 1, "only its own row is closed"


@pytest.mark.parametrize(
    ("now", "gone", "left"),
    [(59.0, (), 1), (60.0, None, 1), (60.0, (), 0)],
    ids=["not yet overdue", "there, or unknown", "overdue and gone"],
)
def test_a_sweep_releases_what_is_overdue_and_gone(
    hub: Hub, now: float, gone: tuple[str, ...] | None, left: int
) -> None:
    hub.admit(request(claims=(home(),)))
    hub.now = now
    hub.sweep(gone=gone)
    assert len(hub.ledger.entries()) == len(hub.rows.open) == len(hub.ledger.claims()) == left


def test_a_sweep_keeps_the_claims_that_exist(hub: Hub) -> None:
    hub.admit(request(claims=(home(), folder())))
    hub.now = 60.0
    hub.sweep(gone=("project/ml",))
    assert list(hub.ledger.claims()) == ["project/ml"]


def test_a_server_seen_while_the_sweep_looks_is_kept(hub: Hub) -> None:
    hub.admit(request())
    hub.now = 60.0

    async def look(entry: Entry) -> tuple[str, ...]:
        hub.ledger.running(entry.id, "just in time")
        return ()

    hub.process.run(hub.admissions.sweep(look))
    assert [entry.uid for entry in hub.ledger.entries()] == ["just in time"]


def test_a_new_process_counts_open_rows_and_closes_done_ones() -> None:
    now = 100.0
    rows = Rows(
        {"late": held("late"), "open": held("open", server=BO, deadline=120.0), "up": held("up", deadline=120.0)}
    )
    process = Process(rows, None, lambda: now, counting())
    found = process.run(process.admissions.open_rows())
    assert found == tuple(rows.open.values())
    process.run(process.admissions.rebuild(found, [replace(held("up"), phase=Phase.RUNNING)]))
    assert list(rows.open) == ["open"]
    assert sorted(entry.id for entry in process.ledger.entries()) == ["open", "up"]
    process.crash()


def test_a_new_process_closes_rows_of_servers_proved_absent() -> None:
    rows = Rows({"lost": held("lost", deadline=120.0), "open": held("open", server=BO, deadline=120.0)})
    process = Process(rows, None, lambda: 0.0, counting())
    process.run(process.admissions.rebuild(tuple(rows.open.values()), absent=["lost"]))
    assert list(rows.open) == ["open"]
    assert [entry.id for entry in process.ledger.entries()] == ["open"]
    process.crash()


def test_a_server_may_be_seen_without_knowing_what_it_became(hub: Hub) -> None:
    entry = admitted(hub.admit(request()))
    hub.process.run(hub.admissions.running(entry.id))
    assert hub.ledger.get(entry.id) == replace(entry, phase=Phase.RUNNING)


def test_rows_that_cannot_be_read_leave_the_ledger_unready() -> None:
    process = Process(Rows(), None, lambda: 0.0, counting())
    with pytest.raises(StoreError):
        process.run(process.admissions.open_rows(), Outcome.FAILED)
    assert not process.ledger.ready
    process.crash()


async def test_real_threads_and_a_real_clock() -> None:
    ledger, rows = Ledger(), Rows()
    admissions = Admissions(ledger, rows)
    await admissions.rebuild(await admissions.open_rows())
    asked = [
        request(ServerKey("ada", f"s{n}"), deadline=4e9, quotas=Quotas(user={"servers": Decimal(5)})) for n in range(20)
    ]
    outcomes = await asyncio.gather(*(admissions.admit(one) for one in asked))
    assert [isinstance(outcome, Entry) for outcome in outcomes] == [True] * 5 + [False] * 15
    assert len(rows.open) == 5
    await admissions.sweep(lambda entry: asyncio.sleep(0, ()))
    assert len(ledger.entries()) == 5, "deadlines are in the future"
