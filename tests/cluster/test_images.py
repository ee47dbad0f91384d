"""The built images, read from the registry, and run as the chart runs them: restricted, with a read-only root."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from aihub import __version__
from images.build import Built, build
from images.engines import is_local
from images.recipes import RECIPES, input_files
from tests.cluster.rig.cluster import Cluster

ROOT = Path(__file__).parents[2]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

STOCK = ("hub", "proxy", "singleuser-base")
SLOW = ("singleuser-scipy", "singleuser-pytorch")
ALL = [*STOCK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]

BOUNDS = {
    "hub": 400,
    "proxy": 240,
    "singleuser-base": 650,
    "singleuser-scipy": 1150,
    "singleuser-pytorch": 8000,
}
"""MB, uncompressed."""

COMPILERS = "as c++ c89 c99 cargo cc clang cpp g++ gcc gfortran go ld make rustc"

SEARCH = f"""
id -u
for name in {COMPILERS}; do
    ! command -v $name || echo "found $name"
    ls /usr/bin/$name-[0-9]* /usr/bin/*-linux-gnu-$name* 2>/dev/null || true
done
echo searched
"""


@pytest.fixture(scope="session")
def made(cluster: Cluster) -> Callable[[str], Built]:
    """An image by its name, built and pushed when it is first asked for."""
    return cache(lambda name: build([name], cluster.registry)[name])


def config_of(built: Built) -> dict[str, Any]:
    """The image's configuration, https://github.com/opencontainers/image-spec/blob/main/config.md."""
    host, _, repository = built.pinned.partition("@")[0].partition("/")
    scheme = "http" if is_local(built.reference) else "https"
    kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    with httpx.Client(base_url=f"{scheme}://{host}/v2/{repository}/", follow_redirects=True) as registry:
        manifest = registry.get(f"manifests/{built.digest}", headers={"Accept": kinds}).raise_for_status().json()
        document: dict[str, Any] = registry.get(f"blobs/{manifest['config']['digest']}").raise_for_status().json()
    return document["config"]  # type: ignore[no-any-return]


def printed(cluster: Cluster, built: Built, script: str, writable: tuple[str, ...] = (), *, frozen: bool = True) -> str:
    """What a shell script prints in a pod of the image; it must succeed. The root is read-only if `frozen`."""
    mounts = {f"v{number}": path for number, path in enumerate(writable)}
    container = {
        "name": "main",
        "image": built.pinned,
        "command": ["/bin/sh", "-ec", script],
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": frozen,
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        # No user of ours is named: the image's own must be good enough for runAsNonRoot.
        "securityContext": {"runAsNonRoot": True, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": name, "emptyDir": {}} for name in mounts],
        "containers": [container],
    }
    with cluster.namespace("images", RESTRICTED) as namespace:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": spec}
        cluster.apply(pod, namespace=namespace)
        phase = cluster.until(lambda: _ended(cluster, namespace), seconds=240)
        said = cluster.kubectl("logs", "main", f"--namespace={namespace}")
    assert phase == "Succeeded", said
    return said


def _ended(cluster: Cluster, namespace: str) -> str:
    phase = str(cluster.get("pod", "main", f"--namespace={namespace}")["status"]["phase"])
    return phase if phase in {"Succeeded", "Failed"} else ""


@pytest.mark.parametrize("name", ALL)
def test_an_image_says_who_runs_and_where_it_comes_from(name: str, made: Callable[[str], Built]) -> None:
    config = config_of(made(name))
    assert config["User"] == "1000:1000"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["source"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", labels["revision"])
    assert labels["title"].startswith("AIHub ")


@pytest.mark.parametrize("name", ALL)
def test_an_image_stays_within_its_size(name: str, made: Callable[[str], Built]) -> None:
    built = made(name)
    print(f"{name}: {built.size / 1e6:.0f} MB")
    assert built.size <= BOUNDS[name] * 1e6


@pytest.mark.parametrize("name", STOCK)
def test_an_image_starts_with_a_read_only_root_and_holds_no_compiler(
    name: str, cluster: Cluster, made: Callable[[str], Built]
) -> None:
    # A user server's home is a volume, and so is the hub's state.
    writable = ("/home/jovyan", "/tmp") if name.startswith("singleuser") else ("/srv/aihub",) if name == "hub" else ()
    said = printed(cluster, made(name), f"{SEARCH}\n{RECIPES[name].check}", writable).splitlines()
    assert said[:2] == ["1000", "searched"]


def test_the_hubs_image_holds_this_checkout(cluster: Cluster, made: Callable[[str], Built]) -> None:
    script = "cd /opt/aihub/lib/python3*/site-packages && find aihub -type f ! -name '*.pyc' -exec sha256sum {} +"
    found = {name: digest for digest, name in map(str.split, printed(cluster, made("hub"), script).splitlines())}
    wanted = {str(file): file for file in input_files(RECIPES["hub"]) if file.parts[0] == "aihub"}
    assert {name: hashlib.sha256((ROOT / file).read_bytes()).hexdigest() for name, file in wanted.items()} == {
        name: digest for name, digest in found.items() if not name.startswith("aihub/demo/")
    }


def test_the_hubs_modules_are_compiled(cluster: Cluster, made: Callable[[str], Built]) -> None:
    script = """python -c '
import importlib.util, os, sys
import aihub.hub, jupyterhub.app, kubespawner
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
sources = [file for file in files if file.endswith(".py")]
print(len(sources), [file for file in sources if not os.path.exists(importlib.util.cache_from_source(file))])
'"""
    count, missing = printed(cluster, made("hub"), script).strip().split(" ", 1)
    assert int(count) > 500
    assert missing == "[]"


def test_what_a_person_installs_reaches_the_kernel_and_not_the_server(
    cluster: Cluster, made: Callable[[str], Built]
) -> None:
    script = """
        site=$(python -m site --user-site)
        mkdir -p $site $HOME/.local/bin
        echo 'VALUE = 42' > $site/mine.py
        echo 'raise SystemExit(1)' > $site/traitlets.py
        printf '#!/bin/sh\\nexit 1\\n' > $HOME/.local/bin/jupyterhub-singleuser
        chmod +x $HOME/.local/bin/jupyterhub-singleuser
        python -c 'import mine; print(mine.VALUE)'
        jupyterhub-singleuser --version
        rm $site/traitlets.py
        mkdir -p $HOME/.local/share/jupyter/kernels/python3
        echo '{"argv": ["false"], "display_name": "Broken", "language": "python"}' \
            > $HOME/.local/share/jupyter/kernels/python3/kernel.json
        echo 'import mine; print("kernel", mine.VALUE)' | /opt/jupyter/bin/jupyter-run --kernel python3
        jupyter server extension list 2>&1
    """
    said = printed(cluster, made("singleuser-base"), script, ("/home/jovyan", "/tmp")).splitlines()
    assert said[0] == "42"
    assert re.fullmatch(r"6\.\d+\.\d+", said[1])
    assert "kernel 42" in said
    extensions = re.sub(r"\x1b\[\d*m", "", "\n".join(said))
    for name in ("aihub.singleuser", "jupyterlab", "nbgitpuller"):
        assert re.search(rf"^ *{re.escape(name)} .*OK$", extensions, re.MULTILINE), extensions
