"""The policy file: what a good one becomes, and every finding that a bad one gives."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aihub.catalog import StartAdapter, TagState
from aihub.config import SHARED_PASSWORD, ClusterSettings, Loaded, Persona, attempt, load, schema
from aihub.errors import PolicyFileError, QuantityError
from aihub.facts import Machine, Pool, Taint
from aihub.fields import QUANTITY_PATTERN
from aihub.findings import Finding, Severity
from aihub.groupprojects import GroupProblem, with_group_projects
from aihub.policyfile import PolicyDocument
from aihub.positions import read_document
from aihub.projects import IdleRules, Membership, Person
from aihub.reference import policy_reference
from aihub.resources import Resources, parse_quantity
from aihub.storage import Home, HomeScope, StorageClasses
from aihub.text import Text

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "config" / "example.yaml"
DEMO = ROOT / "config" / "demo"

BASE = """\
imageStreams:
  py: {tags: {"1": {image: "example.org/py:1", requirements: [numpy]}}}
profiles:
  small: {cpu: 1, memory: 1Gi}
projects:
  p1:
    members: {users: [ada]}
    images: {offer: [py], default: "py:1"}
    profiles: {offer: [small], default: small}
signIn: {personas: {ada: {}}}
"""
"""A policy without findings. Cases below change it by keys, and merge the rest in from a second file."""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Loaded]:
    def write_and_read(*texts: str) -> Loaded:
        paths = [tmp_path / f"{number}.yaml" for number in range(1, len(texts) + 1)]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
        return attempt(paths)

    return write_and_read


def brief(findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in findings]


# --- good policies ---------------------------------------------------------------------------------------------------


def test_the_base_of_these_tests_has_no_findings(read: Callable[..., Loaded]) -> None:
    assert read(BASE).findings == ()


@pytest.mark.parametrize("path", [EXAMPLE, DEMO], ids=["example", "demo"])
def test_shipped_policies_have_no_findings(path: Path) -> None:
    assert load([path]).findings == ()


def test_the_example_becomes_the_objects_of_the_core() -> None:
    loaded = load([EXAMPLE])
    policy = loaded.policy
    stream = policy.catalog.streams["pytorch"]
    assert stream.display_name.in_language("ko") == "파이토치"
    assert stream.description == Text("Deep learning with PyTorch")
    assert stream.accelerators == ("nvidia.com/gpu",)
    new, old = stream.tags
    assert (new.name, new.image, new.recommended, new.scheduled) == ("2.9", "quay.io/example/pytorch:2.9", True, True)
    assert [(each.name, each.version) for each in new.software] == [("Python", "3.12"), ("PyTorch", "2.9")]
    assert (old.state, old.successor) == (TagState.RETIRED, "2.9")

    small, gpu = policy.profiles["cpu-small"], policy.profiles["gpu"]
    assert small.requests == Resources({"cpu": Decimal("0.5"), "memory": 1024**3})
    assert small.limits == Resources({"cpu": 2, "memory": 2 * 1024**3})
    assert gpu.requests == gpu.limits == Resources({"cpu": 4, "memory": 16 * 1024**3})
    assert gpu.accelerator is not None
    assert (gpu.accelerator.resource, gpu.accelerator.counts, gpu.accelerator.product) == (
        "nvidia.com/gpu",
        (1, 2),
        "NVIDIA-L4",
    )
    assert gpu.shared_memory == 2 * 1024**3
    assert dict(gpu.placement.node_selector) == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    (toleration,) = gpu.placement.tolerations
    assert dict(toleration) == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert gpu.groups == ("/courses/*/students", "/courses/*/staff")

    project = policy.projects["ml101"]
    assert project.kind == "course"
    assert project.instructors == Membership(("/courses/ml101/staff",), frozenset({"ada"}))
    assert project.images.ids == ("pytorch", "scipy:2026")
    assert dict(project.quota) == {"servers": 40, "nvidia.com/gpu": 4}
    assert dict(project.member_quota) == {"servers": 2, "nvidia.com/gpu": 2}
    assert project.idle == IdleRules(2 * 3600, 12 * 3600)
    assert project.storage.shared is not None
    assert project.storage.shared.size == 100 * 1024**3
    assert project.storage.datasets["images"].path == "/srv/datasets/images"
    assert project.contact.in_language("zh_TW") == "課程服務台 ml101-help@example.org"

    assert policy.home == Home(HomeScope.USER, Decimal(10 * 1024**3))
    assert dict(policy.user_quota) == {"servers": 3, "nvidia.com/gpu": 2, "storage": 20 * 1024**3}
    assert policy.start_when_unknown is False
    assert list(loaded.sign_in.personas) == ["student", "instructor", "admin"]
    assert loaded.sign_in.personas["admin"].admin
    assert loaded.machine is None


def test_what_is_absent_has_the_defaults_of_the_core(read: Callable[..., Loaded]) -> None:
    policy = read(BASE).policy
    assert policy.profiles["small"].display_name == Text("small")
    assert policy.profiles["small"].groups is None
    assert policy.projects["p1"].members == Membership((), frozenset({"ada"}))
    assert policy.projects["p1"].storage.shared is None
    assert policy.home.size is None
    assert policy.catalog.streams["py"].offered


def test_keys_of_the_rest(read: Callable[..., Loaded]) -> None:
    loaded = read(
        BASE,
        """\
quota: {whenUnknown: startWithoutAccelerator}
home: {scope: project, size: 5Gi}
machine: {cpu: 2, memory: 3Gi, accelerators: {nvidia.com/gpu: ["0", GPU-7]}}
profiles:
  old: {cpu: {request: 100m}, memory: 1Gi, retired: true, successor: small, hidden: true, runtimeClass: gvisor,
        priorityClass: low, groups: []}
projects:
  lab: {open: true, archived: true, storage: {home: {size: 7Gi}}, environment: {COURSE: "1"}}
signIn: {personas: {Bob: {groups: [/ops]}}, admins: {groups: [/ops], users: [Ada]}}
""",
    )
    assert [finding.code for finding in loaded.findings] == ["nobody"]  # the empty list of groups
    assert loaded.policy.start_when_unknown
    assert loaded.policy.home.scope is HomeScope.PROJECT
    old = loaded.policy.profiles["old"]
    assert (old.retired, old.hidden, old.successor, old.groups) == (True, True, "small", ())
    assert "cpu" not in old.limits
    assert (old.placement.runtime_class, old.placement.priority_class) == ("gvisor", "low")
    lab = loaded.policy.projects["lab"]
    assert lab.members.everybody
    assert lab.archived
    assert lab.storage.home_size == 7 * 1024**3
    assert dict(lab.environment) == {"COURSE": "1"}
    assert {name: persona.admin for name, persona in loaded.sign_in.personas.items()} == {"ada": True, "bob": True}
    assert loaded.sign_in.admins.includes(Person("ada"))
    assert loaded.machine is not None
    assert (loaded.machine.cpu, loaded.machine.memory) == (Decimal(2), Decimal(3 * 1024**3))
    assert dict(loaded.machine.accelerators or {}) == {"nvidia.com/gpu": ("0", "GPU-7")}


def test_keys_of_a_cluster(read: Callable[..., Loaded]) -> None:
    loaded = read(
        BASE,
        """\
