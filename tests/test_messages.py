from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aihub.capacity import Availability
from aihub.errors import Parameter, Reason, Refusal
from aihub.i18n import Catalogues
from aihub.language import Language
from aihub.messages import (
    Names,
    amount,
    card_sentence,
    cause_of_death,
    names_of,
    new_machine,
    plain,
    resource_name,
    room_text,
    rule_name,
    sentence,
    stage,
    status_of,
)
from aihub.policy import OK, Rule, State, Verdict
from aihub.spawner import STAGES
from tests.page_samples import choices

ENGLISH = Language()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHINESE = Catalogues.load().languages["zh_TW"]
NAMES = Names(
    projects={"ml101": "Machine Learning 101"},
    images={"pytorch:2.9": "PyTorch 2.9", "pytorch:3": "PyTorch 3"},
    profiles={"gpu": "One GPU", "small": "Small"},
    contacts={"ml101": "ml101-help@example.org"},
)
GPU_QUOTA: dict[str, Parameter] = {
    "project": "ml101",
    "key": "nvidia.com/gpu",
    "limit": "1",
    "used": "1",
    "requested": "1",
    "ever": True,
}


@pytest.mark.parametrize("language", [ENGLISH, CHINESE], ids=lambda language: language.code)
@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_even_without_parameters(reason: Reason, language: Language) -> None:
    message = sentence(Refusal(reason), language)
    assert message.what
    assert message.why
    assert "{" not in message.text
    assert plain(Refusal(reason), language)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_translated(reason: Reason) -> None:
    english, chinese = sentence(Refusal(reason), ENGLISH), sentence(Refusal(reason), CHINESE)
    assert english.what != chinese.what
    assert english.why != chinese.why


@pytest.mark.parametrize("reason", Reason)
def test_a_status_is_never_counted_as_a_broken_hub(reason: Reason) -> None:
    assert 400 <= status_of(reason) < 500 or status_of(reason) == 503


