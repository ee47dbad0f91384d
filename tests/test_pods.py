from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aihub.catalog import StartAdapter
from aihub.marks import HELD, Identity, claim_name, held_claim
from aihub.plan import Plan
from aihub.pods import DEFAULT_CLAIM_SIZE, PodSettings, claims, grown, pod
from aihub.profiles import Placement
from aihub.quota import Amounts
from aihub.resources import Resources
from aihub.storage import Claim, Dataset, SharedFolder, StorageClasses
from tests.pod_rig import GIB, HUB, SETTINGS, admit, make_plan, manifest_of
from tests.podcheck import violations

DATA = Path(__file__).parent / "data" / "pods"
DIGEST = f"sha256:{'ab' * 32}"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def base() -> Document:
    return manifest_of()


def translate(base: Document, plan: Plan, settings: PodSettings = SETTINGS, server: str = "") -> Document:
    made = pod(base, admit(plan, server), HUB, settings)
    assert json.loads(json.dumps(made)) == made, "plain JSON values"
    return made


def server_of(made: Document) -> Document:
    found: Document = made["spec"]["containers"][0]
    return found


def env_of(made: Document) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in server_of(made)["env"]}


def check(made: Document, plan: Plan, settings: PodSettings = SETTINGS, **more: Any) -> list[str]:
    namespace = plan.namespace or settings.namespace
    return violations(
        made, plan, instance=HUB.instance, namespace=namespace, claims=claims(plan, HUB, settings), **more
    )


# --- golden files ----------------------------------------------------------------------------------------------------

