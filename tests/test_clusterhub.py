"""The hub in a pod: how it is configured, what its operator may add, and how it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from click.testing import CliRunner
from kubernetes_asyncio.client import ApiClient, Configuration
from traitlets.config import Config

from aihub import clusterhub
from aihub.app import AIHub
from aihub.cli import main
from aihub.cluster import ClusterSite
from aihub.clusterhub import ClusterHub, configured
from aihub.errors import StoreError
from aihub.hub import setup_cluster
from aihub.kube import Kube, pods_path
from tests.fake_kube import fake_kube
from tests.kube_rig import POLICY, settings_of, until

SINGLEUSER: dict[str, Any] = {
    "startTimeout": 1200,
    "nodeSelector": {"pool": "users"},
    "tolerations": [{"key": "users", "operator": "Exists"}],
    "extraEnv": {"TZ": "UTC"},
    "extraLabels": {"team": "ai"},
    "extraAnnotations": {"note": "x"},
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "extraPodSpec": {"dnsPolicy": "None"},
    "imagePullPolicy": "Always",
    "schedulerName": "second",
}


def config_of(**settings: Any) -> Config:
    config = Config()
    setup_cluster(config, settings_of(**settings), (Path("/etc/aihub/policy"),), Path("/srv/aihub"))
    return config


# --- configuration ---------------------------------------------------------------------------------------------------


def test_proxy_and_servers_outlive_the_hub() -> None:
    config = config_of()
    assert config.JupyterHub.cleanup_servers is False
    assert config.JupyterHub.cleanup_proxy is False
    assert config.ConfigurableHTTPProxy.should_start is False
    assert config.ConfigurableHTTPProxy.api_url == "http://proxy.aihub:8001"
    assert config.JupyterHub.hub_connect_url == "http://hub.aihub:8081"
    assert config.JupyterHub.last_activity_interval <= 30, "a new proxy gets its routes soon"


def test_roles_and_services_of_admins_stand_beside_those_of_aihub() -> None:
    more = {"services": [{"name": "theirs"}], "load_roles": [{"name": "theirs"}], "default_url": "/hub/home"}
    plain, config = config_of(), config_of(hub={"config": {"JupyterHub": more}})
    assert config.JupyterHub.services == [*plain.JupyterHub.services, {"name": "theirs"}]
    assert config.JupyterHub.load_roles == [*plain.JupyterHub.load_roles, {"name": "theirs"}]
    assert config.JupyterHub.default_url == "/hub/home"


def test_a_student_cannot_end_the_hub_and_homes_are_not_kubespawner_s() -> None:
    config = config_of()
    assert config.Spawner.consecutive_failure_limit == 0
    assert config.JupyterHub.spawner_class == "aihub.podspawner.AIHubSpawner"
    assert config.KubeSpawner.storage_pvc_ensure is False
    assert config.KubeSpawner.delete_pvc is False
    assert "profile_list" not in config.KubeSpawner


def test_what_the_chart_says_of_user_servers_reaches_the_spawner() -> None:
    config = config_of(singleuser=SINGLEUSER)
    spawner = config.KubeSpawner
    assert config.Spawner.start_timeout == 1200
    assert spawner.namespace == "users"
    assert spawner.node_selector == {"pool": "users"}
    assert spawner.tolerations == SINGLEUSER["tolerations"]
    assert spawner.environment == {"TZ": "UTC"}
    assert spawner.extra_labels == {"team": "ai"}
    assert spawner.extra_annotations == {"note": "x"}
    assert spawner.volumes == SINGLEUSER["extraVolumes"]
    assert spawner.volume_mounts == SINGLEUSER["extraVolumeMounts"]
    assert spawner.image_pull_policy == "Always"
    assert spawner.scheduler_name == "second"


def test_databases_are_files_on_the_volume_unless_the_environment_names_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AIHUB_HUB_DATABASE_URL", raising=False)
    monkeypatch.delenv("AIHUB_DATABASE_URL", raising=False)
    config = config_of()
    assert config.JupyterHub.db_url == "sqlite:////srv/aihub/jupyterhub.sqlite"
    assert config.AIHub.database_url == "sqlite:////srv/aihub/aihub.sqlite"
    assert config.AIHub.policy_paths == ["/etc/aihub/policy"]
    monkeypatch.setenv("AIHUB_HUB_DATABASE_URL", "postgresql://one")
    monkeypatch.setenv("AIHUB_DATABASE_URL", "postgresql://two")
    config = config_of()
    assert (config.JupyterHub.db_url, config.AIHub.database_url) == ("postgresql://one", "postgresql://two")


def test_an_admin_s_traits_count_over_ours() -> None:
    config = config_of(hub={"config": {"JupyterHub": {"log_level": "DEBUG"}, "Authenticator": {"admin_users": ["x"]}}})
    assert config.JupyterHub.log_level == "DEBUG"
    assert config.Authenticator.admin_users == ["x"]
    assert config.JupyterHub.cleanup_servers is False, "the rest stays"


def test_without_the_culler_there_is_no_service() -> None:
    assert [each["name"] for each in config_of().JupyterHub.services] == ["idle-culler"]
    config = config_of(cull={"enabled": False})
    assert not config.JupyterHub.get("services")
    assert [role["name"] for role in config.JupyterHub.load_roles] == ["user"]


def test_files_of_the_admin_find_what_was_set_and_come_in_their_order(tmp_path: Path) -> None:
    first, second = tmp_path / "10-a.py", tmp_path / "20-b.py"
    first.write_text("c.JupyterHub.load_roles.append({'name': 'more'})\nc.AIHubSpawner.stop_deadline = 60\n")
    second.write_text("c.AIHubSpawner.stop_deadline *= 2\nc.Spawner.default_url = '/tree'\n")
    config = configured(settings_of(), (tmp_path,), (first, second))
    assert [role["name"] for role in config.JupyterHub.load_roles][-1] == "more"
    assert config.AIHubSpawner.stop_deadline == 120
    assert config.Spawner.default_url == "/tree"
    assert config.KubeSpawner.namespace == "users"


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    settings, policy = tmp_path / "settings.yaml", tmp_path / "policy.yaml"
    settings.write_text(yaml.safe_dump(settings_of().model_dump(by_alias=True)))
    policy.write_text(POLICY)
    return {"settings": settings, "policy": policy}


def run(files: dict[str, Path], *more: str) -> Any:
    given = ["hub", "--settings", str(files["settings"]), "--policy", str(files["policy"]), *more]
    return CliRunner().invoke(main, given)


def test_settings_that_the_chart_would_not_write_end_the_hub(files: dict[str, Path]) -> None:
    files["settings"].write_text("instance: a/b\nnonsense: 1\n")
    result = run(files)
    assert result.exit_code == 2
    assert str(files["settings"]) in result.output
    assert "nonsense" in result.output


def test_a_bad_policy_ends_the_hub_with_the_words_of_the_check(files: dict[str, Path]) -> None:
    files["policy"].write_text("projects: {lab: {members: 3}}")
    result = run(files)
    assert result.exit_code == 2
    assert "policy.yaml:1" in result.output
    assert "the hub was not started" in result.output


def test_a_folder_of_files_is_read_in_the_order_of_names(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config.d"
    folder.mkdir()
    (folder / "2.py").write_text("c.Spawner.default_url += '2'")
    (folder / "1.py").write_text("c.Spawner.default_url = '1'")
    (folder / "notes.txt").write_text("not Python")
    served: list[Config] = []
    monkeypatch.setattr(clusterhub, "serve", lambda _settings, config: served.append(config))
    result = run(files, "--config", str(folder))
    assert result.exit_code == 0, result.output
    assert served[0].Spawner.default_url == "12"


# --- the start -------------------------------------------------------------------------------------------------------


class Opening:
    """An AIHub whose database is away at first."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.opened: list[Collection[str]] = []

    async def open(self, adopted: Collection[str]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.opened.append(adopted)


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("whatever")], ids=["database", "anything"])
async def test_the_ledger_is_rebuilt_as_soon_as_it_can_be(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clusterhub, "REBUILD_PATIENCE", 0.01)
    aihub = Opening(error, error)
    hub = cast(ClusterHub, SimpleNamespace(log=logging.getLogger("tests.hub")))
    await asyncio.wait_for(ClusterHub._open(hub, cast(AIHub, aihub), {"a"}), 5)
    assert aihub.opened == [{"a"}]
    assert caplog.text.count("cannot be rebuilt yet") == 2


@pytest.fixture
def default_client() -> Iterator[None]:
    before = Configuration.get_default_copy()
    yield
    Configuration.set_default(before)


async def test_watches_of_many_namespaces_leave_room_for_requests(default_client: None) -> None:
    async with fake_kube() as fake:
        Configuration.set_default(Configuration(host=fake.url))
        clusterhub._open_connections()
        site = ClusterSite(settings_of())
        async with ApiClient() as client:
            kube = Kube(client, request_timeout=5)
            site.begin(kube)
            for number in range(60):
                site.view(f"project-{number}")
            await until(lambda: fake.watching == 122, 30)
            assert await kube.read(pods_path("users", "not-there")) is None
            site.close()
            await asyncio.sleep(0)