SENTENCES = {
    "member's quota": (
        Refusal(Reason.QUOTA_MEMBER, GPU_QUOTA),
        "Your limit in Machine Learning 101: 1 nvidia.com/gpu, you use 1, this start asks for 1.",
        "Stop one of your servers in this project first.",
    ),
    "quota that can never hold it": (
        Refusal(Reason.QUOTA_PROJECT, {**GPU_QUOTA, "limit": "0", "used": "0", "ever": False}),
        "Limit of Machine Learning 101: 0 nvidia.com/gpu, in use 0, this start asks for 1.",
        "Choose a smaller profile.",
    ),
    "project's quota, to an instructor": (
        Refusal(Reason.QUOTA_PROJECT, {**GPU_QUOTA, "holders": ("ada", "bob"), "ever": True}),
        "Limit of Machine Learning 101: 1 nvidia.com/gpu, in use 1, this start asks for 1. Held by: ada, bob.",
        "Try again when somebody has stopped a server.",
    ),
    "project's quota, held by many": (
        Refusal(Reason.QUOTA_PROJECT, {**GPU_QUOTA, "holders": tuple("abcdefg"), "ever": True}),
        (
            "Limit of Machine Learning 101: 1 nvidia.com/gpu, in use 1, this start asks for 1. "
            "Held by: a, b, c, d, e and 2 more."
        ),
        "Try again when somebody has stopped a server.",
    ),
    "user's quota": (
        Refusal(Reason.QUOTA_USER, {**GPU_QUOTA, "key": "servers", "limit": "3", "used": "3"}),
        "Your limit over all projects: 3 servers, you use 3, this start asks for 1.",
        "Stop one of your servers first.",
    ),
    "no accelerator at all": (
        Refusal(Reason.NEVER_FITS, {"profile": "gpu", "key": "nvidia.com/gpu", "requested": "1", "total": "0"}),
        "Never fits: this machine has no nvidia.com/gpu.",
        "Choose another profile.",
    ),
    "too large for several machines": (
        Refusal(
            Reason.NEVER_FITS,
            {"profile": "gpu", "key": "memory", "requested": "2 TiB", "total": "64 GiB", "machines": 3},
        ),
        "Never fits: it needs 2 TiB memory, the largest machine has 64 GiB memory.",
        "Choose another profile.",
    ),
    "no machine of its kind": (
        Refusal(
            Reason.NEVER_FITS,
            {"profile": "gpu", "key": "cpu", "requested": "4", "total": "0", "machines": 3, "eligible": 0},
        ),
        "Never fits: no machine is of the kind it asks for.",
        "Choose another profile.",
    ),
    "too large for machines of its kind": (
        Refusal(
            Reason.NEVER_FITS,
            {"profile": "gpu", "key": "cpu", "requested": "4", "total": "2", "machines": 3, "eligible": 1},
        ),
        "Never fits: it needs 4 CPU, the largest machine of its kind has 2 CPU.",
        "Choose another profile.",
    ),
    "machines of its kind without an accelerator": (
        Refusal(
            Reason.NEVER_FITS,
            {"profile": "gpu", "key": "x.y/z", "requested": "4", "total": "0", "machines": 3, "eligible": 1},
        ),
        "Never fits: no machine of the kind it asks for has x.y/z.",
        "Choose another profile.",
    ),
    "image that cannot be fetched": (
        Refusal(Reason.IMAGE_PULL_FAILED, {"image": "pytorch:2.9", "problem": "not found"}),
        "The cluster says: not found.",
        "Choose another image, or ask the admins of this hub.",
    ),
    "no machine takes it": (
        Refusal(Reason.UNSCHEDULABLE, {"profile": "gpu", "problem": "0/3 nodes are available"}),
        "The cluster says: 0/3 nodes are available.",
        "Choose another profile, or try again later.",
    ),
    "out of memory": (
        Refusal(Reason.OUT_OF_MEMORY, {"server": "", "limit": "2 GiB"}),
        "It may use 2 GiB and asked for more. Files in your home are safe.",
        "Start it again with a larger profile, or with the same one and less data at a time.",
    ),
    "evicted": (
        Refusal(Reason.EVICTED, {"server": "a", "problem": "The node was low on resource: memory."}),
        "The cluster says: The node was low on resource: memory. Files in your home are safe.",
        "Start it again, with the same or a larger profile.",
    ),
    "lost with its machine": (
        Refusal(Reason.NODE_LOST, {"server": "a", "node": "gpu-1"}),
        "The machine gpu-1 does not answer any more. Files in your home are safe.",
        "Start it again, with the same or a larger profile: it gets another machine.",
    ),
    "identity that is not confirmed": (
        Refusal(Reason.IDENTITY_STALE, {"profile": "gpu"}),
        "The sign-in provider does not answer, and a start with an accelerator needs to know who you are now.",
        "Try again in a few minutes, or choose a profile without an accelerator.",
    ),
    "project that its person has left": (
        Refusal(Reason.PROJECT_LEFT, {"server": "a", "project": "ml101"}),
        "You are no longer in Machine Learning 101. Files in your home are safe.",
        "If that is a mistake, ask whoever manages its members; then sign in again.",
    ),
    "quota of a namespace": (
        Refusal(
            Reason.CLUSTER_QUOTA,
            {"key": "cpu", "limit": "4", "used": "3", "requested": "2", "namespace": "ml101-users"},
        ),
        "Limit of the cluster in ml101-users: 4 CPU, in use 3, this start asks for 2.",
        "Choose a smaller profile, or try again when somebody has stopped a server.",
    ),
    "quota of a cluster for storage": (
        Refusal(Reason.CLUSTER_QUOTA, {"key": "storage", "limit": "4 GiB", "used": "3 GiB", "requested": "2 GiB"}),
        "Limit of the cluster: 4 GiB storage, in use 3 GiB, this start asks for 2 GiB.",
        "Ask the admins of this hub.",
    ),
    "denied by the cluster": (
        Refusal(Reason.CLUSTER_DENIED, {"problem": "violates PodSecurity"}),
        "The cluster says: violates PodSecurity.",
        "Ask the admins of this hub.",
    ),
    "no namespace": (
        Refusal(Reason.NAMESPACE_MISSING, {"namespace": "ml101"}),
        "There is no namespace ml101.",
        "Ask the admins of this hub.",
    ),
    "missing claim": (
        Refusal(Reason.DATASET_MISSING, {"claim": "imagenet"}),
        "There is no claim imagenet.",
        "",
    ),
    "no answer from the cluster": (
        Refusal(Reason.API_UNAVAILABLE),
        "The cluster does not answer right now. Nothing was lost.",
        "Try again in a minute.",
    ),
    "no room": (
        Refusal(Reason.NO_CAPACITY, {"profile": "gpu", "key": "cpu", "requested": "4", "free": "2", "total": "16"}),
        "It needs 4 CPU; 2 of 16 are free.",
        "Choose a smaller profile, or try again when somebody has stopped a server.",
    ),
    "retired with a successor": (
        Refusal(Reason.IMAGE_RETIRED, {"image": "pytorch:2.9", "project": "ml101", "successor": "pytorch:3"}),
        "Retired images are not started any more.",
        "Choose PyTorch 3 instead.",
    ),
    "retired without one": (
        Refusal(Reason.IMAGE_RETIRED, {"image": "pytorch:2.9", "project": "ml101", "successor": None}),
        "Retired images are not started any more.",
        "Choose another image.",
    ),
    "not resolved yet": (
        Refusal(Reason.IMAGE_UNRESOLVED, {"image": "pytorch:2.9", "waiting": True}),
        "It is still being looked up.",
        "Try again in a minute, or choose another image.",
    ),
    "never resolved": (
        Refusal(Reason.IMAGE_UNRESOLVED, {"image": "pytorch:2.9", "waiting": False}),
        "It cannot be started on this hub.",
        "Choose another image.",
    ),
    "unfit": (
        Refusal(
            Reason.PROFILE_UNFIT,
            {"profile": "gpu", "image": "pytorch:2.9", "key": "nvidia.com/gpu", "suits": ("amd.com/gpu", "x.y/z")},
        ),
        "The image is made for amd.com/gpu, x.y/z, not for nvidia.com/gpu.",
        "Choose another profile or another image.",
    ),
    "full disk": (
        Refusal(Reason.STORAGE_FULL, {"path": "/srv/homes/a"}),
        "Nothing can be written to /srv/homes/a.",
        "Delete files you do not need, or ask for more space.",
    ),
    "server's name": (
        Refusal(
            Reason.INVALID_OPTIONS,
            {"field": "server-name", "problem": "characters", "value": "A B", "suggestion": "a-b"},
        ),
        (
            "A name has 1 to 30 small letters, digits and single hyphens, "
            "begins with a letter and ends with a letter or digit."
        ),
        "For example “a-b”.",
    ),
    "count": (
        Refusal(Reason.INVALID_OPTIONS, {"field": "acceleratorCount", "problem": "not-open", "value": "3"}),
        "This profile does not open 3 accelerators.",
        "Choose again on the start page.",
    ),
    "unknown key": (
        Refusal(Reason.INVALID_OPTIONS, {"field": "evil", "problem": "unknown-key", "value": "evil"}),
        "There is no option called “evil”.",
        "Choose again on the start page.",
    ),
}


