"""A hub on the cluster of the tests, signed in to; a release of the chart: installed, reached, taken away."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from bs4 import BeautifulSoup

from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.local.people import until

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "aihub"

PEOPLE = {
    "ada": {"groups": ["/courses/ml101/students"]},
    "bob": {"groups": ["/courses/ml101/students"]},
    "ines": {"groups": ["/courses/ml101/staff"]},
    "root": {"admin": True},
}


def policy(images: Mapping[str, str]) -> dict[str, Any]:
    """A small course: `images` are references by "stream:tag"."""
    streams: dict[str, Any] = {}
    for reference, image in images.items():
        stream, tag = reference.split(":")
        streams.setdefault(stream, {"tags": {}})["tags"][tag] = {"image": image}
    small = {"cpu": {"request": "100m", "limit": 2}, "memory": {"request": "256Mi", "limit": "1Gi"}}
    return {
        "imageStreams": streams,
        "profiles": {
            "small": {"displayName": "Small", "order": 1, **small},
            "gpu": {
                "displayName": "One GPU",
                "order": 2,
                **small,
                "accelerator": {"resource": "nvidia.com/gpu", "count": 1},
                "sharedMemory": "64Mi",
            },
        },
        "projects": {
            "ml101": {
                "displayName": "Machine Learning 101",
                "kind": "course",
                "members": {"groups": ["/courses/ml101/students"]},
                "instructors": {"groups": ["/courses/ml101/staff"]},
                "images": {"offer": list(streams), "default": next(iter(images))},
                "profiles": {"offer": ["small", "gpu"], "default": "small"},
                "quota": {"project": {"nvidia.com/gpu": 1}, "perMember": {"servers": 2}},
                "storage": {"shared": {"size": "1Gi", "membersWrite": True}},
                "contact": "ml101-help@example.org",
            }
        },
        "home": {"scope": "project", "size": "1Gi"},
        "signIn": {"method": "sharedPassword", "people": PEOPLE, "admins": {"users": ["root"]}},
    }


class Hub:
    """A hub on the cluster of the tests, as people reach it; user servers run in the namespace `users`."""

    cluster: Cluster
    users: str
    port: int
    passwords: dict[str, str]
    clients: list[httpx.Client]
    trusted: ssl.SSLContext | bool = True
    """Whose certificates are believed, where the address is one of https."""

    @property
    def url(self) -> str:
        """The address of the pages, without a slash at the end: a port on loopback."""
        return f"http://127.0.0.1:{self.port}"

    # --- people ------------------------------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Whether the sign-in page comes."""
        try:
            return httpx.get(f"{self.url}/hub/login", timeout=5, verify=self.trusted).status_code == 200
        except httpx.HTTPError:
            return False

    def password(self, person: str) -> str:
        """What this person signs in with."""
        return self.passwords["adminPassword" if person == "root" else "userPassword"]

    def sign_in(self, persona: str) -> httpx.Client:
        """A signed-in client for pages and API; it knows the hub's address and XSRF header."""
        client = self._client()
        page = client.get("/hub/login")
        field = BeautifulSoup(page.text, "html.parser").find("input", attrs={"name": "username"})
        form = field.find_parent("form") if field else None
        assert form is not None, "the sign-in page asks for no name"
        hidden = {str(i["name"]): str(i.get("value", "")) for i in form.find_all("input", type="hidden")}
        data = {**hidden, "username": persona, "password": self.password(persona)}
        client.post(page.url.join(str(form["action"])), data=data)
        home = client.get("/hub/home")
        xsrf = {c.path: c.value or "" for c in client.cookies.jar if c.name == "_xsrf"}
        client.headers["X-XSRFToken"] = xsrf.get(home.url.path.removesuffix("home"), "")
        who = client.get("/hub/api/user")
        assert who.is_success, f"{persona} could not sign in: {who.text}"
        assert who.json()["name"] == persona
        return client

    def with_token(self, client: httpx.Client, persona: str) -> httpx.Client:
        """A client with a fresh API token of the person signed in with `client`."""
        answer = client.post(f"/hub/api/users/{persona}/tokens", json={"note": "test"})
        assert answer.status_code == 201, answer.text
        api = self._client()
        api.headers["Authorization"] = f"token {answer.json()['token']}"
        return api

    def _client(self) -> httpx.Client:
        self.clients.append(httpx.Client(base_url=self.url, follow_redirects=True, timeout=60, verify=self.trusted))
        return self.clients[-1]

    # --- what is there -----------------------------------------------------------------------------------------------

    def servers(self) -> list[dict[str, Any]]:
        """The pods of user servers."""
        selector = "--selector=app.kubernetes.io/component=user-server"
        found: list[dict[str, Any]] = self.cluster.get("pods", "--namespace", self.users, selector)["items"]
        return found

    def server(self, person: str) -> dict[str, Any]:
        """The one pod of this person."""
        (pod,) = (
            each for each in self.servers() if each["metadata"]["annotations"]["aihub.io/owner"].endswith(f"/{person}")
        )
        return pod