cluster:
  namespaces: perProject
  storageClasses: {home: fast, shared: nfs.campus}
  sharedAccessMode: ReadWriteOnce
  pools:
    a100:
      cpu: 12
      memory: 80Gi
      accelerators: {nvidia.com/gpu: 1}
      labels: {nvidia.com/gpu.product: NVIDIA-A100, empty: ""}
      taints: [{key: nvidia.com/gpu, value: present, effect: NoSchedule}]
      startsWithin: 5m
    cpu: {cpu: 4, memory: 16Gi}
imageStreams:
  py: {pullSecrets: [campus, campus], start: {command: [start.sh, --debug], port: 9999, home: /home/me, uid: 1001}}
profiles:
  small: {ephemeralStorage: {request: 1Gi, limit: 5Gi}}
  one: {cpu: 1, memory: 1Gi, ephemeralStorage: 2Gi}
home: {scope: project}
projects: {p1: {namespace: course-p1, pullSecrets: [p1-registry]}}
""",
    )
    assert loaded.findings == ()
    room = Resources({"cpu": 12, "memory": 80 * 1024**3, "nvidia.com/gpu": 1})
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100", "empty": ""}
    small = Resources({"cpu": 4, "memory": 16 * 1024**3})
    assert loaded.policy.pools == (
        Pool("a100", Machine("a100", room, room, labels, (Taint("nvidia.com/gpu", "present", "NoSchedule"),)), 300),
        Pool("cpu", Machine("cpu", small, small)),
    )
    assert loaded.policy.storage_classes == StorageClasses("fast", "nfs.campus", "ReadWriteOnce")
    assert loaded.cluster == ClusterSettings(
        per_project=True, storage_classes=loaded.policy.storage_classes, pools=loaded.policy.pools
    )
    stream = loaded.policy.catalog.streams["py"]
    assert stream.pull_secrets == ("campus",)
    assert stream.start == StartAdapter(("start.sh", "--debug"), 9999, "/home/me", 1001)
    profiles = loaded.policy.profiles
    amounts = {name: (each.ephemeral_request, each.ephemeral_limit) for name, each in profiles.items()}
    assert amounts["small"] == (Decimal(1024**3), Decimal(5 * 1024**3))
    assert amounts["one"] == (Decimal(2 * 1024**3), Decimal(2 * 1024**3))
    assert loaded.policy.projects["p1"].namespace == "course-p1"
    assert loaded.policy.projects["p1"].pull_secrets == ("p1-registry",)


def test_without_keys_of_a_cluster_everything_is_shared_and_unset(read: Callable[..., Loaded]) -> None:
    loaded = read(BASE)
    assert loaded.cluster == ClusterSettings()
    stream, project, profile = (
        loaded.policy.catalog.streams["py"],
        loaded.policy.projects["p1"],
        loaded.policy.profiles["small"],
    )
    assert (stream.pull_secrets, stream.start) == ((), StartAdapter())
    assert (project.namespace, project.pull_secrets) == (None, ())
    assert (profile.ephemeral_request, profile.ephemeral_limit) == (None, None)


AFFINITY = """\
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
    - matchExpressions:
      - {key: topology.kubernetes.io/zone, operator: In, values: [a, b]}
      - {key: gpu, operator: Exists}
      - {key: generation, operator: Gt, values: ["3"]}
      matchFields: [{key: metadata.name, operator: NotIn, values: [node-1]}]
  preferredDuringSchedulingIgnoredDuringExecution:
  - {weight: 10, preference: {matchExpressions: [{key: spot, operator: DoesNotExist}]}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
  - topologyKey: kubernetes.io/hostname
    labelSelector: {matchLabels: {app: data}, matchExpressions: [{key: tier, operator: NotIn, values: [x]}]}
    namespaces: [data]
    namespaceSelector: {}
    matchLabelKeys: [course]
    mismatchLabelKeys: [tenant]
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
  - {weight: 100, podAffinityTerm: {topologyKey: zone}}
"""


def test_placement_becomes_what_was_written(read: Callable[..., Loaded]) -> None:
    affinity = yaml.safe_load(AFFINITY)
    tolerations = [{"operator": "Exists"}, {"key": "a", "value": "", "effect": "NoExecute", "tolerationSeconds": 9}]
    profile = {"affinity": affinity, "tolerations": tolerations, "nodeSelector": {"example.org/disk": "", "b": "1"}}
    loaded = read(BASE, json.dumps({"profiles": {"small": profile}}))
    assert loaded.findings == ()
    placement = loaded.policy.profiles["small"].placement
    assert json.dumps(dict(placement.affinity), sort_keys=True) == json.dumps(affinity, sort_keys=True)
    assert [dict(each) for each in placement.tolerations] == tolerations
    assert dict(placement.node_selector) == {"example.org/disk": "", "b": "1"}


def test_who_is_listed_depends_on_the_method(read: Callable[..., Loaded]) -> None:
    people = "people: {Bob: {displayName: The boss, groups: [/ops, /lab]}, eve: {admin: true}, joe: {groups: [/lab]}}"
    admins = "admins: {groups: [/ops]}"
    passwords = read(BASE, f"signIn: {{method: sharedPassword, {people}, {admins}}}").sign_in
    assert passwords.method == SHARED_PASSWORD
    assert {name: each.admin for name, each in passwords.listed.items()} == {"bob": True, "eve": True, "joe": False}
    assert passwords.listed["bob"] == Persona("bob", Text("The boss"), frozenset({"/ops", "/lab"}), admin=True)
    assert list(passwords.personas) == ["ada"]
    assert list(read(BASE, f"signIn: {{{people}}}").sign_in.listed) == ["ada"]


def test_groups_that_make_projects_come_with_the_settings_of_their_template(
    read: Callable[..., Loaded], tmp_path: Path
) -> None:
    (tmp_path / "starter").mkdir()
    rest = "{kind: course, storage: {shared: {from: starter}, datasets: {d: {path: data}}}, quota: {project: {cpu: 4}}}"
    loaded = read(
        BASE, template(rest).replace('"/c/<project>"', '"/c/<project>", "displayName": {"en": "C <project>"}')
    )
    assert loaded.findings == ()
    assert list(loaded.policy.projects) == ["p1"]
    policy, warnings = with_group_projects(loaded.policy, loaded.group_patterns, ["/c/ml", "/c/p1"])
    made = policy.projects["ml"]
    assert (made.kind, made.images.ids) == ("course", ("py",))
    assert dict(made.quota) == {"cpu": 4}
    assert made.display_name.in_language("en") == "C ml"
    assert made.storage.shared is not None
    assert made.storage.shared.source == str(tmp_path / "starter")
    assert made.storage.datasets["d"].path == str(tmp_path / "data")
    assert (made.members.groups, made.instructors.groups) == (("/c/ml",), ())
    assert [(each.group, each.problem) for each in warnings] == [("/c/p1", GroupProblem.NAME_TAKEN)]


def test_projects_that_groups_make_share_the_namespace_of_users(read: Callable[..., Loaded]) -> None:
    own = "home: {scope: project}\nprojects: {p1: {namespace: p1}}\ncluster: {namespaces: perProject}"
    loaded = read(BASE, own, grouped())
    assert loaded.findings == ()
    policy, _ = with_group_projects(loaded.policy, loaded.group_patterns, ["/c/ml"])
    assert (policy.projects["ml"].namespace, policy.projects["p1"].namespace) == (None, "p1")


def test_image_stream_files_are_read_and_their_oddities_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "r.yaml").write_text(
        """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata:
  name: r
  labels: {opendatahub.io/notebook-image: "true"}
  annotations: {opendatahub.io/notebook-image-order: first}
spec: {tags: [{name: "4.5", from: {kind: DockerImage, name: "example.org/r:4.5"}}]}
""",
        encoding="utf-8",
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(BASE + "imageStreamFiles: [streams/*.yaml]\n", encoding="utf-8")
    loaded = load([policy])
    assert list(loaded.policy.catalog.references()) == ["py:1", "r:4.5"]
    (finding,) = loaded.findings
    assert (finding.code, finding.severity) == ("image-stream", Severity.WARNING)
    assert "notebook-image-order" in finding.message
    assert loaded.files == (policy, tmp_path / "streams" / "r.yaml")
    assert loaded.patterns == (str(tmp_path / "streams" / "*.yaml"),)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "a" / "starter").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    text = BASE.replace("signIn", "    storage: {shared: {from: starter}, datasets: {d: {path: data}}}\nsignIn")
    (tmp_path / "a" / "1.yaml").write_text(text)
    (tmp_path / "b" / "2.yaml").write_text("projects: {p1: {storage: {datasets: {e: {path: data}}}}}")
    storage = load([tmp_path / "a" / "1.yaml", tmp_path / "b"]).policy.projects["p1"].storage
    assert storage.shared is not None
    assert storage.shared.source == str(tmp_path / "a" / "starter")
    assert {name: each.path for name, each in storage.datasets.items()} == {
        "d": str(tmp_path / "a" / "data"),
        "e": str(tmp_path / "b" / "data"),
    }


def test_a_folder_is_its_files_without_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(BASE)
    (tmp_path / "more.json").write_text('{"home": {"size": "1Gi"}}')
    (tmp_path / "..data").mkdir()
    (tmp_path / ".old.yaml").write_text("nonsense: [")
    (tmp_path / "notes.txt").write_text("nonsense: [")
    loaded = load([tmp_path])
    assert loaded.files == (tmp_path / "more.json", tmp_path / "policy.yaml")
    assert loaded.policy.home.size == 1024**3


def test_the_digest_is_of_every_file(tmp_path: Path, read: Callable[..., Loaded]) -> None:
    assert read(BASE).digest == read(BASE).digest
    assert read(BASE).digest != read(BASE + "# a remark\n").digest


def test_a_byte_order_mark_is_no_character_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load([tmp_path / "p.yaml"]).findings == ()


# --- bad policies: one case for each finding -------------------------------------------------------------------------


def case(text: str, code: str, path: str, suggestion: str = "", severity: str = "error", *, name: str = "") -> Any:
    return pytest.param(text, code, path, suggestion, severity, id=name or f"{code} {path}")


def p2(rest: str) -> str:
    """A second project that differs from a good one in `rest`, a flow map that wins."""
    keys = {
        "members": {"users": ["ada"]},
        "images": {"offer": ["py"]},
        "profiles": {"offer": ["small"]},
        **yaml.safe_load(rest),
    }
    return json.dumps({"projects": {"p2": keys}})


def grouped(more: Any = None, **keys: Any) -> str:
    """Groups that make projects, with `keys` and more entries, and the template that they name."""
    courses = {"members": "/c/<project>", "template": "course", **keys}
    settings = {"images": {"offer": ["py"]}, "profiles": {"offer": ["small"]}}
    return json.dumps({"groupProjects": {"courses": courses, **(more or {})}, "projectTemplates": {"course": settings}})


COURSE = "projectTemplates.course"
LABS = {"members": "/labs/<project>", "template": "course"}


def template(rest: str, **keys: Any) -> str:
    """A template that differs from a good one in `rest`, and groups with `keys` that make projects with it."""
    document = json.loads(grouped(**keys))
    document["projectTemplates"]["course"].update(yaml.safe_load(rest))
    return json.dumps(document)


def placed(rest: str) -> str:
    """A profile with `rest`, flow style, for what says where it runs."""
    return f"profiles: {{b: {{cpu: 1, memory: 1, {rest}}}}}"


def required(requirement: str, kind: str = "matchExpressions") -> str:
    """A profile that requires machines with one condition."""
    terms = f"{{nodeSelectorTerms: [{{{kind}: [{requirement}]}}]}}"
    return placed(f"affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {terms}}}}}")


TERMS = "profiles.b.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
EXPRESSION = f"{TERMS}[0].matchExpressions[0]"
POOL = "cluster.pools.p"

SHAPE = [
    case("cluster: {namespace: shared}", "unknown-key", "cluster.namespace", "namespaces"),
    case("cluster: {namespaces: perproject}", "wrong-value", "cluster.namespaces", "perProject"),
    case("cluster: {sharedAccessMode: RWX}", "wrong-value", "cluster.sharedAccessMode"),
    case("cluster: {storageClasses: {home: Fast}}", "kubernetes-name", "cluster.storageClasses.home"),
    case("cluster: {pools: {p: {cpu: 1}}}", "missing-key", f"{POOL}.memory"),
    case("cluster: {pools: {p: {cpu: 1, memory: 1, startsWithin: 5}}}", "duration", f"{POOL}.startsWithin", "5m"),
    case(
        "cluster: {pools: {p: {cpu: 1, memory: 1, accelerators: {gpu: 1}}}}",
        "resource-key",
        f"{POOL}.accelerators.gpu",
        "nvidia.com/gpu",
    ),
    case("cluster: {pools: {p: {cpu: 1, memory: 1, labels: {a b: c}}}}", "label", f'{POOL}.labels."a b"'),
    case("cluster: {pools: {p: {cpu: 1, memory: 1, taints: [{key: a}]}}}", "missing-key", f"{POOL}.taints[0].effect"),
    case("imageStreams: {py: {pullSecrets: [Campus]}}", "kubernetes-name", "imageStreams.py.pullSecrets[0]"),
    case(
        "imageStreams: {py: {pullSecrets: [a..b]}}",
        "kubernetes-name",
        "imageStreams.py.pullSecrets[0]",
        name="empty part of a name",
    ),
    case("imageStreams: {py: {start: {comand: []}}}", "unknown-key", "imageStreams.py.start.comand", "command"),
    case("imageStreams: {py: {start: {command: []}}}", "wrong-value", "imageStreams.py.start.command"),
    case(
        "imageStreams: {py: {start: {command: start.sh}}}", "wrong-type", "imageStreams.py.start.command", "[start.sh]"
    ),
    case("imageStreams: {py: {start: {port: 80}}}", "wrong-value", "imageStreams.py.start.port"),
    case(
        "imageStreams: {py: {start: {port: 65536}}}", "wrong-value", "imageStreams.py.start.port", name="port too large"
    ),
    case("imageStreams: {py: {start: {uid: 0}}}", "wrong-value", "imageStreams.py.start.uid", name="root"),
    case("imageStreams: {py: {start: {home: jovyan}}}", "folder", "imageStreams.py.start.home"),
    case("imageStreams: {py: {start: {home: /home/../etc}}}", "folder", "imageStreams.py.start.home", name="a way up"),
    case("imageStreams: {py: {start: {home: /}}}", "folder", "imageStreams.py.start.home", name="the root"),
    case("projects: {p1: {pullSecrets: [a_b]}}", "kubernetes-name", "projects.p1.pullSecrets[0]"),
    case("projects: {p1: {namespace: a.b}}", "kubernetes-name", "projects.p1.namespace"),
    case(
        f"projects: {{p1: {{namespace: {'a' * 64}}}}}",
        "kubernetes-name",
        "projects.p1.namespace",
        name="namespace too long",
    ),
    case(
        "projects: {p1: {storage: {datasets: {d: {claim: My_Data}}}}}",
        "kubernetes-name",
        "projects.p1.storage.datasets.d.claim",
    ),
    case(placed("ephemeralStorage: 5GB"), "quantity", "profiles.b.ephemeralStorage", "5Gi"),
    case(placed("priorityClass: High"), "kubernetes-name", "profiles.b.priorityClass"),
    case(placed("runtimeClass: -kata"), "kubernetes-name", "profiles.b.runtimeClass"),
    case(placed('nodeSelector: {gpu: "L4 "}'), "label", "profiles.b.nodeSelector.gpu"),
    case(placed("nodeSelector: {gpu: true}"), "wrong-type", "profiles.b.nodeSelector.gpu", '"true"'),
    case(placed("nodeSelector: {a/b/c: x}"), "label", "profiles.b.nodeSelector.a/b/c"),
    case(placed("nodeSelector: {A/b: x}"), "label", "profiles.b.nodeSelector.A/b", name="large letter in a domain"),
    case(
        placed(f"nodeSelector: {{{'a' * 64}: x}}"),
        "label",
        f"profiles.b.nodeSelector.{'a' * 64}",
        name="label key too long",
    ),
    case(
        placed("tolerations: [{operator: Equal, value: x}]"),
        "disagreement",
        "profiles.b.tolerations[0]",
        name="toleration without key",
    ),
    case(
        placed("tolerations: [{key: a, operator: Exists, value: x}]"),
        "disagreement",
        "profiles.b.tolerations[0]",
        name="toleration of a value that exists",
    ),
    case(
        placed("tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 5}]"),
        "disagreement",
        "profiles.b.tolerations[0]",
        name="seconds without NoExecute",
    ),
    case(
        placed("tolerations: [{key: a, effect: noschedule}]"),
        "wrong-value",
        "profiles.b.tolerations[0].effect",
        "NoSchedule",
    ),
    case(placed("tolerations: [{key: a b}]"), "label", "profiles.b.tolerations[0].key"),
    case(placed("affinity: {nodeAfinity: {}}"), "unknown-key", "profiles.b.affinity.nodeAfinity", "nodeAffinity"),
    case(
        placed("affinity: {podAffinity: {requiredDuringScheduling: []}}"),
        "unknown-key",
        "profiles.b.affinity.podAffinity.requiredDuringScheduling",
        "requiredDuringSchedulingIgnoredDuringExecution",
    ),
    case(
        placed("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}"),
        "wrong-value",
        TERMS,
    ),
    case(required("{key: a, operator: in, values: [b]}"), "wrong-value", f"{EXPRESSION}.operator", "In"),
    case(required("{key: a, operator: In}"), "disagreement", EXPRESSION, name="In without values"),
    case(required("{key: a, operator: Exists, values: [b]}"), "disagreement", EXPRESSION, name="Exists with values"),
    case(required('{key: a, operator: Gt, values: ["1", "2"]}'), "disagreement", EXPRESSION, name="Gt with two values"),
    case(
        required(f'{{key: a, operator: Gt, values: ["{10**18}"]}}'),
        "disagreement",
        EXPRESSION,
        name="Gt than more than 64 bits can hold",
    ),
    case(required("{key: a, operator: Lt, values: [many]}"), "disagreement", EXPRESSION, name="Lt without a number"),
    case(required("{key: a, operator: In, values: [b c]}"), "label", f"{EXPRESSION}.values[0]"),
    case(
        required("{key: metadata.uid, operator: In, values: [b]}", "matchFields"),
        "wrong-value",
        f"{TERMS}[0].matchFields[0].key",
        "metadata.name",
    ),
    case(
        required("{key: metadata.name, operator: In, values: [b, c]}", "matchFields"),
        "wrong-value",
        f"{TERMS}[0].matchFields[0].values",
    ),
    case(
        placed(
            "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: "
            "[{weight: 0, podAffinityTerm: {topologyKey: a}}]}}"
        ),
        "wrong-value",
        "profiles.b.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
    ),
    case(
        placed("affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}"),
        "missing-key",
        "profiles.b.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
    ),
    case(
        placed(
            "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
            "[{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: NotIn}]}}]}}"
        ),
        "disagreement",
        "profiles.b.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[0]",
        name="NotIn without values",
    ),
    case("projets: {}", "unknown-key", "projets", "projects"),
    case("x: 1", "unknown-key", "x"),
    case("projects: {p1: {Members: {}}}", "unknown-key", "projects.p1.Members", "members"),
    case("profiles: {b: {cpu: {request: 1, limits: 2}, memory: 1}}", "unknown-key", "profiles.b.cpu.limits", "limit"),
    case("projects: {p1: {storage: {shared: {source: x}}}}", "unknown-key", "projects.p1.storage.shared.source"),
    case("profiles: {b: {cpu: 1}}", "missing-key", "profiles.b.memory"),
    case("imageStreams: {b: {}}", "missing-key", "imageStreams.b.tags"),
    case("profiles: {b: {cpu: {limit: 1}, memory: 1}}", "missing-key", "profiles.b.cpu.request"),
    case("home: []", "wrong-type", "home", name="list for map"),
    case("imageStreamFiles: a.yaml", "wrong-type", "imageStreamFiles", "[a.yaml]", name="text for list"),
    case("projects: {p1: {order: first}}", "wrong-type", "projects.p1.order", name="text for number"),
    case("projects: {p1: {order: 1.5}}", "wrong-type", "projects.p1.order", name="fraction for whole number"),
    case("projects: {p1: {archived: yes}}", "wrong-type", "projects.p1.archived", "true", name="yes"),
    case("projects: {p1: {archived: Off}}", "wrong-type", "projects.p1.archived", "false", name="Off"),
    case(
        "projects: {p1: {displayName: 101}}", "wrong-type", "projects.p1.displayName", '"101"', name="number for text"
    ),
    case("projects: {p1: {displayName: {en: 2.10}}}", "wrong-type", "projects.p1.displayName.en", '"2.10"'),
    case("projects: {p1: {environment: {A: 1}}}", "wrong-type", "projects.p1.environment.A", '"1"'),
    case("projects: {p1: {members: }}", "set-twice", "projects.p1.members"),
    case("projects: {p1: {instructors: }}", "no-value", "projects.p1.instructors"),
    case("profiles: {b: {cpu: 1, memory: 1, groups: [~]}}", "no-value", "profiles.b.groups[0]"),
    case("projects: {p1: {kind: Course}}", "wrong-value", "projects.p1.kind", "course"),
    case("signIn: {method: ldap}", "wrong-value", "signIn.method"),
    case("home: {scope: users}", "wrong-value", "home.scope", "user"),
    case("projects: {p1: {displayName: {zh-tw: x}}}", "language", "projects.p1.displayName.zh-tw", "zh_TW"),
    case("projects: {p1: {displayName: {English: x}}}", "language", "projects.p1.displayName.English"),
    case("projects: {p1: {contact: {}}}", "wrong-value", "projects.p1.contact", name="no language"),
    case('projects: {p1: {displayName: " "}}', "empty", "projects.p1.displayName"),
    case('projects: {p1: {displayName: "a\\0"}}', "control-character", "projects.p1.displayName"),
    case('imageStreamFiles: ["a\\nb"]', "control-character", "imageStreamFiles[0]"),
    case("home: {size: 4 GB}", "quantity", "home.size", "4Gi"),
    case("home: {size: 10gib}", "quantity", "home.size", "10Gi"),
    case("home: {size: -1}", "quantity", "home.size", name="negative"),
    case("home: {size: 1_000}", "quantity", "home.size", "1000"),
    case("home: {size: .nan}", "quantity", "home.size", name="not a number"),
    case("home: {size: １Gi}", "quantity", "home.size", name="full-width digit"),
    case("home: {size: 1e400000000}", "quantity", "home.size", name="endless exponent"),
    case("home: {size: true}", "quantity", "home.size", name="truth"),
    case("home: {size: [1]}", "quantity", "home.size", name="list"),
    case(
        "projects: {p1: {quota: {project: {gpu: 1}}}}",
        "resource-key",
        "projects.p1.quota.project.gpu",
        "nvidia.com/gpu",
    ),
    case("quota: {perUser: {Server: 1}}", "resource-key", "quota.perUser.Server", "servers"),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: nvidia.com/gpu}}}\nquota: {perUser: {GPU: 1}}",
        "resource-key",
        "quota.perUser.GPU",
        "nvidia.com/gpu",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: gpu}}}",
        "resource-key",
        "profiles.g.accelerator.resource",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: a/b, count: 0}}}",
        "wrong-value",
        "profiles.g.accelerator.count",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: a/b, count: [1, x]}}}",
        "wrong-type",
        "profiles.g.accelerator.count[1]",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: a/b, count: []}}}",
        "wrong-value",
        "profiles.g.accelerator.count",
        name="no count",
    ),
    case("projects: {p1: {idle: {stopAfter: 90}}}", "duration", "projects.p1.idle.stopAfter", "90m"),
    case("projects: {p1: {idle: {stopAfter: 2 h}}}", "duration", "projects.p1.idle.stopAfter"),
    case("projects: {p1: {idle: {stopAfter: 5s}}}", "duration", "projects.p1.idle.stopAfter", name="too short"),
    case("projects: {p1: {idle: {maxAge: ''}}}", "duration", "projects.p1.idle.maxAge", name="empty duration"),
    case("projects: {'a b': {}}", "name", 'projects."a b"'),
    case("projects: {'../x': {}}", "name", 'projects."../x"'),
    case("profiles: {'-x': {cpu: 1, memory: 1}}", "name", "profiles.-x"),
    case("imageStreams: {b: {tags: {'a:b': {}}}}", "name", "imageStreams.b.tags.a:b"),
    case("imageStreams: {b: {tags: {'1': {image: 'A b'}}}}", "image", "imageStreams.b.tags.1.image"),
    case("imageStreams: {b: {source: 'javascript:x', tags: {}}}", "address", "imageStreams.b.source"),
    case(
        "imageStreams: {b: {tags: {'1': {requirements: [numpy, -r x.txt]}}}}",
        "requirement",
        "imageStreams.b.tags.1.requirements[1]",
    ),
    case("projects: {p1: {instructors: {users: [a/b]}}}", "name", "projects.p1.instructors.users[0]"),
    case("projects: {p1: {environment: {PATH: x}}}", "environment", "projects.p1.environment.PATH"),
    case("projects: {p1: {environment: {lower: x}}}", "environment", "projects.p1.environment.lower"),
]

MEANING = [
    case(p2("{images: {offer: [pyy]}}"), "unknown-image", "projects.p2.images.offer[0]", "py"),
    case(p2("{images: {offer: ['py:2']}}"), "unknown-image", "projects.p2.images.offer[0]"),
    case(p2("{images: {offer: [py], default: 'py:11'}}"), "unknown-image", "projects.p2.images.default", "py:1"),
    case(
        "imageStreams: {r: {tags: {'1': {requirements: []}}}}\n" + "projects: {p1: {images: {}}}",
        "",
        "",
        name="nothing wrong",
    ),
    case(
        'imageStreams: {r: {tags: {"1": {requirements: []}}}}\n'
        'projects: {p2: {open: true, images: {offer: [r], default: "py:1"}, profiles: {offer: [small]}}}',
        "default-not-offered",
        "projects.p2.images.default",
    ),
    case(
        'imageStreams: {r: {tags: {"1": {image: a/r, state: retired, successor: "2"}, "2": {image: a/r}}}}\n'
        'projects: {p2: {open: true, images: {offer: [r], default: "r:1"}, profiles: {offer: [small]}}}',
        "default-not-usable",
        "projects.p2.images.default",
        "r:2",
        name="retired default image",
    ),
    case(
        'imageStreams: {r: {tags: {"1": {requirements: [], state: hidden}}}}\n'
        'projects: {p2: {open: true, images: {offer: [r], default: "r:1"}, profiles: {offer: [small]}}}',
        "default-not-usable",
        "projects.p2.images.default",
        name="hidden default image",
    ),
    case(
        'imageStreams: {r: {offered: false, tags: {"1": {requirements: []}}}}\n'
        "projects: {p2: {open: true, images: {offer: [r]}, profiles: {offer: [small]}}}",
        "not-listed",
        "projects.p2.images.offer[0]",
        "",
        "warning",
    ),
    case(
        'imageStreams: {r: {tags: {"2.8": {image: a/r, state: retired, successor: "2.91"}, "2.9": {image: a/r}}}}',
        "unknown-image",
        'imageStreams.r.tags."2.8".successor',
        "r:2.9",
    ),
    case(
        'imageStreams: {r: {tags: {"1": {requirements: [], state: retired, successor: "r:1"}}}}',
        "own-successor",
        "imageStreams.r.tags.1.successor",
    ),
    case(
        'imageStreams: {r: {tags: {"1": {requirements: [], successor: "py:1"}}}}',
        "unused-successor",
        "imageStreams.r.tags.1.successor",
        "",
        "warning",
    ),
    case('imageStreams: {r: {tags: {"1": {}}}}', "nothing-to-run", "imageStreams.r.tags.1", "", "warning"),
    case(p2("{profiles: {offer: [smal]}}"), "unknown-profile", "projects.p2.profiles.offer[0]", "small"),
    case(
        p2("{profiles: {offer: [small], default: Small}}"),
        "unknown-profile",
        "projects.p2.profiles.default",
        "small",
        name="default of another case",
    ),
    case(
        "profiles: {smaller: {cpu: 1, memory: 1}}\n"
        "projects: {p2: {open: true, images: {offer: [py]}, profiles: {offer: [smaller], default: small}}}",
        "default-not-offered",
        "projects.p2.profiles.default",
        "smaller",
    ),
    case(
        "profiles: {old: {cpu: 1, memory: 1, retired: true, successor: small}}\n"
        "projects: {p2: {open: true, images: {offer: [py]}, profiles: {offer: [old, small], default: old}}}",
        "default-not-usable",
        "projects.p2.profiles.default",
        "small",
    ),
    case(
        "profiles: {old: {cpu: 1, memory: 1, retired: true, successor: smal}}",
        "unknown-profile",
        "profiles.old.successor",
        "small",
    ),
    case(
        "profiles: {old: {cpu: 1, memory: 1, retired: true, successor: old}}", "own-successor", "profiles.old.successor"
    ),
    case(
        "profiles: {old: {cpu: 1, memory: 1, successor: small}}",
        "unused-successor",
        "profiles.old.successor",
        "",
        "warning",
    ),
    case("profiles: {b: {cpu: {request: 2, limit: 1}, memory: 1}}", "limit-below-request", "profiles.b.cpu.limit"),
    case(
        p2("{quota: {project: {cpu: 500m}}}"),
        "profile-exceeds-quota",
        "projects.p2.profiles.offer[0]",
        name="project quota",
    ),
    case(
        p2("{quota: {perMember: {memory: 1G}}}"),
        "profile-exceeds-quota",
        "projects.p2.profiles.offer[0]",
        name="member quota",
    ),
    case(
        p2("{quota: {perMember: {servers: 0}}}"),
        "profile-exceeds-quota",
        "projects.p2.profiles.offer[0]",
        name="no servers allowed",
    ),
    case(
        "quota: {perUser: {cpu: 500m}}",
        "profile-exceeds-quota",
        "projects.p1.profiles.offer[0]",
        "",
        "warning",
        name="user quota",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: a.b/c, count: [1, 4]}}}\n"
        "projects: {p2: {open: true, images: {offer: [py]}, profiles: {offer: [g]}, quota: {project: {a.b/c: 2}}}}",
        "profile-exceeds-quota",
        "projects.p2.profiles.offer[0]",
        "",
        "warning",
        name="only the larger count",
    ),
    case(
        "profiles: {g: {cpu: 1, memory: 1, accelerator: {resource: nvidia.com/gpu}}}\n"
        "projects: {p1: {quota: {project: {nvidia.com/gpu: 4}}}}",
        "unused-quota",
        'projects.p1.quota.project."nvidia.com/gpu"',
        "",
        "warning",
    ),
    case("quota: {perUser: {amd.com/gpu: 1}}", "unused-quota", 'quota.perUser."amd.com/gpu"', "", "warning"),
    case("quota: {perUser: {servers: 2.5}}", "not-whole", "quota.perUser.servers", "2"),
    case("home: {size: 3Gi}\nquota: {perUser: {storage: 2Gi}}", "storage-exceeds-quota", "home.size"),
    case(
        p2("{storage: {shared: {size: 3Gi}}, quota: {project: {storage: 2Gi}}}"),
        "storage-exceeds-quota",
        "projects.p2.storage.shared.size",
    ),
    case(
        "home: {scope: project}\nprojects: {p1: {storage: {home: {size: 3Gi}}, quota: {perMember: {storage: 2Gi}}}}",
        "storage-exceeds-quota",
        "projects.p1.storage.home.size",
    ),
    case(p2("{storage: {home: {size: 3Gi}}}"), "home-scope", "projects.p2.storage.home.size"),
    case(p2("{storage: {datasets: {d: {}}}}"), "no-source", "projects.p2.storage.datasets.d"),
    case(p2("{storage: {shared: {from: nowhere}}}"), "no-such-folder", "projects.p2.storage.shared.from"),
    case(
        p2("{storage: {shared: {from: /no/where}}}"),
        "no-such-folder",
        "projects.p2.storage.shared.from",
        "",
        "warning",
        name="absolute folder",
    ),
    case(
        "profiles: {small: {ephemeralStorage: {request: 2Gi, limit: 1Gi}}}",
        "limit-below-request",
        "profiles.small.ephemeralStorage.limit",
    ),
    case("projects: {p1: {namespace: p1}}", "shared-namespace", "projects.p1.namespace"),
    case("home: {scope: project}\ncluster: {namespaces: perProject}", "no-namespace", "projects.p1"),
    case("projects: {p1: {namespace: p1}}\ncluster: {namespaces: perProject}", "home-scope", "cluster.namespaces"),
    case(
        "home: {scope: user}\nprojects: {p1: {namespace: p1}}\ncluster: {namespaces: perProject}",
        "home-scope",
        "home.scope",
        name="home.scope that is written",
    ),
    case(
        "home: {scope: project}\nprojects: {p1: {namespace: p1}, p2: {namespace: p1, members: {users: [ada]}, "
        "images: {offer: [py]}, profiles: {offer: [small]}}}\ncluster: {namespaces: perProject}",
        "same-namespace",
        "projects.p2.namespace",
    ),
    case(
        "home: {scope: project}\nprojects: {p1: {namespace: P1}}\ncluster: {namespaces: perProject}",
        "kubernetes-name",
        "projects.p1.namespace",
        name="a bad namespace is not a missing one",
    ),
    case("imageStreamFiles: [nowhere/*.yaml]", "no-such-file", "imageStreamFiles[0]"),
    case(json.dumps({"imageStreamFiles": ["a\0b"]}), "control-character", "imageStreamFiles[0]", name="NUL in a path"),
    case(p2("{}").replace("p2", "P1"), "same-name", "projects.P1"),
    case(p2("{}").replace('"p2"', '"p-1"').replace("p1", "p1"), "", "", name="distinct slugs"),
    case("signIn: {personas: {ADA: {}}}", "same-name", "signIn.personas.ADA"),
    case("signIn: {method: sharedPassword, people: {bob: {}, BOB: {}}}", "same-name", "signIn.people.BOB"),
    case("signIn: {method: sharedPassword}", "nobody", "signIn", "", "warning", name="nobody has a password"),
    case("signIn: {people: {bob: {}}}", "no-effect", "signIn.people", "", "warning", name="people sign in locally"),
    case("signIn: {method: sharedPasword}", "wrong-value", "signIn.method", "sharedPassword", name="method"),
    case(p2("{members: {}}"), "nobody", "projects.p2", "", "warning"),
    case(p2("{images: {}}"), "offers-nothing", "projects.p2.images.offer", "", "warning"),
    case(p2("{profiles: {}}"), "offers-nothing", "projects.p2.profiles.offer", "", "warning"),
    case(p2("{archived: true, members: {}, images: {}, profiles: {}}"), "", "", name="an archived project is quiet"),
    case(p2("{idle: {stopAfter: 2h, maxAge: 1h}}"), "idle-order", "projects.p2.idle.maxAge", "", "warning"),
    case(grouped(), "", "", name="groups that make projects"),
    case(grouped(template="coarse"), "unknown-template", "groupProjects.courses.template", "course"),
    case(grouped(members="/c/students"), "name", "groupProjects.courses.members", name="no mark in a group"),
    case(grouped(members="/<project>/<project>"), "name", "groupProjects.courses.members", name="two marks"),
    case(grouped(members="/*/<project>"), "name", "groupProjects.courses.members", name="wildcard beside a mark"),
    case(grouped(name="Lab-<project>"), "name", "groupProjects.courses.name", name="no name of a project"),
    case(grouped(instructors="/c/<project>"), "same-group", "groupProjects.courses.instructors"),
    case(
        grouped(instructors="/c/<project>-staff"),
        "same-group",
        "groupProjects.courses.instructors",
        name="a group that could be both",
    ),
    case(grouped(instructors="/c/<project>/staff"), "", "", name="a group below the other"),
    case(
        grouped({"labs": LABS}),
        "same-name",
        "groupProjects.labs",
        name="two entries of one name",
    ),
    case(
        grouped({"labs": {**LABS, "name": "x-<project>"}}),
        "same-name",
        "groupProjects.labs.name",
        name="one name within the other",
    ),
    case(
        grouped({"labs": {**LABS, "name": "x-<project>"}}, name="c-<project>"),
        "",
        "",
        name="names that can be told apart",
    ),
    case(
        "projectTemplates: {t: {images: {offer: [py]}, profiles: {offer: [small]}}}",
        "no-effect",
        "projectTemplates.t",
        "",
        "warning",
    ),
    case(template("{members: {users: [ada]}}"), "unknown-key", f"{COURSE}.members"),
    case(template("{namespace: a}"), "unknown-key", f"{COURSE}.namespace"),
    case(template("{open: true}"), "unknown-key", f"{COURSE}.open"),
    case(template("{images: {offer: [pyy]}}"), "unknown-image", f"{COURSE}.images.offer[0]", "py"),
    case(template("{images: {}}"), "offers-nothing", f"{COURSE}.images.offer", "", "warning"),
    case(template("{profiles: {offer: [smal]}}"), "unknown-profile", f"{COURSE}.profiles.offer[0]", "small"),
    case(template("{profiles: {}}"), "offers-nothing", f"{COURSE}.profiles.offer", "", "warning"),
    case(
        template("{quota: {project: {cpu: 0.5}}}"),
        "profile-exceeds-quota",
        f"{COURSE}.profiles.offer[0]",
    ),
    case(
        template("{quota: {project: {servers: 1.5}}}"),
        "not-whole",
        f"{COURSE}.quota.project.servers",
        "1",
    ),
    case(template("{storage: {home: {size: 1Gi}}}"), "home-scope", f"{COURSE}.storage.home.size"),
    case(
        template("{storage: {shared: {from: nowhere}}}"),
        "no-such-folder",
        f"{COURSE}.storage.shared.from",
    ),
    case(
        template("{storage: {datasets: {d: {displayName: D}}}}"),
        "no-source",
        f"{COURSE}.storage.datasets.d",
    ),
    case(
        template("{storage: {shared: {size: 2Gi}}, quota: {project: {storage: 1Gi}}}"),
        "storage-exceeds-quota",
        f"{COURSE}.storage.shared.size",
    ),
    case(
        template("{idle: {stopAfter: 2h, maxAge: 1h}}"),
        "idle-order",
        f"{COURSE}.idle.maxAge",
        "",
        "warning",
    ),
]


@pytest.mark.parametrize(("text", "code", "path", "suggestion", "severity"), SHAPE + MEANING)
def test_one_problem_is_one_finding_with_place_and_suggestion(
    read: Callable[..., Loaded], text: str, code: str, path: str, suggestion: str, severity: str
) -> None:
    loaded = read(BASE, text)
    assert brief(loaded.findings) == ([(code, path)] if code else [])
    for finding in loaded.findings:
        assert (finding.suggestion, finding.severity) == (suggestion, severity)
        assert finding.line >= 1
        assert finding.column >= 1
        assert finding.message
        assert finding.help or finding.code == "set-twice"
        assert "\n" not in str(finding)


def test_places_are_of_the_key_or_the_value_at_fault(read: Callable[..., Loaded]) -> None:
    loaded = read(BASE, "projects:\n  p1:\n    kind: curse\n    oops: 1\n    quota:\n      project: {gpu: 1}\n")
    places = {finding.path: (finding.line, finding.column) for finding in loaded.findings}
    assert places == {"projects.p1.kind": (3, 11), "projects.p1.oops": (4, 5), "projects.p1.quota.project.gpu": (6, 17)}


def test_everything_wrong_is_reported_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(PolicyFileError) as caught:
        load([ROOT / "tests" / "data" / "policy" / "broken.yaml"])
    findings = caught.value.findings
    assert [finding.line for finding in findings] == sorted(finding.line for finding in findings)
    assert {"unknown-key", "quantity", "unknown-image", "unknown-profile", "duplicate-key"} <= {
        finding.code for finding in findings
    }
    assert len(findings) > 20
    assert "broken.yaml:3:32" in str(caught.value)


def test_a_broken_part_does_not_make_references_to_it_look_wrong(read: Callable[..., Loaded]) -> None:
    loaded = read(BASE.replace("memory: 1Gi", "memory: lots").replace("py: {tags", "py: {oops: 1, tags"))
    assert brief(loaded.findings) == [
        ("unknown-key", "imageStreams.py.oops"),
        ("quantity", "profiles.small.memory"),
    ]


def test_an_unreadable_stream_file_does_not_make_references_look_wrong(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("kind: [")
    text = BASE.replace("offer: [py]", "offer: [py, other]") + "imageStreamFiles: [s.yaml]\n"
    (tmp_path / "p.yaml").write_text(text)
    loaded = attempt([tmp_path / "p.yaml"])
    assert [(finding.code, Path(finding.file).name) for finding in loaded.findings] == [("yaml-syntax", "s.yaml")]


def test_a_stream_in_two_places_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(
        json.dumps(
            {
                "apiVersion": "image.openshift.io/v1",
                "kind": "ImageStream",
                "metadata": {"name": "py", "labels": {"opendatahub.io/notebook-image": "true"}},
                "spec": {"tags": [{"name": "1", "from": {"kind": "DockerImage", "name": "example.org/py:1"}}]},
            }
        )
    )
    (tmp_path / "p.yaml").write_text(BASE + "imageStreamFiles: [s.json]\n")
    assert [finding.code for finding in attempt([tmp_path / "p.yaml"]).findings] == ["set-twice"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"a: \xff\n", "not-utf8", id="not UTF-8"),
        pytest.param("a: é".encode("utf-16"), "not-utf8", id="UTF-16"),
        pytest.param(b"a: [\n", "yaml-syntax", id="syntax"),
        pytest.param(b"- a\n", "not-a-map", id="list"),
        pytest.param(b"text", "not-a-map", id="text"),
        pytest.param(b"a: 1\n---\nb: 1\n", "second-document", id="two documents"),
        pytest.param(b"# only a remark\n", "empty-file", id="empty"),
    ],
)
def test_a_file_that_is_no_policy(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    findings = attempt([tmp_path / "p.yaml"]).findings
    assert findings[0].code == code
    assert findings[0].file == str(tmp_path / "p.yaml")


def test_the_place_of_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"a: 1\nbc: \xff\n")
    (finding,) = attempt([tmp_path / "p.yaml"]).findings
    assert (finding.line, finding.column) == (2, 5)


def test_files_that_cannot_be_opened_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    paths = [tmp_path / "none.yaml", tmp_path / "empty", tmp_path / "loop.yaml", Path("nul\0")]
    findings = attempt(paths).findings
    assert [finding.code for finding in findings if finding.severity is Severity.ERROR] == ["unreadable"] * 4


# --- whatever a file holds -------------------------------------------------------------------------------------------

EXAMPLE_TEXT = EXAMPLE.read_text(encoding="utf-8")
EXAMPLE_VALUE = yaml.safe_load(EXAMPLE_TEXT)
PROVIDER = {"issuer": "https://id.example.org/realms/school", "clientId": "aihub", "caFile": "ca.pem"}
PROVIDERS = {
    "method": "keycloak",
    "publicUrl": "https://hub.example.org",
    "keycloak": {**PROVIDER, "internalUrl": "http://sso:8080", "groupsFrom": ["groups", "clientRoles"]},
    "oidc": {**PROVIDER, "scopes": ["groups"], "clientSecretExpires": "2027-03-31"},
    "github": {"clientId": "x", "url": "https://git.example.org", "organizations": ["my-school"]},
    "allowed": {"groups": ["/courses/**", "role:student"], "users": ["ada"]},
    "admins": {"groups": ["/staff"]},
    "identity": {"maxAge": "12h", "freshForAccelerators": True},
    "afterSignOut": "stopServers",
    "afterLeaving": {"stopServersAfter": "15m"},
}
"""Every block of sign-in at once. The example signs in by personas."""
EVERYTHING = {
    **EXAMPLE_VALUE,
    "signIn": {**EXAMPLE_VALUE["signIn"], **PROVIDERS},
    "groupProjects": {
        "courses": {"members": "/c/<project>/students", "instructors": "/c/<project>/staff", "template": "course"},
        "labs": {"members": "/labs/<project>", "name": "lab-<project>", "template": "course"},
    },
    "projectTemplates": {"course": {"images": {"offer": ["pytorch"]}, "profiles": {"offer": ["cpu-small"]}}},
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2Gi", "pytorch:2.9", "gpu", "ml101", "2h", "en", "nvidia.com/gpu", "\x00", "[key]", "<map>"])
)
keys = st.text(max_size=6) | st.sampled_from(
    ["request", "tags", "offer", "quota", "en", "displayName", "[key]", "<one>"]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for key, item in items for below in paths_of(item, (*path, key)))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_no_value_anywhere_raises(tmp_path: Path, data: st.DataObject) -> None:
    document = json.loads(json.dumps(EVERYTHING))
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(paths_of(document)[1:]))
        parent = document
        for part in path[:-1]:
            parent = parent[part]
        change = data.draw(st.sampled_from(["set", "remove", "add"]))
        if change == "set":
            parent[path[-1]] = data.draw(values)
        elif change == "remove":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[data.draw(keys)] = data.draw(values)
        if not document:
            break
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8", errors="replace")
    loaded = attempt([tmp_path / "p.yaml"])
    assert all(finding.message and finding.code for finding in loaded.findings)
    # Whatever is left is a policy that decides.
    for project in loaded.policy.projects.values():
        assert project.role(Person("nobody")) is None or project.members.everybody or project.members.users


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    at=st.integers(0, len(EXAMPLE_TEXT)),
    length=st.integers(0, 40),
    text=st.text(alphabet=st.sampled_from("ab0:-[]{}&*<#!|>'\"\n \t,?%@\u202e\x00"), max_size=12),
)
def test_no_text_raises(tmp_path: Path, at: int, length: int, text: str) -> None:
    mutated = EXAMPLE_TEXT[:at] + text + EXAMPLE_TEXT[at + length :]
    (tmp_path / "p.yaml").write_text(mutated, encoding="utf-8")
    loaded = attempt([tmp_path / "p.yaml"])
    assert all(str(finding).isprintable() for finding in loaded.findings)


# --- schema and reference --------------------------------------------------------------------------------------------


def test_the_schema_accepts_the_shipped_policies() -> None:
    validator = Draft202012Validator(schema())
    Draft202012Validator.check_schema(schema())
    for path in (EXAMPLE, DEMO / "policy.yaml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors(EVERYTHING)) == []


# What only the loader can see: the YAML itself, and rules that a pattern cannot hold.
BEYOND_SCHEMA = {
    "set-twice",
    "disagreement",
    "environment",
    "image",
    "requirement",
    "address",
    "control-character",
    "empty",
}


@pytest.mark.parametrize(
    ("text", "code", "path", "suggestion", "severity"),
    [
        each
        for each in SHAPE
        if each.values[1] not in BEYOND_SCHEMA and each.id not in {"endless exponent", "too short"}
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    text: str, code: str, path: str, suggestion: str, severity: str
) -> None:
    document, _ = read_document(text, "p.yaml")
    value = json.loads(json.dumps(document.value, default=float))
    assert list(Draft202012Validator(schema()).iter_errors(value)), text


@pytest.mark.parametrize(
    "text",
    ["500m", "1.5", "2Gi", "1e3", "1E3", ".5", "5.", "1K", "-1", "", "１", "1_0", "NaN", "2 Gi", "1e", "0x1", "7n"],
)
def test_the_schema_s_quantities_are_those_that_are_read(text: str) -> None:
    try:
        parse_quantity(text)
        readable = True
    except QuantityError:
        readable = False
    assert bool(re.search(QUANTITY_PATTERN, text)) is readable


def test_every_field_has_a_title_and_a_description() -> None:
    raw = PolicyDocument.model_json_schema()
    bare = [
        (name, key)
        for name, part in {**raw["$defs"], "": raw}.items()
        for key, each in part.get("properties", {}).items()
        if not each.get("title") or not each.get("description")
    ]
    assert bare == []


def test_the_reference_page_is_current() -> None:
    page = ROOT / "docs" / "reference" / "policy.md"
    assert page.read_text(encoding="utf-8") == policy_reference(), (
        f"run: python -m aihub.reference > {page.relative_to(ROOT)}"
    )


# --- the demo --------------------------------------------------------------------------------------------------------


def test_the_demo_has_what_its_description_promises() -> None:
    policy = load([DEMO]).policy
    assert [project.display_name.plain for project in policy.projects.values()] == ["Machine Learning 101", "Data Lab"]
    assert len(policy.catalog.streams) == 3
    assert sorted(policy.profiles) == ["gpu", "large", "medium", "small"]
    requirements = {
        requirement
        for reference in policy.catalog.references()
        for requirement in (policy.catalog.find(reference) or (None, None))[1].requirements  # type: ignore[union-attr]
    }
    assert len(requirements) == 5
    assert all("==" in requirement for requirement in requirements)
    old = policy.catalog.streams["mathematics"].tag("2025")
    assert old is not None
    assert (old.state, old.successor) == (TagState.RETIRED, "2026")


@pytest.mark.parametrize("project", ["ml101", "datalab"])
def test_a_starter_notebook_imports_only_what_its_default_image_has(project: str) -> None:
    policy = load([DEMO]).policy
    found = policy.catalog.find(str(policy.projects[project].images.default))
    assert found is not None
    assert found[1].requirements is not None
    libraries = {requirement.partition("==")[0] for requirement in found[1].requirements}
    folder = policy.projects[project].storage.shared
    assert folder is not None
    (notebook,) = Path(str(folder.source)).glob("*.ipynb")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == libraries


def test_the_demo_is_readable_by_everybody() -> None:
    assert all(os.access(path, os.R_OK) for path in DEMO.rglob("*"))
