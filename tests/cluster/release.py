"""A release of the chart on the cluster of the tests: installed, reached, signed in to, taken away."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from bs4 import BeautifulSoup

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


class Kubectl:
    """kubectl against the cluster of the tests."""

    def __init__(self, binary: str, kubeconfig: Path) -> None:
        self.binary, self.kubeconfig = binary, kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        answer = subprocess.run(
            [self.binary, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}{answer.stdout}"
        return answer.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, document: Mapping[str, Any]) -> None:
        self("apply", "-f", "-", stdin=yaml.safe_dump(dict(document)))


class Release:
    """One release in a namespace of its own; user servers run in `<namespace>-users`."""

    def __init__(
        self,
        kubectl: Kubectl,
        helm: str,
        folder: Path,
        *,
        images: Mapping[str, str],
        namespace: str = "aihub",
        name: str = "aihub",
        port: int = 30080,
    ) -> None:
        self.kubectl, self.helm, self.folder = kubectl, helm, folder
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

    @property
    def url(self) -> str:
        """The address of the pages: a NodePort on loopback."""
        return f"http://127.0.0.1:{self.port}"

    # --- helm --------------------------------------------------------------------------------------------------------

    def install(self, **more: Any) -> str:
        """`helm install`, with a fresh Secret, and wait until the hub answers; what NOTES say."""
        self.kubectl("create", "namespace", self.namespace, check=False)
        labels = ("pod-security.kubernetes.io/enforce=restricted", "--overwrite")
        self.kubectl("label", "namespace", self.namespace, *labels)
        keys = {"proxyToken": secrets.token_hex(32), "cookieSecret": secrets.token_hex(32)}
        self.kubectl.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "aihub-secrets", "namespace": self.namespace},
                "stringData": {**keys, "cryptKey": secrets.token_hex(32), **self.passwords},
            }
        )
        return self._deploy("install", **more)

    def upgrade(self, **more: Any) -> str:
        """`helm upgrade` with the present values, and wait until the hub answers."""
        return self._deploy("upgrade", **more)

    def _deploy(self, verb: str, *, wait: bool = True, values: Mapping[str, Any] | None = None) -> str:
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(self.values | dict(values or {}), allow_unicode=True))
        arguments = [
            verb,
            self.name,
            str(CHART),
            "--values",
            str(path),
            *(["--wait", "--timeout", "5m"] if wait else []),
        ]
        answer = self.run_helm(*arguments)
        assert answer.returncode == 0, f"{answer.stderr}{answer.stdout}\n{self.said()}"
        if wait:
            until(self.answers, f"the hub answers\n{self.said()}", within=120)
        return answer.stdout

    def run_helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """helm in the release's namespace."""
        command = [self.helm, "--kubeconfig", str(self.kubectl.kubeconfig), "--namespace", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    def uninstall(self) -> None:
        """`helm uninstall`; what the chart keeps stays."""
        answer = self.run_helm("uninstall", self.name, "--wait")
        assert answer.returncode == 0, answer.stderr

    def remove(self) -> None:
        """Everything, what the chart keeps too."""
        self.run_helm("uninstall", self.name, "--wait")
        for client in self.clients:
            client.close()
        for namespace in (self.users, self.namespace):
            self.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true", check=False)

    # --- people ------------------------------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Whether the sign-in page comes."""
        try:
            return httpx.get(f"{self.url}/hub/login", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def password(self, person: str) -> str:
        """What this person signs in with."""
        return self.passwords["adminPassword" if person == "root" else "userPassword"]

    def sign_in(self, persona: str) -> httpx.Client:
        """A signed-in client for pages and API; it knows the hub's address and XSRF header."""
        client = self._client()
        field = BeautifulSoup(client.get("/hub/login").text, "html.parser").find("input", attrs={"name": "username"})
        form = field.find_parent("form") if field else None
        assert form is not None, "the sign-in page asks for no name"
        hidden = {str(i["name"]): str(i.get("value", "")) for i in form.find_all("input", type="hidden")}
        data = {**hidden, "username": persona, "password": self.password(persona)}
        client.post(str(form["action"]), data=data)
        client.get("/hub/home")
        xsrf = {c.path: c.value or "" for c in client.cookies.jar if c.name == "_xsrf"}
        client.headers["X-XSRFToken"] = xsrf.get("/hub/", "")
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
        self.clients.append(httpx.Client(base_url=self.url, follow_redirects=True, timeout=60))
        return self.clients[-1]

    # --- what is there -----------------------------------------------------------------------------------------------

    def said(self) -> str:
        """The hub's log and what runs, for messages of failed tests."""
        log = self.kubectl("-n", self.namespace, "logs", "deploy/" + self.name + "-hub", "--tail=80", check=False)
        pods = self.kubectl("get", "pods", "-A", "-o", "wide", check=False)
        return f"{pods}\n{log}"

    def servers(self) -> list[dict[str, Any]]:
        """The pods of user servers."""
        selector = "app.kubernetes.io/component=user-server"
        found: list[dict[str, Any]] = self.kubectl.json("-n", self.users, "get", "pods", "-l", selector)["items"]
        return found


def _image(reference: str) -> dict[str, str]:
    """A reference as the chart's values name an image."""
    name, _, tag = reference.partition("@")[0].rpartition(":")
    digest = reference.partition("@")[2]
    return {"name": name, "tag": tag, **({"digest": digest} if digest else {})}