class Release(Hub):
    """One release in a namespace of its own; user servers run in `<namespace>-users`."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        *,
        images: Mapping[str, str],
        namespace: str = "aihub",
        name: str = "aihub",
        port: int = 30080,
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.namespace, self.name, self.port = namespace, name, port
        self.users = f"{namespace}-users"
        self.passwords = {"userPassword": secrets.token_hex(8), "adminPassword": secrets.token_hex(32)}
        self.clients: list[httpx.Client] = []
        self.values: dict[str, Any] = {
            "hub": {"image": _image(images["hub"]), "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}},
            "proxy": {
                "chp": {"image": _image(images["proxy"]), "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
                "service": {"type": "NodePort", "nodePorts": {"http": port}},
            },
            "rbac": {"readNodes": True},
            "aihub": policy({"base:1": images["singleuser-base"]}),
        }

    # --- helm --------------------------------------------------------------------------------------------------------

    def install(self, **more: Any) -> str:
        """`helm install`, with a fresh Secret, and wait until the hub answers; what NOTES say."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        keys = {key: secrets.token_hex(32) for key in ("proxyToken", "cookieSecret", "cryptKey")}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "aihub-secrets", "namespace": self.namespace},
                "stringData": {**keys, **self.passwords},
            },
            namespace=self.namespace,
        )
        return self._deploy("install", **more)

    def upgrade(self, **more: Any) -> str:
        """`helm upgrade` with the present values, and wait until the hub answers."""
        return self._deploy("upgrade", **more)

    def _deploy(self, verb: str, *, wait: bool = True) -> str:
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(self.values, allow_unicode=True))
        patience = ["--wait", "--timeout", "5m"] if wait else []
        try:
            notes = self.helm(verb, self.name, str(CHART), "--values", str(path), *patience)
        except CommandFailed as error:
            raise AssertionError(f"{error}\n{self.said()}") from error
        if wait:
            until(self.answers, f"the hub answers\n{self.said()}", within=120)
        return notes

    def helm(self, *arguments: str) -> str:
        """helm in the release's namespace."""
        return self.cluster.helm("--namespace", self.namespace, *arguments)

    def kubectl(self, *arguments: str, users: bool = False) -> str:
        """kubectl in the release's namespace, or in that of the `users`' servers."""
        return self.cluster.kubectl("--namespace", self.users if users else self.namespace, *arguments)

    def uninstall(self) -> None:
        """`helm uninstall`; what the chart keeps stays."""
        self.helm("uninstall", self.name, "--wait")

    def remove(self) -> None:
        """Everything, what the chart keeps too."""
        self.helm("uninstall", self.name, "--ignore-not-found", "--wait")
        for client in self.clients:
            client.close()
        self.cluster.kubectl("delete", "namespace", self.users, self.namespace, "--ignore-not-found")

    # --- what is there -----------------------------------------------------------------------------------------------

    def said(self) -> str:
        """What runs, and the end of the hub's log, for messages of failed tests."""
        pods = self._shown("get", "pods,pvc", "--all-namespaces", "--output=wide")
        return "\n".join([pods, self._shown("logs", f"deploy/{self.name}-hub", "--tail=80")])

    def _shown(self, *arguments: str) -> str:
        try:
            return self.kubectl(*arguments)
        except CommandFailed as error:
            return str(error)


def _image(pinned: str) -> dict[str, str]:
    """A reference by digest as the chart's values name an image."""
    name, _, digest = pinned.partition("@")
    return {"name": name, "digest": digest}