SHARED = Claim("project/ml101", Decimal(100 * GIB), Amounts(project=Resources({"storage": 100 * GIB})))
OWN_HOME = Claim("home/ml101/ann", Decimal(5 * GIB), Amounts.everywhere(Resources({"storage": 5 * GIB})))
SMALL = make_plan(environment={"COURSE": "ml101", "LD_PRELOAD": "/tmp/x.so"})
GPU = make_plan(
    stream="pytorch",
    tag="2.9",
    image=f"registry.example/pytorch@{DIGEST}",
    profile="gpu",
    requests=Resources({"cpu": 4, "memory": 16 * GIB}),
    limits=Resources({"cpu": 8, "memory": 32 * GIB}),
    accelerator="nvidia.com/gpu",
    accelerator_count=2,
    placement=Placement(
        node_selector={"gpu": "a100"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        affinity={
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": ({"key": "zone", "operator": "In", "values": ("a", "b")},)}
                    ]
                }
            }
        },
        runtime_class="nvidia",
        priority_class="course",
    ),
    shared_memory=Decimal(8 * GIB),
    shared=SharedFolder(Decimal(100 * GIB)),
    claims=(make_plan().home, SHARED),
    datasets=(Dataset("mnist", claim="mnist"), Dataset("local", path="/data/local")),
    pull_secrets=("project-registry", "stream-registry"),
    ephemeral_request=Decimal(2 * GIB),
    ephemeral_limit=Decimal(20 * GIB),
    storage=StorageClasses("fast", "nfs"),
)
ODH = make_plan(
    stream="s2i-minimal-notebook",
    tag="v0.0.7",
    image="quay.io/thoth-station/s2i-minimal-notebook:v0.0.7",
    start=StartAdapter(("start-singleuser.sh", "--debug"), 8080, "/opt/app-root/src", 1001),
    shared=SharedFolder(None, members_write=True),
    may_write_shared=True,
    claims=(make_plan().home, replace(SHARED, size=None, charge=Amounts())),
)
OWN_NAMESPACE = make_plan(
    namespace="course-ml101",
    home=OWN_HOME,
    claims=(OWN_HOME, SHARED),
    shared=SharedFolder(Decimal(100 * GIB)),
    may_write_shared=True,
    storage=StorageClasses(None, "local", "ReadWriteOnce"),
)
GOLDEN = {"small": SMALL, "gpu": GPU, "odh": ODH, "own-namespace": OWN_NAMESPACE}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_plan_is_its_golden_pod_and_claims(base: Document, name: str) -> None:
    plan = GOLDEN[name]
    pod_ = translate(base, plan)
    # The versions in KubeSpawner's annotations are not ours.
    annotations = pod_["metadata"]["annotations"]
    pod_["metadata"]["annotations"] = {key: annotations[key] for key in annotations if not key.endswith("-version")}
    made = {"pod": pod_, "claims": list(claims(plan, HUB, SETTINGS))}
    path = DATA / f"{name}.golden.json"
    # After a change that is meant: delete the file, run again, and read the difference.
    if not path.exists():
        path.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    assert made == json.loads(path.read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_the_checker_finds_nothing_in_golden_pods(base: Document, name: str) -> None:
    assert check(translate(base, GOLDEN[name]), GOLDEN[name]) == []


def broken(path: str, value: Any) -> Any:
    """A change of a pod for the table below: `value` put at a path of keys and positions."""
    return pytest.param(path.split("."), value, id=f"{path} {value!s:.40}")


BROKEN = [
    broken("spec.hostNetwork", True),
    broken("spec.hostPID", True),
    broken("spec.hostIPC", True),
    broken("spec.hostUsers", True),
    broken("spec.shareProcessNamespace", True),
    broken("spec.automountServiceAccountToken", True),
    broken("spec.automountServiceAccountToken", None),
    broken("spec.enableServiceLinks", True),
    broken("spec.restartPolicy", "OnFailure"),
    broken("spec.nodeName", "node"),
    broken("spec.priority", 5),
    broken("spec.priorityClassName", "other"),
    broken("spec.runtimeClassName", None),
    broken("spec.nodeSelector", {}),
    broken("spec.tolerations", []),
    broken("spec.affinity", {}),
    broken("spec.imagePullSecrets", []),
    broken("spec.resourceClaims", [{"name": "x"}]),
    broken("spec.securityContext.runAsNonRoot", False),
    broken("spec.securityContext.runAsUser", 0),
    broken("spec.securityContext.fsGroup", 0),
    broken("spec.securityContext.fsGroupChangePolicy", "Always"),
    broken("spec.securityContext.seccompProfile", {"type": "Unconfined"}),
    broken("spec.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    broken("spec.volumes.0", {"name": "aihub-home", "hostPath": {"path": "/"}}),
    broken("spec.volumes.0.persistentVolumeClaim.claimName", "home-bob"),
    broken("spec.volumes.1.persistentVolumeClaim", {"claimName": "home-bob", "readOnly": True}),
    broken("spec.volumes.3", {"name": "aihub-shm", "emptyDir": {}}),
    broken("spec.volumes.2", {"name": "aihub-dataset-0", "projected": {"sources": [{"serviceAccountToken": {}}]}}),
    broken("spec.containers.0.image", "evil"),
    broken("spec.containers.0.args", ["sh"]),
    broken("spec.containers.0.command", ["sh"]),
    broken("spec.containers.0.ports", [{"containerPort": 8888, "hostPort": 1}]),
    broken("spec.containers.0.ports", [{"containerPort": 1}]),
    broken("spec.containers.0.envFrom", [{"secretRef": {"name": "x"}}]),
    broken("spec.containers.0.env.0", {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}),
    broken("spec.containers.0.env.0", {"name": "HOME", "value": "/"}),
    broken("spec.containers.0.resources.limits", {}),
    broken("spec.containers.0.resources.limits.memory", "64Gi"),
    broken("spec.containers.0.resources.requests.cpu", "1m"),
    broken("spec.containers.0.resources.limits.nvidia.com/gpu", "8"),
    broken("spec.containers.0.resources.requests.nvidia.com/gpu", "1"),
    broken("spec.containers.0.resources.limits.amd.com/gpu", "1"),
    broken("spec.containers.0.resources.limits.ephemeral-storage", "1Ti"),
    broken("spec.containers.0.resources.claims", [{"name": "x"}]),
    broken("spec.containers.0.securityContext", {}),
    broken("spec.containers.0.securityContext.privileged", True),
    broken("spec.containers.0.securityContext.allowPrivilegeEscalation", None),
    broken("spec.containers.0.securityContext.capabilities", {"drop": []}),
    broken("spec.containers.0.securityContext.capabilities.add", ["SYS_ADMIN"]),
    broken("spec.containers.0.securityContext.runAsUser", 0),
    broken("spec.containers.0.securityContext.procMount", "Unmasked"),
    broken("spec.containers.0.securityContext.appArmorProfile", {"type": "Unconfined"}),
    broken("spec.containers.0.securityContext.seLinuxOptions", {"type": "spc_t"}),
    broken("spec.containers.0.securityContext.windowsOptions", {"hostProcess": True}),
    broken("spec.containers.0.lifecycle", {"postStart": {"httpGet": {"host": "h"}}}),
    broken("spec.containers.0.livenessProbe", {"tcpSocket": {"host": "h"}}),
    broken("spec.containers.0.volumeMounts", []),
    broken("spec.containers.0.volumeMounts.0.subPath", "x"),
    broken("spec.containers.0.volumeMounts.0.readOnly", True),
    broken("spec.containers.0.volumeMounts.1.mountPath", "/elsewhere"),
    broken("spec.containers.0.volumeMounts.0.mountPropagation", "Bidirectional"),
    broken("spec.initContainers", [{"name": "i", "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]}]),
    broken("metadata.name", "jupyter-ann"),
    broken("metadata.namespace", "kube-system"),
    broken("metadata.ownerReferences", [{"name": "x"}]),
    broken("metadata.labels.app.kubernetes.io/component", "hub"),
    broken("metadata.labels.component", "hub"),
    broken("metadata.labels.hub.jupyter.org/network-access-hub", "true"),
    broken("metadata.labels.aihub.io/project", "other"),
    broken("metadata.annotations.aihub.io/owner", "hub/aihub/bob"),
    broken("metadata.annotations.aihub.io/digest", "sha256:0"),
    broken("metadata.annotations.aihub.io/admission", None),
    broken("metadata.annotations.karpenter.sh/do-not-disrupt", None),
    broken("metadata.annotations.aihub.io/jupyter", '{"HubAuth":{"cache_max_age":300}}'),
    broken("spec.containers.0.volumeMounts.4.mountPath", "/elsewhere"),
    broken("spec.volumes.4.downwardAPI", {"items": []}),
    broken("metadata.annotations.container.apparmor.security.beta.kubernetes.io/notebook", "unconfined"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), BROKEN)
def test_the_checker_finds_what_is_broken(base: Document, path: list[str], value: Any) -> None:
    made: Any = translate(base, GPU)
    holder, keys = made, list(path)
    while keys and not (isinstance(holder, dict) and ".".join(keys) in holder) and len(keys) > 1:
        step: Any = int(keys[0]) if isinstance(holder, list) else keys[0]
        if isinstance(holder, dict) and step not in holder:
            break
        holder = holder[step]
        keys = keys[1:]
    last: Any = int(keys[0]) if isinstance(holder, list) else ".".join(keys)
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    assert check(made, GPU) != []


# --- the plan over the base ------------------------------------------------------------------------------------------


def test_only_a_plan_with_an_image_becomes_a_pod(base: Document) -> None:
    with pytest.raises(ValueError, match="plan with an image"):
        pod(base, admit(make_plan(image=None)), HUB, SETTINGS)
    with pytest.raises(ValueError, match="plan with an image"):
        pod(base, replace(admit(make_plan()), plan=None), HUB, SETTINGS)


def test_a_base_without_the_server_is_refused() -> None:
    replaced = manifest_of(extra_pod_config={"containers": [{"name": "mine", "image": "x"}]})
    with pytest.raises(ValueError, match="extra_pod_config"):
        pod(replaced, admit(make_plan()), HUB, SETTINGS)


def test_making_a_pod_leaves_its_parts_alone(base: Document) -> None:
    before = json.dumps(base)
    extra = {"volumes": [{"name": "a", "emptyDir": {}}], "nodeSelector": {"a": "b"}}
    first = translate(base, GPU, PodSettings("users", extra))
    assert json.dumps(base) == before
    assert first == translate(base, GPU, PodSettings("users", extra))
    assert extra == {"volumes": [{"name": "a", "emptyDir": {}}], "nodeSelector": {"a": "b"}}


def test_another_hub_or_server_is_another_pod(base: Document) -> None:
    plan = make_plan()
    names = {
        pod(base, admit(plan, server), Identity(instance, "aihub"), SETTINGS)["metadata"]["name"]
        for server in ("", "two")
        for instance in ("hub/aihub", "hub2/aihub")
    }
    assert len(names) == 4


def test_a_digest_is_said_only_where_it_is_known(base: Document) -> None:
    annotations = translate(base, make_plan(image=f"registry.example/a:1@{DIGEST}"))["metadata"]["annotations"]
    assert annotations["aihub.io/digest"] == DIGEST
    assert "aihub.io/digest" not in translate(base, make_plan())["metadata"]["annotations"]


def test_annotations_of_the_policy_do_not_pass_for_ours(base: Document) -> None:
    plan = make_plan(annotations={"note": "x", "aihub.io/owner": "hub/aihub/bob", "aihub.io/extra": "y"})
    annotations = translate(base, plan)["metadata"]["annotations"]
    assert annotations["note"] == "x"
    assert annotations["aihub.io/owner"] == "hub/aihub/ann"
    assert "aihub.io/extra" not in annotations


ENVIRONMENT = [
    # project's, hub's and admins', accelerator, name, what the server gets
    pytest.param({"A": "p"}, {}, 0, "A", "p", id="project"),
    pytest.param({"A": "p"}, {"A": "admin"}, 0, "A", "admin", id="admin above project"),
    pytest.param({"JUPYTERHUB_USER": "bob"}, {}, 0, "JUPYTERHUB_USER", "mock@name", id="hub above project"),
    pytest.param({"LD_PRELOAD": "x"}, {}, 0, "LD_PRELOAD", None, id="filtered"),
    pytest.param({"A": "$(JPY_API_TOKEN)"}, {}, 0, "A", None, id="expansion"),
    pytest.param({}, {"HTTPS_PROXY": "http://p"}, 0, "HTTPS_PROXY", "http://p", id="admins may redirect"),
    pytest.param({}, {"HOME": "/root"}, 0, "HOME", "/home/jovyan", id="home is the adapter's"),
    pytest.param({}, {}, 0, "NVIDIA_VISIBLE_DEVICES", "void", id="no accelerator"),
    pytest.param(
        {"NVIDIA_VISIBLE_DEVICES": "all"}, {}, 0, "NVIDIA_VISIBLE_DEVICES", "void", id="project wants devices"
    ),
    pytest.param({}, {"NVIDIA_VISIBLE_DEVICES": "all"}, 0, "NVIDIA_VISIBLE_DEVICES", "void", id="admin wants devices"),
    pytest.param({}, {"NVIDIA_VISIBLE_DEVICES": "all"}, 1, "NVIDIA_VISIBLE_DEVICES", None, id="the plugin's"),
    pytest.param({}, {"CUDA_VISIBLE_DEVICES": "0"}, 0, "CUDA_VISIBLE_DEVICES", None, id="devices by another name"),
    pytest.param({}, {"MEM_LIMIT": "5"}, 0, "MEM_LIMIT", str(2 * GIB), id="memory limit"),
    pytest.param({}, {}, 0, "MEM_GUARANTEE", str(GIB), id="memory request"),
    pytest.param({}, {}, 0, "CPU_LIMIT", "2", id="cpu limit"),
    pytest.param({}, {}, 0, "CPU_GUARANTEE", "0.5", id="cpu request"),
    pytest.param({}, {}, 0, "JUPYTER_IMAGE", "registry.example/scipy:2026", id="image"),
    pytest.param({}, {}, 0, "JUPYTER_IMAGE_SPEC", "registry.example/scipy:2026", id="image, older name"),
]


@pytest.mark.parametrize(("projects", "admins", "count", "name", "value"), ENVIRONMENT)
def test_environment(
    projects: dict[str, str], admins: dict[str, str], count: int, name: str, value: str | None
) -> None:
    plan = make_plan(environment=projects, accelerator="nvidia.com/gpu" if count else None, accelerator_count=count)
    assert env_of(translate(manifest_of(environment=admins), plan)).get(name) == value


def test_an_unlimited_server_is_told_no_limit() -> None:
    plan = make_plan(requests=Resources(), limits=Resources())
    made = translate(manifest_of(mem_limit="1G", cpu_guarantee=1), plan)
    assert not {"MEM_LIMIT", "MEM_GUARANTEE", "CPU_LIMIT", "CPU_GUARANTEE"} & env_of(made).keys()
    assert server_of(made)["resources"] == {"requests": {}, "limits": {}}


def test_what_the_hub_refers_to_stands_before_it() -> None:
    made = translate(manifest_of(environment={"B": "$(A)/b", "A": "admin"}), make_plan(environment={"A": "project"}))
    names = [each["name"] for each in server_of(made)["env"]]
    assert names.index("A") < names.index("B")
    assert names.count("A") == 1


def test_folders_of_configuration_that_admins_name_come_after_ours() -> None:
    made = translate(manifest_of(environment={"JUPYTER_CONFIG_PATH": "/opt/site"}), SMALL)
    assert env_of(made)["JUPYTER_CONFIG_PATH"] == "/etc/aihub/jupyter:/opt/site"
    assert check(made, SMALL) == []


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://0.0.0.0:8888/user/ann/", "http://0.0.0.0:8080/user/ann/"),
        ("https://[::]:8888/user/ann/", "https://[::]:8080/user/ann/"),
        ("http://0.0.0.0/user/ann:5/", "http://0.0.0.0:8080/user/ann:5/"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_server_is_told_its_own_port(address: str, told: str) -> None:
    base = manifest_of(environment={"JUPYTERHUB_SERVICE_URL": address})
    assert env_of(translate(base, ODH))["JUPYTERHUB_SERVICE_URL"] == told


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param(StartAdapter(), {"args": ["jupyterhub-singleuser"]}, id="the image's entrypoint stays"),
        pytest.param(StartAdapter(("run", "it")), {"command": ["run", "it"]}, id="a stated command is all"),
    ],
)
def test_start_command(base: Document, start: StartAdapter, expected: Document) -> None:
    server = server_of(translate(base, make_plan(start=start)))
    assert {key: server[key] for key in ("command", "args") if key in server} == expected


@pytest.mark.parametrize(
    ("request_", "limit", "of_all", "expected"),
    [
        pytest.param(None, None, None, (None, None), id="nothing said"),
        pytest.param(1, 2, 9, ("1", "2"), id="the profile's"),
        pytest.param(None, None, 9, (None, "9"), id="of all pods"),
        pytest.param(5, None, 3, ("5", "5"), id="more than for all pods"),
    ],
)
def test_ephemeral_storage(
    base: Document, request_: int | None, limit: int | None, of_all: int | None, expected: tuple[str | None, str | None]
) -> None:
    amounts = {
        key: None if value is None else Decimal(value) for key, value in (("r", request_), ("l", limit), ("a", of_all))
    }
    plan = make_plan(ephemeral_request=amounts["r"], ephemeral_limit=amounts["l"])
    found = server_of(translate(base, plan, PodSettings("users", ephemeral_limit=amounts["a"])))["resources"]
    assert (found["requests"].get("ephemeral-storage"), found["limits"].get("ephemeral-storage")) == expected


def test_the_plans_classes_win_over_the_settings_and_the_base() -> None:
    base = manifest_of(priority_class_name="base")
    chosen = make_plan(placement=Placement(priority_class="plan"))
    for plan, given_, expected in ((chosen, "all", "plan"), (make_plan(), "all", "all"), (make_plan(), "", "base")):
        made = translate(base, plan, PodSettings("users", priority_class=given_))
        assert made["spec"]["priorityClassName"] == expected


def test_secrets_and_tolerations_add_up_without_repeating() -> None:
    toleration = {"key": "a", "operator": "Exists"}
    base = manifest_of(image_pull_secrets=["one", "two"], tolerations=[toleration])
    plan = make_plan(pull_secrets=("one", "three"), placement=Placement(tolerations=(toleration, {"key": "b"})))
    spec = translate(base, plan, PodSettings("users", pull_secrets=("four",)))["spec"]
    assert [each["name"] for each in spec["imagePullSecrets"]] == ["one", "three", "four", "two"]
    assert spec["tolerations"] == [toleration, {"key": "b"}]


def test_the_plans_node_selector_wins() -> None:
    base = manifest_of(node_selector={"pool": "all", "arch": "amd64"})
    made = translate(base, make_plan(placement=Placement(node_selector={"pool": "gpu"})))
    assert made["spec"]["nodeSelector"] == {"pool": "gpu", "arch": "amd64"}


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("/home/jovyan", False),
        ("/home/jovyan/", False),
        ("/home/jovyan/../jovyan", False),
        ("/home/jovyan/project", False),
        ("/home/jovyan/datasets", False),
        ("/home/jovyan/datasets/mnist/x", False),
        ("/dev/shm", False),
        ("/home/jovyan/campus", True),
        ("/home/jovyan/projects", True),
        ("/opt/course", True),
    ],
)
def test_admins_do_not_mount_over_the_policy(path: str, stays: bool) -> None:
    base = manifest_of(volumes=[{"name": "v", "emptyDir": {}}], volume_mounts=[{"name": "v", "mountPath": path}])
    mounts = server_of(translate(base, GPU))["volumeMounts"]
    assert ({"name": "v", "mountPath": path} in mounts) is stays


def test_admins_may_bring_shared_memory_where_the_profile_says_nothing_of_it() -> None:
    volume = {"name": "v", "emptyDir": {"medium": "Memory"}}
    base = manifest_of(volumes=[volume], volume_mounts=[{"name": "v", "mountPath": "/dev/shm"}])
    assert {"name": "v", "mountPath": "/dev/shm"} in server_of(translate(base, make_plan()))["volumeMounts"]


def test_a_sidecar_may_mount_the_home_but_not_what_is_not_there() -> None:
    sidecar = {
        "name": "backup",
        "image": "x",
        "volumeMounts": [
            {"name": "aihub-home", "mountPath": "/data"},
            {"name": "aihub-project", "mountPath": "/project"},
        ],
    }
    made = translate(manifest_of(extra_containers=[sidecar]), make_plan())
    assert made["spec"]["containers"][1]["volumeMounts"] == [{"name": "aihub-home", "mountPath": "/data"}]


# --- claims ----------------------------------------------------------------------------------------------------------


def test_a_claim_without_a_size_asks_for_the_default_and_is_charged_nothing() -> None:
    home = Claim("home/ann", None, Amounts())
    (document,) = claims(make_plan(home=home, claims=(home,)), HUB, SETTINGS)
    assert document["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert Decimal(10 * GIB) == DEFAULT_CLAIM_SIZE
    held = held_claim(document)
    assert held is not None
    assert held.claim == home


def claim_document(size: str | None, charged: int | None = None, *, held: str | None = None) -> Document:
    home = Claim("home/ann", None if charged is None else Decimal(charged), Amounts())
    (document,) = claims(make_plan(home=home, claims=(home,)), HUB, SETTINGS)
    document["spec"]["resources"]["requests"] = {} if size is None else {"storage": size}
    if held is not None:
        document["metadata"]["annotations"][HELD] = held
    return document


GROWN = [
    # existing, wanted, new size, whether the charge changes
    pytest.param(claim_document("5Gi", 5), claim_document("5Gi", 5), None, False, id="same"),
    pytest.param(claim_document("5Gi", 5), claim_document("9Gi", 9), "9Gi", True, id="larger"),
    pytest.param(claim_document("9Gi", 9), claim_document("5Gi", 5), None, False, id="never smaller"),
    pytest.param(claim_document("5120Mi", 5), claim_document("5Gi", 5), None, False, id="same in other units"),
    pytest.param(claim_document("5Gi", 5), claim_document("10Gi"), None, False, id="no size grows nothing"),
    pytest.param(claim_document("10Gi"), claim_document("5Gi", 5), None, True, id="a size is named now"),
    pytest.param(claim_document("9Gi", 5), claim_document("9Gi", 9), None, True, id="grown by hand before"),
    pytest.param(claim_document("5Gi", held="{"), claim_document("5Gi", 5), None, True, id="charge unreadable"),
    pytest.param(claim_document(None, 5), claim_document("9Gi", 9), None, False, id="size unknown"),
    pytest.param(claim_document("-5", 5), claim_document("9Gi", 9), None, False, id="size unreadable"),
    pytest.param({}, claim_document("9Gi", 9), None, False, id="nothing"),
]


@pytest.mark.parametrize(("existing", "wanted", "size", "charged"), GROWN)
def test_growing(existing: Document, wanted: Document, size: str | None, charged: bool) -> None:
    patch = grown(existing, wanted) or {}
    assert patch.get("spec") == (None if size is None else {"resources": {"requests": {"storage": size}}})
    annotations = patch.get("metadata", {}).get("annotations")
    assert annotations == ({HELD: wanted["metadata"]["annotations"][HELD]} if charged else None)


def test_nothing_to_do_is_no_patch() -> None:
    assert grown(claim_document("5Gi", 5), claim_document("5Gi", 5)) is None


# --- any plan over any base ------------------------------------------------------------------------------------------

words = st.text("abcxyz", min_size=1, max_size=6)
names = st.text(min_size=1, max_size=20).filter(lambda text: "/" not in text)
sizes = st.integers(1, 64).map(lambda number: Decimal(number * GIB))
hostile_names = st.sampled_from(
    ("A", "COURSE", "LD_PRELOAD", "JUPYTERHUB_USER", "JPY_API_TOKEN", "NVIDIA_VISIBLE_DEVICES", "PATH", "HOME",
     "MEM_LIMIT", "HABANA_VISIBLE_DEVICES", "PYTHONPATH", "https_proxy", "HTTPS_PROXY", "KUBERNETES_SERVICE_HOST")
)  # fmt: skip
values = st.sampled_from(("x", "all", "$(JUPYTERHUB_API_TOKEN)", "a\nb", "", "안"))
affinities = st.fixed_dictionaries(
    {},
    optional={
        "nodeAffinity": st.fixed_dictionaries(
            {
                "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
                    {
                        "nodeSelectorTerms": st.lists(
                            st.builds(lambda key: {"matchExpressions": [{"key": key, "operator": "Exists"}]}, words),
                            min_size=1,
                            max_size=3,
                        )
                    }
                )
            }
        )
    },
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    person, project = draw(names), draw(words)
    scoped = draw(st.booleans())
    home = Claim(f"home/{project}/{person}" if scoped else f"home/{person}", draw(st.none() | sizes), Amounts())
    shared = draw(st.none() | st.just(SharedFolder(Decimal(GIB))))
    accelerator = draw(st.none() | st.sampled_from(("nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb")))
    request = draw(sizes)
    return make_plan(
        person=person,
        project=project,
        image=draw(st.sampled_from(("registry.example/a:1", f"registry.example/a@{DIGEST}"))),
        requests=Resources({"cpu": Decimal(draw(st.integers(1, 4000))) / 1000, "memory": request}),
        limits=Resources({"cpu": 8, "memory": request * 2}) if draw(st.booleans()) else Resources(),
        accelerator=accelerator,
        accelerator_count=draw(st.integers(1, 4)) if accelerator else 0,
        placement=Placement(
            draw(st.dictionaries(words, words, max_size=2)),
            draw(st.lists(st.fixed_dictionaries({"key": words, "operator": st.just("Exists")}), max_size=2).map(tuple)),
            draw(affinities),
            draw(st.none() | words),
            draw(st.none() | words),
        ),
        shared_memory=draw(st.none() | sizes),
        home=home,
        claims=(home, *((Claim(f"project/{project}", shared.size, Amounts()),) if shared else ())),
        shared=shared,
        may_write_shared=draw(st.booleans()),
        datasets=draw(
            st.lists(st.builds(Dataset, words, claim=words), max_size=2, unique_by=lambda each: each.name).map(tuple)
        ),
        environment=draw(st.dictionaries(hostile_names, values, max_size=4)),
        namespace=draw(st.none() | words),
        pull_secrets=draw(st.lists(words, max_size=2, unique=True).map(tuple)),
        start=draw(
            st.builds(
                StartAdapter,
                st.lists(words, min_size=1, max_size=2).map(tuple),
                st.integers(1024, 65535),
                st.sampled_from(("/home/jovyan", "/opt/app-root/src")),
                st.integers(1, 2**31 - 1),
            )
        ),
        ephemeral_limit=draw(st.none() | sizes),
    )


contexts: st.SearchStrategy[Document] = st.sampled_from(
    (
        {},
        {"privileged": True, "allowPrivilegeEscalation": True},
        {"runAsUser": 0, "runAsNonRoot": False, "runAsGroup": 0},
        {"capabilities": {"add": ["SYS_ADMIN"], "drop": []}, "procMount": "Unmasked"},
        {"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}},
        {"seLinuxOptions": {"user": "root"}, "windowsOptions": {"hostProcess": True}, "runAsUser": 33},
    )
)
OTHERS = claim_name(HUB, "home/bob")
volumes: st.SearchStrategy[Document] = st.sampled_from(
    (
        {"name": "host", "hostPath": {"path": "/"}},
        {"name": "nfs", "nfs": {"server": "s", "path": "/"}},
        {"name": "bobs", "persistentVolumeClaim": {"claimName": OTHERS}},
        {"name": "campus", "persistentVolumeClaim": {"claimName": "campus"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        {"name": "aihub-home", "persistentVolumeClaim": {"claimName": OTHERS}},
        {"name": "aihub-project", "emptyDir": {}},
        {"name": "scratch", "emptyDir": {}},
    )
)
paths = st.sampled_from(
    ("/home/jovyan", "/home/jovyan/project", "/home/jovyan/datasets/x", "/dev/shm", "/proc/1", "/data",
     "/opt/app-root/src/x", "/var/run/secrets/kubernetes.io/serviceaccount", "/home/jovyan/campus")
)  # fmt: skip
mounts: st.SearchStrategy[Document] = st.builds(
    lambda name, path: {"name": name, "mountPath": path, "mountPropagation": "Bidirectional"},
    st.sampled_from(("host", "nfs", "bobs", "campus", "token", "aihub-home", "aihub-project", "scratch")),
    paths,
)
unique_mounts: st.SearchStrategy[list[Document]] = st.lists(
    mounts, max_size=4, unique_by=lambda each: each["mountPath"]
)
environments = st.dictionaries(
    hostile_names.filter(lambda name: not name.startswith(("JUPYTERHUB_", "JPY_"))), values, max_size=3
)
sidecars: st.SearchStrategy[Document] = st.builds(
    lambda name, context, mounted, env: {
        "name": name,
        "image": "registry.example/side:1",
        "securityContext": context,
        "volumeMounts": mounted,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"containerPort": 5000, "hostPort": 5000, "hostIP": "0.0.0.0"}],
        "resources": {"requests": {"cpu": "1"}, "limits": {"nvidia.com/gpu": "1"}, "claims": [{"name": "gpu"}]},
        "livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}},
        "lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}},
    },
    words,
    contexts,
    unique_mounts,
    environments,
)
hostile_specs = st.fixed_dictionaries(
    {},
    optional={
        "hostNetwork": st.just(True),
        "hostPID": st.just(True),
        "hostIPC": st.just(True),
        "hostUsers": st.booleans(),
        "shareProcessNamespace": st.just(True),
        "automountServiceAccountToken": st.just(True),
        "enableServiceLinks": st.just(True),
        "restartPolicy": st.just("Always"),
        "activeDeadlineSeconds": st.just(60),
        "nodeName": words,
        "priority": st.just(10**9),
        "nodeSelector": st.dictionaries(words, words, max_size=2),
        "affinity": affinities,
        "runtimeClassName": words,
        "priorityClassName": words,
        "schedulerName": words,
        "serviceAccountName": words,
        "resourceClaims": st.just([{"name": "gpu", "resourceClaimName": "all"}]),
        "securityContext": st.just(
            {"runAsUser": 0, "runAsNonRoot": False, "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
             "seccompProfile": {"type": "Unconfined"}, "supplementalGroups": [100]}
        ),
        "tolerations": st.lists(st.fixed_dictionaries({"operator": st.just("Exists")}), max_size=1),
        "volumes": st.lists(volumes, max_size=4, unique_by=lambda each: each["name"]),
    },
)  # fmt: skip
several = st.lists(sidecars, max_size=2, unique_by=lambda each: each["name"])
hostile_traits = st.fixed_dictionaries(
    {},
    optional={
        "environment": environments,
        "volumes": st.lists(volumes, max_size=5, unique_by=lambda each: each["name"]),
        "volume_mounts": unique_mounts,
        "extra_containers": several,
        "privileged": st.just(True),
        "allow_privilege_escalation": st.just(True),
        "uid": st.just(0),
        "gid": st.just(0),
        "fs_gid": st.just(0),
        "supplemental_gids": st.just([100]),
        "container_security_context": contexts,
        "pod_security_context": st.just({"runAsUser": 0, "fsGroup": 0, "sysctls": [{"name": "a", "value": "b"}]}),
        "extra_labels": st.just(
            {"app.kubernetes.io/component": "hub", "aihub.io/project": "other", "app": "hub", "component": "hub",
             "hub.jupyter.org/network-access-hub": "true", "pod-security.kubernetes.io/enforce": "none", "free": "yes"}
        ),
        "extra_annotations": st.just(
            {"aihub.io/owner": "hub/aihub/bob", "aihub.io/admission": "none", "karpenter.sh/do-not-disrupt": "false",
             "container.apparmor.security.beta.kubernetes.io/notebook": "unconfined",
             "seccomp.security.alpha.kubernetes.io/pod": "unconfined", "free": "yes"}
        ),
        "extra_resource_limits": st.just({"nvidia.com/gpu": "8"}),
        "extra_resource_guarantees": st.just({"nvidia.com/gpu": "8"}),
        "mem_limit": st.just("1T"),
        "cpu_limit": st.just(100),
        "service_account": words,
        "automount_service_account_token": st.just(True),
        "node_selector": st.dictionaries(words, words, max_size=2),
        "lifecycle_hooks": st.just({"postStart": {"httpGet": {"host": "169.254.169.254", "port": 80}}}),
        "extra_container_config": st.just(
            {"envFrom": [{"secretRef": {"name": "s"}}], "command": ["sh"], "image": "evil", "resources": {"limits": {}},
             "ports": [{"containerPort": 1, "hostPort": 1}], "volumeDevices": [{"name": "x", "devicePath": "/dev/x"}]}
        ),
        "image": st.just("evil"),
        "cmd": st.just(["evil"]),
        "image_pull_secrets": st.just(["other"]),
    },
)  # fmt: skip
extra_specs = st.builds(
    lambda spec, containers: {**spec, "initContainers": containers}, hostile_specs, several
) | st.dictionaries(
    st.sampled_from(("volumes", "containers", "affinity", "hostUsers")), st.none() | st.text() | st.integers()
)


DECIDED = {
    "HABANA_VISIBLE_DEVICES", "HOME", "JUPYTERHUB_SERVICE_URL", "JUPYTER_IMAGE", "JUPYTER_IMAGE_SPEC", "MEM_LIMIT",
    "CPU_LIMIT", "NVIDIA_VISIBLE_DEVICES",
}  # fmt: skip
"""Variables that reach a server as the plan has them, whatever the hub and admins say."""


@settings(deadline=None, max_examples=150)
@given(plans(), hostile_traits, hostile_specs, extra_specs)
def test_no_base_weakens_a_plan(plan: Plan, traits: Document, spec: Document, extra: Document) -> None:
    base = manifest_of(**traits)
    base["spec"].update(spec)
    names_taken = {each["name"] for each in base["spec"]["containers"]}
    if isinstance(extra.get("initContainers"), list):
        extra = {
            **extra,
            "initContainers": [each for each in extra["initContainers"] if each["name"] not in names_taken],
        }
    settings_ = PodSettings("users", extra)
    made = translate(base, plan, settings_)
    given_env = {each["name"]: each["value"] for each in base["spec"]["containers"][0]["env"]}
    reaches = {name: value for name, value in given_env.items() if name not in DECIDED}
    assert check(made, plan, settings_, admin_claims={"campus"}, hub_env=reaches) == []
