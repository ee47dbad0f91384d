"""The chart behind a real Ingress and Gateway controller, over https: what people's browsers do there."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.cluster.release import Release
from tests.cluster.rig.certs import write_web_certificate
from tests.cluster.rig.cluster import Cluster
from tests.cluster.rig.traefik import Traefik, running
from tests.local.people import Someone

pytestmark = pytest.mark.slow

HOSTS = {"ingress": "ingress.aihub.test", "httpRoute": "gateway.aihub.test"}
"""Host names by the part of the values that serves them: neither can stand in for the other."""

PLACES = [pytest.param((base, way), id=f"{way}:{base}") for base in ("/", "/lab/") for way in HOSTS]


@dataclass(frozen=True, slots=True)
class Site:
    """A certificate for `HOSTS`, as files, and whom to trust for it."""

    folder: Path

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "web-ca.crt")

    def secret(self, namespace: str) -> dict[str, Any]:
        """A Secret with certificate and key."""
        files = {"tls.crt": "web.crt", "tls.key": "web.key"}
        data = {key: base64.b64encode((self.folder / file).read_bytes()).decode() for key, file in files.items()}
        metadata = {"name": "web", "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}


class Routed(Release):
    """A release that is reached through its routes only."""

    address = ""
    base = "/"

    @property
    def url(self) -> str:
        return self.address

    def move(self, base: str) -> None:
        """Serve everything below `base`."""
        if self.base != base:
            self.base = self.values["hub"]["baseUrl"] = base
            self.upgrade()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The certificate; on this machine the host names are loopback for the time of these tests."""
    folder = tmp_path_factory.mktemp("site")
    write_web_certificate(folder, list(HOSTS.values()))
    look_up: Callable[..., Any] = socket.getaddrinfo

    def answer(host: Any, *rest: Any, **more: Any) -> Any:
        return look_up("127.0.0.1" if host in HOSTS.values() else host, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", answer)
        patch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(folder / "web-ca.crt"))
        yield Site(folder)


@pytest.fixture(scope="module")
def traefik(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    with running(cluster, tmp_path_factory.mktemp("traefik")) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(cluster: Cluster, traefik: Traefik, site: Site) -> Iterator[str]:
    """The namespace of a Gateway `campus` that ends TLS and takes routes of all namespaces."""
    with cluster.namespace("gateways") as namespace:
        listener = {
            "name": "https",
            "port": traefik.https,
            "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"name": "web"}]},
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }
        campus = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "campus"},
            "spec": {"gatewayClassName": traefik.name, "listeners": [listener]},
        }
        cluster.apply(site.secret(namespace), campus, namespace=namespace)
        yield namespace


@pytest.fixture(scope="module")
def routed(
    cluster: Cluster,
    images: dict[str, str],
    traefik: Traefik,
    gateway: str,
    site: Site,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Routed]:
    namespace = os.environ.get("AIHUB_TEST_NAMESPACE", "routes")
    routed = Routed(cluster, tmp_path_factory.mktemp("routed"), images=images, namespace=namespace)
    routed.trusted = site.trusted
    routed.values["proxy"]["service"] = {"type": "ClusterIP"}
    routed.values["ingress"] = {
        "enabled": True,
        "ingressClassName": traefik.name,
        "hosts": [HOSTS["ingress"]],
        "tls": [{"hosts": [HOSTS["ingress"]], "secretName": "web"}],
    }
    routed.values["httpRoute"] = {
        "enabled": True,
        "gateway": {"name": "campus", "namespace": gateway, "sectionName": "https"},
        "hostnames": [HOSTS["httpRoute"]],
    }
    routed.remove()
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    cluster.apply(own, site.secret(namespace), namespace=namespace)
    routed.address = f"https://{HOSTS['ingress']}:{traefik.https}"
    routed.install()
    yield routed
    routed.remove()


@pytest.fixture
def place(request: pytest.FixtureRequest, routed: Routed, traefik: Traefik) -> Routed:
    """The release at one base URL, through one of its routes."""
    base, way = request.param
    routed.address = f"https://{HOSTS[way]}:{traefik.https}{base}".rstrip("/")
    routed.move(base)
    assert routed.answers()
    return routed


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_people_work_through_a_route(place: Routed) -> None:
    ada = Someone.of(place, "ada")
    every_cookie_is_secure(ada.pages, {f"{place.base}hub/", f"{place.base}"})
    assert re.search(r"GET \S*/hub/home \(ada@127\.0\.0\.1\)", place.kubectl("logs", f"deploy/{place.name}-hub"))
    ada.start({"project": "ml101", "image": "base:1", "profile": "small"})
    try:
        assert ada.run("print(6 * 7)") == "42\n"
        assert ada.pages.get(f"{ada.base()}/lab").url.path == f"{place.base}user/ada/lab"
        every_cookie_is_secure(ada.pages, {f"{place.base}user/ada/"})
        assert opens(ada, origin=httpx.URL(place.url).copy_with(path="/"))
        assert not opens(ada, origin=httpx.URL("https://elsewhere.example.org"))
    finally:
        ada.stop()


def every_cookie_is_secure(pages: httpx.Client, paths: set[str]) -> None:
    """Fail if there is none for one of the paths, or one that a browser would send without TLS.

    Of `_xsrf`, which opens nothing by itself, JupyterHub never says Secure.
    """
    cookies: list[Cookie] = [cookie for cookie in pages.cookies.jar if cookie.name != "_xsrf"]
    assert paths <= {cookie.path for cookie in cookies}
    assert [(cookie.name, cookie.path) for cookie in cookies if not cookie.secure] == []


def opens(someone: Someone, origin: httpx.URL) -> bool:
    """Whether the kernel of a page of `origin` is reached with a browser's cookies."""
    kernel = someone.kernel()
    address = f"{someone.rig.url}{someone.base()}/api/kernels/{kernel}/channels"
    request = someone.pages.build_request("GET", address)
    try:
        connection = websocket.create_connection(
            address.replace("https", "wss", 1), cookie=request.headers["Cookie"], origin=str(origin).rstrip("/")
        )
    except websocket.WebSocketBadStatusException as refused:
        if refused.status_code != 403:
            raise
        return False
    connection.close()
    return True


def test_the_gateway_takes_the_route(routed: Routed) -> None:
    route = json.loads(routed.kubectl("get", "httproute", routed.name, "--output=json"))
    (parent,) = route["status"]["parents"]
    conditions = {each["type"]: each["status"] for each in parent["conditions"]}
    assert conditions == {"Accepted": "True", "ResolvedRefs": "True"}


@pytest.mark.parametrize("place", PLACES[-2:], indirect=True)
def test_links_to_a_course_are_links_of_the_site(place: Routed) -> None:
    ines = Someone.of(place, "ines")
    page = ines.pages.get("/hub/aihub/projects/ml101")
    assert page.is_success
    assert f"{place.url}/hub/" in page.text
    assert f"http://{httpx.URL(place.url).host}" not in page.text
