"""The one place that writes JupyterHub's configuration: `setup` for one machine, `setup_cluster` for Kubernetes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from aihub import orphan
from aihub.app import AIHub
from aihub.chart import Settings
from aihub.config import GITHUB, KEYCLOAK, LOCAL, OIDC, SHARED_PASSWORD
from aihub.i18n import TEMPLATES, template_vars
from aihub.idle import CULLER_SCOPES
from aihub.machine import Machine
from aihub.scopes import DECIDE_SCOPE, READ_SCOPE

DATABASE_URL = "AIHUB_DATABASE_URL"
"""Variable that names another database for AIHub's own tables than the SQLite file in the state folder."""


HUB_DATABASE_URL = "AIHUB_HUB_DATABASE_URL"
"""Variable that names another database for JupyterHub's tables; from the environment, as `DATABASE_URL`."""

CRYPT_KEY = "JUPYTERHUB_CRYPT_KEY"
"""Variable of JupyterHub's with the keys that encrypt what sign-in keeps; several are separated by semicolons."""

CLUSTER_STATE = Path("/srv/aihub")
"""Where a hub in a pod keeps its databases: a volume."""


_AUTHENTICATORS = {
    LOCAL: "aihub.auth.PersonaAuthenticator",
    SHARED_PASSWORD: "aihub.auth.SharedPassword",
    KEYCLOAK: "aihub.sso.KeycloakSignIn",
    OIDC: "aihub.sso.OidcSignIn",
    GITHUB: "aihub.sso.GitHubSignIn",
}


def use_method(app: Any, method: str) -> None:
    """Sign in by `method` of the policy file, unless the configuration of the hub `app` names a class itself."""
    if "authenticator_class" not in app.config.JupyterHub:
        app.authenticator_class = _AUTHENTICATORS[method]


def setup(c: Any, machine: Machine) -> None:
    """Configure a hub on one machine.

    `c` is a traitlets Config. Everything the hub keeps goes below the state folder.
    """
    _listen(c, machine)
    _keep_state(c, machine)
    _log_to_file(c, machine)
    _run_services(c)
    _sign_in(c)
    if not os.environ.get(CRYPT_KEY):
        c.CryptKeeper.keys = [machine.state.read_crypt_key()]
    _start_processes(c)
    _start_servers(c)
    _show_pages(c)
    c.AIHub.policy_paths = [str(path) for path in machine.policy]
    # From the environment, because a PostgreSQL address holds a password.
    c.AIHub.database_url = os.environ.get(DATABASE_URL) or f"sqlite:///{machine.state.database}"


def setup_cluster(c: Any, settings: Settings, policy: tuple[Path, ...], state: Path = CLUSTER_STATE) -> None:
    """Configure a hub that runs in a cluster, as the chart's `settings` say.

    `c` is a traitlets Config, `policy` are the policy files and folders. What `hub.config` of the values sets counts
    over what is set here; what people may start is the policy's all the same.
    """
    _listen_in_cluster(c, settings)
    c.JupyterHub.db_url = os.environ.get(HUB_DATABASE_URL) or f"sqlite:///{state / 'jupyterhub.sqlite'}"
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.log_level = "INFO"
    _run_services(c, every=settings.cull.every if settings.cull.enabled else 0)
    _sign_in(c)
    _start_pods(c, settings)
    _start_servers(c)
    _show_pages(c)
    c.AIHub.policy_paths = [str(path) for path in policy]
    c.AIHub.database_url = os.environ.get(DATABASE_URL) or f"sqlite:///{state / 'aihub.sqlite'}"
    for name, traits in settings.hub.config.items():
        # Roles and services of admins stand beside AIHub's own, which its pages and the culler need.
        ours = {key: [*c.JupyterHub.get(key, [])] for key in ("load_roles", "services") if name == "JupyterHub"}
        added = {key: [*ours[key], *value] if key in ours else value for key, value in traits.items()}
        c[name].update(added)


def _listen_in_cluster(c: Any, settings: Settings) -> None:
    c.JupyterHub.bind_url = f"http://:8000{settings.hub.base_url}"
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.JupyterHub.hub_connect_url = settings.hub_url
    c.JupyterHub.concurrent_spawn_limit = settings.hub.concurrent_spawn_limit
    c.JupyterHub.active_server_limit = settings.hub.active_server_limit
    # Proxy and user servers outlive the hub.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = settings.proxy_api_url
    # A new proxy knows no routes; on this occasion alone the hub gives them to a proxy that it has not started.
    c.JupyterHub.last_activity_interval = 30