@pytest.mark.parametrize(("refusal", "why", "way"), SENTENCES.values(), ids=SENTENCES.keys())
def test_a_reason_names_limit_use_owner_and_way_on(refusal: Refusal, why: str, way: str) -> None:
    message = sentence(refusal, ENGLISH, NAMES)
    assert (message.why, message.way) == (why, way)
    assert card_sentence(refusal, ENGLISH, NAMES) == why


FIELDS = {
    "project": Refusal(Reason.UNKNOWN_PROJECT, {"project": "x"}),
    "image": Refusal(Reason.IMAGE_NOT_OFFERED, {"image": "x:1", "project": "ml101"}),
    "profile": Refusal(Reason.QUOTA_MEMBER, GPU_QUOTA),
    "acceleratorCount": Refusal(Reason.INVALID_OPTIONS, {"field": "acceleratorCount", "problem": "not-a-count"}),
    "server-name": Refusal(Reason.INVALID_OPTIONS, {"field": "server-name", "problem": "start", "value": "1"}),
    "": Refusal(Reason.INVALID_OPTIONS, {"field": "<b>", "problem": "unknown-key"}),
}


@pytest.mark.parametrize(
    ("field", "refusal"), FIELDS.items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_field_at_fault_is_named(field: str, refusal: Refusal) -> None:
    assert sentence(refusal, ENGLISH).field == field


def test_the_projects_contact_is_named_and_the_refusals_own_goes_first() -> None:
    assert sentence(Refusal(Reason.QUOTA_MEMBER, GPU_QUOTA), ENGLISH, NAMES).contact == "ml101-help@example.org"
    own = Refusal(Reason.QUOTA_MEMBER, {**GPU_QUOTA, "contact": "me"})
    assert sentence(own, ENGLISH, NAMES).contact == "me"
    assert plain(own, ENGLISH, NAMES).endswith("Ask me.")


def test_lines_of_a_log_are_passed_on() -> None:
    refusal = Refusal(Reason.BUILD_FAILED, {"image": "pytorch:2.9", "lines": ("a", "b")})
    assert sentence(refusal, ENGLISH).lines == ("a", "b")


def test_an_outsider_does_not_learn_what_a_project_is_called() -> None:
    refusal = Refusal(Reason.UNKNOWN_PROJECT, {"project": "ml101"})
    assert "Machine Learning" not in plain(refusal, ENGLISH, NAMES)


def test_names_are_those_of_the_choices_in_the_language() -> None:
    names = names_of(choices(), CHINESE)
    assert names.projects["ml101"] == "機器學習導論"
    assert names.images["scipy:2026"] == "資料科學 2026"
    assert names.profiles["small"] == "小型"
    assert names.contacts["ml101"] == "ml101-help@example.org"


@pytest.mark.parametrize(
    ("key", "formatted", "words"),
    [
        ("servers", "1", "1 server"),
        ("servers", "2", "2 servers"),
        ("servers", "≈ 2", "≈ 2 servers"),
        ("cpu", "0.5", "0.5 CPU"),
        ("memory", "8 GiB", "8 GiB memory"),
        ("storage", "10 GiB", "10 GiB storage"),
        ("nvidia.com/gpu", "1", "1 nvidia.com/gpu"),
    ],
)
def test_amounts_name_their_resource(key: str, formatted: str, words: str) -> None:
    assert amount(key, formatted, ENGLISH) == words


def test_an_accelerator_keeps_its_name() -> None:
    assert resource_name("nvidia.com/gpu", CHINESE) == "nvidia.com/gpu"
    assert resource_name("memory", CHINESE) == "記憶體"


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_a_name_in_each_language(rule: Rule) -> None:
    assert rule_name(rule, ENGLISH) != rule_name(rule, CHINESE)


@pytest.mark.parametrize(
    ("room", "text"),
    [
        pytest.param(Availability(), "free machines unknown", id="unknown"),
        pytest.param(Availability(pool="p", seconds=60), "free machines unknown", id="unknown, with a pool"),
        pytest.param(Availability(as_of=NOW), "", id="nothing to count"),
        pytest.param(Availability(0, 0, as_of=NOW - timedelta(seconds=12)), "", id="none ever fits"),
        pytest.param(Availability(2, 4, as_of=NOW), "2 of 4 free", id="now"),
        pytest.param(Availability(0, 4, as_of=NOW - timedelta(seconds=12)), "0 of 4 free · 12 s ago", id="its age"),
        pytest.param(Availability(0, 4, as_of=NOW + timedelta(seconds=9)), "0 of 4 free", id="a clock that is ahead"),
        pytest.param(Availability(1, 2, 1, 2, NOW), "1 of 2 free", id="as many accelerators"),
        pytest.param(Availability(1, 2, 3, 4, NOW), "1 of 2 free · accelerators: 3 of 4 free", id="more accelerators"),
    ],
)
def test_how_many_fit_in_words(room: Availability, text: str) -> None:
    assert room_text(room, NOW, ENGLISH) == text
    assert not text or room_text(room, NOW, CHINESE) != text


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        pytest.param(OK, "", id="there is one"),
        pytest.param(
            Verdict(State.OK, pool="p", seconds=300),
            "A new machine is started for it; that takes up to 5 min.",
            id="within a time",
        ),
        pytest.param(
            Verdict(State.OK, pool="p"), "A new machine is started for it; that takes some minutes.", id="some time"
        ),
    ],
)
def test_a_machine_that_is_started_in_words(verdict: Verdict, text: str) -> None:
    assert new_machine(verdict, ENGLISH) == text


