"""AIHub at the end of another deployment's configuration, as docs/kubernetes/zero-to-jupyterhub.md says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from aihub.chart import Settings
from aihub.clusterhub import configured
from tests.test_docs import DOCS, ROOT, fences, shown_files

PAGE = DOCS / "kubernetes" / "zero-to-jupyterhub.md"
VALUES: dict[str, Any] = yaml.safe_load(shown_files(PAGE)["z2jh-values.yaml"])

STAND_IN = """
c = get_config()

c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.concurrent_spawn_limit = 64
c.JupyterHub.base_url = "/"
c.JupyterHub.allow_named_servers = False
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.KubeSpawner.common_labels = {"app": "jupyterhub", "release": "jupyterhub"}
c.KubeSpawner.namespace = "jupyterhub"
c.Spawner.consecutive_failure_limit = 5
c.KubeSpawner.start_timeout = 3600
c.KubeSpawner.extra_labels = {"hub.jupyter.org/network-access-hub": "true"}
c.KubeSpawner.uid = 1000
c.KubeSpawner.fs_gid = 100
c.KubeSpawner.mem_guarantee = "1G"
c.KubeSpawner.image = "quay.io/jupyterhub/k8s-singleuser-sample:4"
c.KubeSpawner.image_pull_secrets = ["registry"]
c.KubeSpawner.node_affinity_preferred.append({"weight": 100, "preference": {}})
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.pvc_name_template = "claim-{user_server}"
c.KubeSpawner.volumes = {"home": {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}}
c.KubeSpawner.volume_mounts = {"home": {"mountPath": "/home/jovyan", "name": "home"}}
c.JupyterHub.services = [{"name": "jupyterhub-idle-culler", "command": ["python3", "-m", "jupyterhub_idle_culler"]}]
c.JupyterHub.load_roles = [{"name": "jupyterhub-idle-culler", "services": ["jupyterhub-idle-culler"]}]
c.Spawner.cmd = "jupyterhub-singleuser"
c.JupyterHub.cookie_secret = b"0" * 32
c["JupyterHub"].update({"admin_access": True, "authenticator_class": "dummy"})
"""
"""What z2jh's jupyterhub_config.py sets with its usual values (jupyterhub/files/hub in its repository, 48ea50e)."""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """The settings, as z2jh writes its extraFiles."""
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(VALUES["hub"]["extraFiles"]["aihub-settings.yaml"]["data"]))
    return path


def ended_with(code: str, settings_file: Path) -> Config:
    """The hub's configuration where `code` is the end of z2jh's file."""
    path = settings_file.with_name("jupyterhub_config.py")
    path.write_text(f"{STAND_IN}\n{code}")
    return configured(Settings.read(settings_file), (Path("/etc/aihub/policy"),), (path,))


def of_the_page(settings_file: Path) -> str:
    code: str = VALUES["hub"]["extraConfig"]["zz-aihub"]
    return code.replace("/usr/local/etc/aihub/settings.yaml", str(settings_file))


def of_the_repository(_settings_file: Path) -> str:
    return (ROOT / "config" / "jupyterhub_config.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("end", [of_the_page, of_the_repository])
def test_the_end_of_the_configuration_makes_the_hub_aihub_s(
    end: Any, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIHUB_SETTINGS", str(settings_file))
    monkeypatch.setenv("AIHUB_CONFIG", "/usr/local/etc/aihub/policy")
    config = ended_with(end(settings_file), settings_file)
    hub, spawner = config.JupyterHub, config.KubeSpawner
    assert hub.spawner_class == "aihub.podspawner.AIHubSpawner"
    assert "authenticator_class" not in hub, "the policy file names the method"
    assert hub.hub_connect_url == "http://hub.jupyterhub:8081", "servers in another namespace find it too"
    assert hub.db_url == "sqlite:////srv/jupyterhub/jupyterhub.sqlite", "on z2jh's volume, where it was"
    assert [service["name"] for service in hub.services] == ["idle-culler"]
    assert [role["name"] for role in hub.load_roles] == ["user", "idle-culler"]
    assert hub.allow_named_servers is True
    assert config.Spawner.consecutive_failure_limit == 0
    assert config.AIHub.policy_paths == ["/usr/local/etc/aihub/policy"]
    assert (spawner.namespace, spawner.storage_pvc_ensure, spawner.volumes) == ("jupyterhub-users", False, [])


def test_what_is_z2jh_s_stays(settings_file: Path) -> None:
    config = ended_with(of_the_page(settings_file), settings_file)
    assert config.JupyterHub.cookie_secret == b"0" * 32
    assert config.JupyterHub.tornado_settings == {"slow_spawn_timeout": 0}
    assert config.KubeSpawner.image_pull_secrets == ["registry"]


def test_the_values_leave_nothing_that_would_end_or_spoil_a_start() -> None:
    single = VALUES["singleuser"]
    # A trait of KubeSpawner counts over the same of Spawner, which is what AIHub sets.
    assert (
        single["startTimeout"]
        == Settings.model_fields["singleuser"].get_default(call_default_factory=True).start_timeout
    )
    assert single["cloudMetadata"]["blockWithIptables"] is False


def test_the_settings_that_the_page_lists_are_all_that_there_are() -> None:
    shown = yaml.safe_load(next(block for block in fences(PAGE, "yaml") if block.startswith("readNodes:")))
    needed = VALUES["hub"]["extraFiles"]["aihub-settings.yaml"]["data"]
    told = Settings.model_validate({**needed, **shown})
    everything = told.model_dump(by_alias=True)
    assert {*needed, *shown} == set(everything)
    for part in ("hub", "singleuser", "cull"):
        assert {*shown[part], *(["startTimeout"] if part == "singleuser" else [])} == set(everything[part])