def _start_pods(c: Any, settings: Settings) -> None:
    own = settings.singleuser
    c.JupyterHub.spawner_class = "aihub.podspawner.AIHubSpawner"
    c.Spawner.start_timeout = own.start_timeout
    c.Spawner.poll_interval = 10
    c.KubeSpawner.namespace = settings.user_namespace
    # Homes are AIHub's to make, and nobody's to delete (upstream.md 19).
    c.KubeSpawner.storage_pvc_ensure = False
    c.KubeSpawner.delete_pvc = False
    c.KubeSpawner.image_pull_policy = own.image_pull_policy or None
    c.KubeSpawner.scheduler_name = own.scheduler_name or None
    c.KubeSpawner.node_selector = own.node_selector
    c.KubeSpawner.tolerations = own.tolerations
    c.KubeSpawner.extra_labels = own.extra_labels
    c.KubeSpawner.extra_annotations = own.extra_annotations
    c.KubeSpawner.environment = own.extra_env
    c.KubeSpawner.volumes = own.extra_volumes
    c.KubeSpawner.volume_mounts = own.extra_volume_mounts


def _listen(c: Any, machine: Machine) -> None:
    c.JupyterHub.bind_url = machine.url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{machine.hub_port}"
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{machine.api_port}"
    c.ConfigurableHTTPProxy.command = list(machine.proxy_command)
    c.ConfigurableHTTPProxy.log_level = "warn"
    c.ConfigurableHTTPProxy.pid_file = str(machine.state.proxy_record)


def _keep_state(c: Any, machine: Machine) -> None:
    c.JupyterHub.db_url = f"sqlite:///{machine.state.hub_database}"
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret_file = str(machine.state.cookie_secret)
    c.JupyterHub.pid_file = str(machine.state.hub_pid)
    # Ctrl-C stops everything; after a crash none of this runs, and the next hub finds the servers in its database.
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True


def _sign_in(c: Any) -> None:
    # The policy file has the method, and the hub reads it first (`use_method`).
    c.JupyterHub.pop("authenticator_class", None)
    c.JupyterHub.custom_scopes = {
        READ_SCOPE: {"description": "See what you may start with AIHub, what is free, and why"},
        DECIDE_SCOPE: {"description": "Choose images and stop servers in projects that you instruct"},
    }


def _start_processes(c: Any) -> None:
    c.JupyterHub.spawner_class = "aihub.local.LocalSpawner"
    # -P: a `random.py` in a home is not the server's.
    c.Spawner.cmd = [sys.executable, "-P", "-m", "aihub.userserver"]
    c.Spawner.poll_interval = 5
    # Each stage of a start has its own deadline; this is the bound around them all (upstream.md 22).
    c.Spawner.start_timeout = 3600


def _start_servers(c: Any) -> None:
    c.Spawner.default_url = "/lab"
    c.Spawner.http_timeout = 60
    # A student's refused start must not be able to end the hub (upstream.md 2).
    c.Spawner.consecutive_failure_limit = 0
    c.JupyterHub.allow_named_servers = True
    # How many a person may run is the quota's to say; this bounds the rows that they can leave.
    c.JupyterHub.named_server_limit_per_user = 50


def _show_pages(c: Any) -> None:
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.jinja_environment_options = {"extensions": ["jinja2.ext.i18n"]}
    c.JupyterHub.template_vars = template_vars(lambda user: AIHub.instance().chrome(user))


def _log_to_file(c: Any, machine: Machine) -> None:
    both = {"level": "INFO", "handlers": ["console", "file"]}
    c.JupyterHub.log_level = "INFO"
    c.JupyterHub.logging_config = {
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "console": {"level": "ERROR"},
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "filename": str(machine.state.hub_log),
                "maxBytes": 10_000_000,
                "backupCount": 2,
                "delay": True,
                "encoding": "utf-8",
                "formatter": "plain",
            },
        },
        # JupyterHub's logger has the name of the application's class.
        "loggers": {"MachineHub": both, "aihub": both},
    }


def _run_services(c: Any, every: int = 30) -> None:
    """Roles, and the service that looks for idle servers every so many seconds; 0: nobody does."""
    # People get our scopes; the token of a running server has the role "server" and gets none of them.
    c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self", READ_SCOPE, DECIDE_SCOPE]}]
    if not every:
        return
    c.JupyterHub.services = [{"name": "idle-culler", "command": orphan.command("aihub.cull", "--every", str(every))}]
    c.JupyterHub.load_roles += [
        {
            "name": "idle-culler",
            "scopes": list(CULLER_SCOPES),
            "services": ["idle-culler"],
        },
    ]