@pytest.mark.parametrize("name", [*STAGES, "queue", "machine"])
def test_every_stage_of_a_start_has_a_name(name: str) -> None:
    assert stage(name) != name
    assert stage(name) != stage(name, CHINESE)


def test_sentences_hold_no_markup() -> None:
    text = Path(__file__).parents[1].joinpath("aihub/messages.py").read_text()
    assert "<" not in text.partition("# --- one sentence")[2].replace("<=", "").replace("->", "")


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (Refusal(Reason.OUT_OF_MEMORY, {"limit": "2Gi"}), "It ran out of memory (2Gi)."),
        (Refusal(Reason.OUT_OF_MEMORY), "It ran out of memory."),
        (Refusal(Reason.EVICTED, {"problem": "low on disk"}), "The cluster stopped it. The cluster says: low on disk."),
        (Refusal(Reason.NODE_LOST, {"node": "gpu-3"}), "Its machine gpu-3 was lost."),
        (Refusal(Reason.NODE_LOST), "Its machine was lost."),
        (Refusal(Reason.PROJECT_LEFT, {"project": "ml101"}), "Its person is no longer in the project."),
        (Refusal(Reason.SERVER_DIED, {"status": 1}), "Its process ended."),
    ],
    ids=["memory", "memory, limit not known", "evicted", "machine", "machine not known", "left", "anything else"],
)
def test_others_read_why_a_server_ended(refusal: Refusal, cause: str) -> None:
    assert cause_of_death(refusal, ENGLISH) == cause
