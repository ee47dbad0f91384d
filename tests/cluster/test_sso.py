"""The chart with a real Keycloak outside the cluster: sign-in through an ingress, and what rotates, ends or is taken.

Browsers know Keycloak by one name and the hub calls it by another, a Service of the cluster; both are behind one
certificate authority that only they are told of.
"""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.release import Release
from tests.cluster.rig.certs import write_web_certificate
from tests.cluster.rig.cluster import Cluster, CommandFailed
from tests.cluster.rig.layout import GATEWAY
from tests.cluster.rig.traefik import Traefik, running
from tests.cluster.test_docs import CLUSTER, OPERATE, Desk, commands, furnished
from tests.cluster.test_routes import Site, every_cookie_is_secure
from tests.local.people import Someone, until
from tests.sso import browsing
from tests.sso.keycloak import Keycloak, Tls, free_port
from tests.sso.realm import ADMINS, BIOLOGY, CLIENT, Realm
from tests.test_docs import blocks, section

pytestmark = pytest.mark.sso

HUB, PROVIDER = "hub.sso.test", "id.sso.test"
NAMESPACE, SERVICE = "sso", "keycloak"
INTERNAL = f"{SERVICE}.{NAMESPACE}.svc"


class SsoRelease(Release):
    """A release whose people sign in at a realm, reached through its ingress only."""

    address = ""
    realm: Realm
    desk: Desk

    @property
    def url(self) -> str:
        return self.address

    def install(self, **more: Any) -> str:
        """By the commands of the page, and wait until the hub answers."""
        (self.desk.folder / "client.txt").write_text(f"{self.realm.secret()}\n", encoding="utf-8")
        self.desk.run(commands(CLUSTER, "Sign-in through a provider")[0])
        return self._deploy("install", **more)

    def sign_in(self, persona: str) -> httpx.Client:
        """A signed-in client for pages and API, from a browser that Keycloak does not know."""
        client = self._client()
        page = browsing.sign_in(client, persona)
        assert page.is_success, f"{persona} could not sign in: {page.url} {page.text}\n{self.said()}"
        assert browsing.who(client) == persona
        return browsing.arm(client)

    def visitor(self) -> httpx.Client:
        """Somebody who has not signed in."""
        return self._client()

    def in_hub(self, *command: str) -> str:
        """A program in the hub's container."""
        return self.kubectl("exec", f"deploy/{self.name}-hub", "--", *command)

    def pod(self) -> tuple[str, int]:
        """The hub's pod and how often it has restarted."""
        (found,) = self.cluster.get(
            "pods", "--namespace", self.namespace, "--selector=app.kubernetes.io/component=hub"
        )["items"]
        return found["metadata"]["name"], found["status"]["containerStatuses"][0]["restartCount"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One certificate for hub and provider; on this machine their names lead to it for the time of these tests."""
    folder = tmp_path_factory.mktemp("site")
    write_web_certificate(folder, [HUB, PROVIDER, INTERNAL])
    places, look_up = {HUB: "127.0.0.1", PROVIDER: GATEWAY}, socket.getaddrinfo

    def answer(host: Any, *rest: Any, **more: Any) -> Any:
        return look_up(places.get(host, host), *rest, **more)

    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {HUB}\n{GATEWAY} {PROVIDER}\n", encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", answer)
        patch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(folder / "web-ca.crt"))
        # Keycloak calls the hub by its name too.
        patch.setenv("JAVA_TOOL_OPTIONS", f"-Djdk.net.hosts.file={hosts}")
        yield Site(folder)


@pytest.fixture(scope="module")
def keycloak(cluster: Cluster, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """A Keycloak that listens where pods reach this machine."""
    port, folder = free_port(), site.folder
    started = Keycloak(
        tmp_path_factory.mktemp("keycloak"),
        host=GATEWAY,
        port=port,
        hostname=f"https://{PROVIDER}:{port}",
        tls=Tls(folder / "web.crt", folder / "web.key", folder / "web-ca.crt"),
        trust=(folder / "web-ca.crt",),
    )
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def traefik(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traefik]:
    with running(cluster, tmp_path_factory.mktemp("traefik")) as started:
        yield started


@pytest.fixture(scope="module")
def realm(keycloak: Keycloak, traefik: Traefik) -> Realm:
    return Realm.make(keycloak, "school", f"https://{HUB}:{traefik.https}")


@pytest.fixture(scope="module")
def release(
    cluster: Cluster,
    images: dict[str, str],
    site: Site,
    realm: Realm,
    traefik: Traefik,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SsoRelease]:
    made = SsoRelease(cluster, tmp_path_factory.mktemp("release"), images=images, namespace=NAMESPACE)
    made.realm, made.trusted, made.address = realm, site.trusted, f"https://{HUB}:{traefik.https}"
    made.values["hub"]["caConfigMap"] = "school-ca"
    made.values["proxy"]["service"] = {"type": "ClusterIP"}
    made.values["ingress"] = {
        "enabled": True,
        "ingressClassName": traefik.name,
        "hosts": [HUB],
        "tls": [{"hosts": [HUB], "secretName": "web"}],
    }
    policy = made.values["aihub"]
    policy["projects"]["bio"] = {**policy["projects"]["ml101"], "members": {"groups": [BIOLOGY]}, "instructors": {}}
    policy["signIn"] = {
        "method": "keycloak",
        "publicUrl": made.address,
        "keycloak": {
            "issuer": realm.issuer,
            "clientId": CLIENT,
            "internalUrl": f"https://{INTERNAL}:8443",
            "caFile": "/etc/aihub/ca/ca.crt",
        },
        "allowed": {"groups": ["/courses/**"]},
        "admins": {"groups": [ADMINS]},
    }
    made.desk = Desk(furnished(tmp_path_factory.mktemp("desk")), cluster, NAMESPACE, {}, 0)
    (made.desk.folder / "ca.crt").symlink_to(site.folder / "web-ca.crt")
    made.remove()
    cluster.apply(*around(site, realm.keycloak), namespace=NAMESPACE)
    made.install()
    yield made
    made.remove()


def around(site: Site, keycloak: Keycloak) -> list[dict[str, Any]]:
    """What the admin makes beside the release, and a Service that leads to this machine."""
    metadata = {"name": SERVICE, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        site.secret(NAMESPACE),
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"name": "s", "port": 8443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [GATEWAY]}],
            "ports": [{"name": "s", "port": keycloak.port, "protocol": "TCP"}],
        },
    ]


# --- signing in ------------------------------------------------------------------------------------------------------


def test_people_sign_in_and_work_through_the_ingress(release: SsoRelease) -> None:
    ada = Someone.of(release, "ada")
    every_cookie_is_secure(ada.pages, {"/hub/", "/"})
    assert re.search(r"GET \S*/hub/home \(ada@127\.0\.0\.1\)", release.kubectl("logs", f"deploy/{release.name}-hub"))
    ada.start({"project": "ml101", "image": "base:1", "profile": "small"})
    try:
        assert ada.run("print(6 * 7)") == "42\n"
        assert ada.pages.get(f"{ada.base()}/lab").url.path == "/user/ada/lab"
        pod = json.dumps(release.server("ada"))
        assert release.realm.secret() not in pod
        assert "eyJ" not in pod, "no token of the provider goes into a pod"
    finally:
        ada.stop()


@pytest.mark.parametrize(
    ("person", "projects"),
    [("ada", {"ml101": "member"}), ("ben", {"bio": "member"}), ("grace", {"ml101": "instructor"})],
)
def test_projects_are_those_of_the_groups(release: SsoRelease, person: str, projects: dict[str, str]) -> None:
    listed = release.sign_in(person).get("/hub/api/aihub/choices").raise_for_status().json()["projects"]
    assert {each["project"]: each["role"] for each in listed} == projects


def test_an_admin_is_who_is_in_the_group_of_admins(release: SsoRelease) -> None:
    assert release.sign_in("root").get("/hub/api/user").json()["admin"]
    assert not release.sign_in("grace").get("/hub/api/user").json()["admin"]


def test_who_is_in_no_allowed_group_is_not_let_in(release: SsoRelease) -> None:
    browser = release.visitor()
    page = browsing.sign_in(browser, "nomad")
    assert page.status_code == 403
    assert "not-allowed" in page.text
    assert browsing.who(browser) is None


def test_a_name_that_was_given_to_another_account_is_not_given_again(release: SsoRelease) -> None:
    release.realm.add("kim", BIOLOGY)
    people = ("aihub", "people")
    release.in_hub(*people, "bind", "kim", "--issuer", release.realm.issuer, "--subject", "an earlier kim")
    browser = release.visitor()
    page = browsing.sign_in(browser, "kim")
    assert page.status_code == 403
    assert "name-taken" in page.text
    assert browsing.who(browser) is None
    release.in_hub(*people, "release", "kim", "--yes")
    release.sign_in("kim")
    bound = {each["name"]: each for each in json.loads(release.in_hub(*people, "list", "--json"))}
    assert bound["kim"]["subject"] == release.realm.id_of("kim")


def test_names_are_given_to_accounts_by_the_commands_of_the_page(release: SsoRelease) -> None:
    release.sign_in("ada")
    (lines,) = blocks(section(OPERATE, "User names and accounts"), "csv")
    head, line = lines.splitlines()
    name, _, subject = line.split(",")
    given = line.replace(subject, release.realm.id_of(name)).replace(
        "https://id.example.org/realms/school", release.realm.issuer
    )
    (release.desk.folder / "people.csv").write_text(f"{head}\n{given}\n", encoding="utf-8")
    (bind,) = commands(OPERATE, "User names and accounts")
    said = release.desk.run(bind)
    assert said.startswith("1 user name is bound\n")
    assert f"ada: {release.realm.id_of(name)} at {release.realm.issuer}, since" in said
    assert "ada is free" in said
    release.sign_in("ada")


def test_helm_test_examines_the_provider_and_says_what_it_cannot(release: SsoRelease) -> None:
    said = release.helm("test", release.name, "--logs", "--timeout", "5m")
    assert f"ok      provider: {release.realm.issuer} answers at https://{INTERNAL}:8443/realms/school/" in said
    assert "ok      pages: the sign-in page comes through the proxy" in said
    assert "sign-in, start: not tried" in said
    assert "FAILED" not in said


def test_the_provider_is_asked_everything_by_the_command_of_the_page(release: SsoRelease) -> None:
    said = release.desk.run(commands(CLUSTER, "Sign-in through a provider")[1])
    states = {name: rest.partition(",")[0].partition(":")[0] for name, rest in re.findall(r"(?m)^([^:]+): (.*)$", said)}
    unknown = {name for name, state in states.items() if state == "not checked"}
    assert unknown == {"groups", "client secret"}, said
    passed = {name for name, state in states.items() if state == "passed"}
    assert {"discovery", "keys", "client", "redirect address", "JUPYTERHUB_CRYPT_KEY", "CA file"} <= passed, said
    assert passed | unknown == states.keys() - {"The policy is fine"}, said


# --- the end of it ---------------------------------------------------------------------------------------------------


def test_signing_out_ends_the_session_at_keycloak_too(release: SsoRelease) -> None:
    browser = release.sign_in("ben")
    assert release.realm.sessions("ben")
    page = browser.get("/hub/logout")
    assert page.url.path == "/hub/aihub/signed-out", page.text
    assert browsing.who(browser) is None
    again = browser.get("/hub/oauth_login")
    assert "kc-form-login" in again.text, "Keycloak asks for the password again"


def test_a_session_that_keycloak_ends_ends_in_the_cluster(release: SsoRelease) -> None:
    """Keycloak posts to the hub through the ingress."""
    ben = Someone.of(release, "ben")
    ben.start({"project": "bio", "image": "base:1", "profile": "small"})
    try:
        release.realm.sign_out("ben")
        until(lambda: browsing.who(ben.pages) is None, "ben is signed out", within=60)
        lab = ben.pages.get(f"{ben.base()}/lab", follow_redirects=False)
        until(
            lambda: ben.pages.get(f"{ben.base()}/api/kernels").status_code == 403,
            f"the server's pages are closed: {lab.status_code}",
            within=60,
        )
        assert release.server("ben")["status"]["phase"] == "Running", "what computes goes on"
    finally:
        Someone.of(release, "ben").stop()


# --- rotation --------------------------------------------------------------------------------------------------------


def test_a_new_client_secret_counts_while_the_hub_runs(release: SsoRelease) -> None:
    before, secret = release.pod(), release.realm.new_secret()
    browser = release.visitor()
    page = browsing.sign_in(browser, "ada")
    assert page.status_code == 502, "Keycloak believes only the new one"
    assert browsing.who(browser) is None
    (release.desk.folder / "client.txt").write_text(f"{secret}\n", encoding="utf-8")
    release.desk.run(commands(OPERATE, "Passwords and keys")[0])
    # The kubelet looks at its pods every minute, and at once when they change.
    release.kubectl("annotate", "pod", before[0], "example.org/look=now")
    until(lambda: browsing.sign_in(release.visitor(), "ada").is_success, f"ada signs in\n{release.said()}", within=150)
    assert release.pod() == before, "the hub was not restarted"
    assert secret not in release.kubectl("logs", f"deploy/{release.name}-hub")


@pytest.mark.slow
def test_a_key_is_rotated_and_nobody_notices(release: SsoRelease) -> None:
    """First beside the old one, then alone: who was active meanwhile stays. With a key that knows nobody all go."""
    grace, root = release.sign_in("grace"), release.sign_in("root")
    data = release.cluster.get("secret", "aihub-secrets", "--namespace", release.namespace)["data"]
    old, new, other = base64.b64decode(data["cryptKey"]).decode(), "5c" * 32, "6d" * 32
    _encrypt_with(release, f"{new};{old}")
    assert browsing.who(grace) == "grace"
    _encrypt_with(release, new)
    assert browsing.who(grace) == "grace"
    assert browsing.who(root) is None, "nobody asked for root meanwhile"
    _encrypt_with(release, other)
    assert browsing.who(grace) is None
    _encrypt_with(release, old)


def _encrypt_with(release: SsoRelease, keys: str) -> None:
    patch = json.dumps({"data": {"cryptKey": base64.b64encode(keys.encode()).decode()}})
    release.kubectl("patch", "secret", "aihub-secrets", "--type=merge", f"--patch={patch}")
    release.kubectl("rollout", "restart", f"deploy/{release.name}-hub")
    release.kubectl("rollout", "status", f"deploy/{release.name}-hub", "--timeout=3m")
    until(release.answers, "the hub answers", within=60)


@pytest.mark.slow
def test_without_the_clients_secret_the_hub_does_not_start_and_kubernetes_says_why(
    release: SsoRelease,
) -> None:
    kept = release.cluster.get("secret", "aihub-secrets", "--namespace", release.namespace)["data"]["clientSecret"]
    release.kubectl(
        "patch", "secret", "aihub-secrets", "--type=json", '--patch=[{"op":"remove","path":"/data/clientSecret"}]'
    )
    try:
        release.kubectl("rollout", "restart", f"deploy/{release.name}-hub")

        def said() -> bool:
            try:
                return "non-existent secret key: clientSecret" in release.kubectl("get", "events")
            except CommandFailed:
                return False

        until(said, "an event names the key", within=90)
    finally:
        patch = json.dumps({"data": {"clientSecret": kept}})
        release.kubectl("patch", "secret", "aihub-secrets", "--type=merge", f"--patch={patch}")
    release.kubectl("rollout", "status", f"deploy/{release.name}-hub", "--timeout=5m")
    until(release.answers, "the hub answers", within=60)
