"""What `helm test` runs in the cluster: is the hub there, may it do what it must and no more, does a server start.

Every check is a line, and a failed one says what to do. It needs nothing but the standard library for its requests:
a broken installation must not break its own examination.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import BaseHandler, HTTPCookieProcessor, HTTPSHandler, Request, build_opener

import click

from aihub.chart import Settings
from aihub.config import Loaded, load
from aihub.identity import OidcProvider, Provider
from aihub.passwords import USER_PASSWORD

__all__ = [
    "Answer",
    "Failure",
    "Web",
    "account",
    "ask_provider",
    "examine",
    "hub_lives",
    "namespaces_of",
    "pages_live",
    "provider_page_lives",
    "rights",
    "start_and_stop",
]

TIMEOUT = 30.0
"""Seconds for one answer: the hub answers a start after 10, and keeps progress alive every 8."""
STOP_TIMEOUT = 120.0
PAUSE = 1.0
SERVER = "helm-test"

NEEDED = (
    ("pods", ("get", "list", "watch", "create", "delete")),
    ("persistentvolumeclaims", ("get", "list", "create", "patch")),
    ("events", ("get", "list", "watch")),
)
FORBIDDEN = (("secrets", "get"), ("secrets", "list"), ("pods/exec", "create"), ("serviceaccounts/token", "create"))


class Failure(Exception):
    """A check failed; the text says what and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, which must be JSON. Raises Failure."""
        try:
            return json.loads(self.body or b"null")
        except ValueError as error:
            raise Failure(f"the answer is no JSON: {self.body[:200]!r}") from error


@dataclass(slots=True)
class Web:
    """Requests to one server, with a memory for cookies. `ca` is a file of certificates, `headers` go with each."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None
    cookies: CookieJar = field(default_factory=CookieJar)

    def ask(self, path: str, method: str = "GET", data: bytes | None = None, **headers: str) -> Answer:
        """One request. Raises Failure when there is no answer at all."""
        try:
            with self._open(path, method, data, headers) as response:
                return Answer(response.status, response.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read())
        except (OSError, URLError) as error:
            raise Failure(f"{self.url}{path} does not answer: {error}") from error

    def lines(self, path: str) -> Iterator[str]:
        """The lines of an answer that goes on. Raises Failure."""
        try:
            with self._open(path, "GET", None, {}) as response:
                for line in response:
                    yield line.decode("utf-8", "replace").rstrip()
        except (OSError, URLError) as error:
            raise Failure(f"{self.url}{path} broke off: {error}") from error

    def send(self, path: str, document: object, method: str = "POST") -> Answer:
        """A request with a JSON body, and the hub's token against forged ones if it gave one."""
        forged = {"X-XSRFToken": token} if (token := self.xsrf()) else {}
        body = None if document is None else json.dumps(document).encode()
        return self.ask(path, method, body, **{"Content-Type": "application/json", **forged})

    def xsrf(self) -> str:
        """The token that the hub gave as a cookie; the last one set counts for its longest path."""
        tokens = {cookie.path: cookie.value or "" for cookie in self.cookies if cookie.name == "_xsrf"}
        return tokens[max(tokens, key=len)] if tokens else ""

    def _open(self, path: str, method: str, data: bytes | None, headers: Mapping[str, str]) -> Any:
        handlers: list[BaseHandler] = [HTTPCookieProcessor(self.cookies)]
        if self.ca is not None:
            handlers.append(HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca))))
        request = Request(self.url + path, data, {**self.headers, **headers}, method=method)  # noqa: S310  # our own URL
        return build_opener(*handlers).open(request, timeout=TIMEOUT)


# --- checks ----------------------------------------------------------------------------------------------------------


def hub_lives(hub: Web) -> str:
    """The hub answers on its own port."""
    answer = hub.ask("hub/health")
    if answer.status != 200:
        raise Failure(f"{hub.url}hub/health answers {answer.status}: read the log of the hub's pod")
    return "the hub answers"


def pages_live(proxy: Web) -> str:
    """The sign-in page comes through the proxy."""
    answer = proxy.ask("hub/login")
    if answer.status != 200 or b'name="password"' not in answer.body:
        raise Failure(f"{proxy.url}hub/login answers {answer.status}, without a sign-in form: read the proxy's log")
    return "the sign-in page comes through the proxy"


def provider_page_lives(proxy: Web) -> str:
    """The sign-in page of a provider comes through the proxy."""
    answer = proxy.ask("hub/login")
    if answer.status != 200 or b"oauth_login" not in answer.body:
        raise Failure(
            f"{proxy.url}hub/login answers {answer.status}, without a way to the provider: read the proxy's log"
        )
    return "the sign-in page comes through the proxy"


def _discovery(web: Web, issuer: str) -> str:
    """The discovery document of the provider that `web` reaches is that of `issuer`."""
    path = ".well-known/openid-configuration"
    answer = web.ask(path)
    if answer.status != 200:
        raise Failure(f"{web.url}{path} answers {answer.status}: compare aihub.signIn with the provider's address")
    document = answer.json()
    named = document.get("issuer") if isinstance(document, dict) else None
    if named != issuer:
        raise Failure(f"{web.url}{path} is of the issuer {named!r}, not {issuer!r}: write it as the provider does")
    return f"{issuer} answers at {web.url}"


def _github(web: Web) -> str:
    """GitHub's API answers at `web`."""
    answer = web.ask("meta")
    if answer.status >= 500:
        raise Failure(f"{web.url}meta answers {answer.status}")
    return f"{web.url} answers"


def ask_provider(known: Provider) -> str:
    """The provider answers from where the hub calls it. Raises Failure."""
    ca = Path(known.ca_file) if known.ca_file else None
    if isinstance(known, OidcProvider):
        public = urlsplit(known.issuer)
        origin = known.internal_url or f"{public.scheme}://{public.netloc}"
        return _discovery(Web(f"{origin.rstrip('/')}{public.path.rstrip('/')}/", ca=ca), known.issuer)
    return _github(Web(f"{known.api_url}/", ca=ca))


def rights(api: Web, namespaces: Iterable[str], *, nodes: bool) -> str:
    """The hub's service account may do what it must in every namespace of user servers, and not what it must not."""
    wrong = []
    for namespace in namespaces:
        needed = [(resource, verb) for resource, verbs in NEEDED for verb in verbs]
        wrong += [f"may not {v} {r} in {namespace}" for r, v in needed if not _may(api, r, v, namespace)]
        wrong += [f"may {v} {r} in {namespace}" for r, v in FORBIDDEN if _may(api, r, v, namespace)]
    if _may(api, "nodes", "list") != nodes:
        wrong.append(f"{'may not' if nodes else 'may'} list nodes, and rbac.readNodes is {str(nodes).lower()}")
    if wrong:
        raise Failure(f"the hub's service account {'; '.join(wrong)}: compare its Roles with those of the chart")
    return "the hub may do what it must, and no more"


def _may(api: Web, resource: str, verb: str, namespace: str = "") -> bool:
    name, _, sub = resource.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "resource": name, "subresource": sub}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = api.send(path, {**review, "spec": {"resourceAttributes": attributes}})
    if answer.status != 201:
        raise Failure(f"the API server answers {answer.status} to a review of rights: {answer.body[:200]!r}")
    return bool(answer.json()["status"]["allowed"])


def storage(api: Web, namespace: str, classes: Iterable[str | None], *, readable: bool) -> str:
    """Claims can be made from every storage class of the policy; nothing is made: the API server only tries."""
    names = sorted({_class_of_claim(api, namespace, each) for each in classes})
    if not readable:
        return f"claims would be made of {', '.join(names)} (rbac.readNodes is off: whether they exist is not known)"
    missing = [name for name in names if api.ask(f"/apis/storage.k8s.io/v1/storageclasses/{quote(name)}").status != 200]
    if missing:
        raise Failure(f"there is no storage class {', '.join(missing)}: see aihub.cluster.storageClasses")
    return f"claims are made of {', '.join(names)}"


def _class_of_claim(api: Web, namespace: str, name: str | None) -> str:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    if name is not None:
        spec["storageClassName"] = name
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"generateName": f"{SERVER}-"}}
    answer = api.send(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims?dryRun=All", {**claim, "spec": spec})
    if answer.status != 201:
        message = answer.json().get("message", answer.status)
        raise Failure(f"a claim in {namespace} would be refused: {message}")
    found = answer.json()["spec"].get("storageClassName")
    if found is None:
        raise Failure(
            "the cluster has no default storage class, and homes name none: set aihub.cluster.storageClasses.home"
        )
    return str(found)


# --- a server --------------------------------------------------------------------------------------------------------


def sign_in(proxy: Web, user: str, password: str) -> None:
    """Sign `user` in with the shared password. Raises Failure."""
    proxy.ask("hub/login")
    fields = {"username": user, "password": password, "_xsrf": proxy.xsrf()}
    answer = proxy.ask("hub/login", "POST", urlencode(fields).encode())
    if answer.status != 200 or proxy.ask("hub/api/user").status != 200:
        raise Failure(f"{user} cannot sign in with the key userPassword of the Secret ({answer.status})")


def start_and_stop(
    proxy: Web, user: str, options: Mapping[str, str], timeout: float, clock: Callable[[], float]
) -> str:
    """Start a server of `user`, who is signed in, reach it through the proxy, and stop it. `timeout` is in seconds."""
    began = clock()
    place = f"hub/api/users/{quote(user)}/servers/{SERVER}"
    _end(proxy, user, place, began + STOP_TIMEOUT, clock)  # what an interrupted examination left
    answer = proxy.send(place, {"user_options": dict(options)})
    if answer.status not in (201, 202):
        raise Failure(f"the start was refused ({answer.status}): {_sentence(answer)}")
    try:
        _await_ready(proxy, place, clock() + timeout, clock)
        reached = proxy.ask(f"user/{quote(user)}/{SERVER}/api")
        if reached.status != 200:
            raise Failure(f"the server started, and answers {reached.status} through the proxy: see NetworkPolicies")
        seconds = clock() - began
    finally:
        _end(proxy, user, place, clock() + STOP_TIMEOUT, clock)
    return f"a server of {user} started in {seconds:.0f} s, answered, and stopped"


def _end(proxy: Web, user: str, place: str, until: float, clock: Callable[[], float]) -> None:
    """Stop and forget the server, and wait until it is gone."""
    while SERVER in (proxy.ask(f"hub/api/users/{quote(user)}").json().get("servers") or {}):
        if clock() > until:
            raise Failure("the server was told to stop and did not: read the log of the hub's pod")
        proxy.send(place, {"remove": True}, "DELETE")
        time.sleep(PAUSE)


def _sentence(answer: Answer) -> str:
    try:
        return str(answer.json().get("message"))
    except (Failure, AttributeError):
        return answer.body[:200].decode("utf-8", "replace")


def _await_ready(proxy: Web, place: str, until: float, clock: Callable[[], float]) -> None:
    last = "nothing was heard of it"
    for line in proxy.lines(f"{place}/progress"):
        if clock() > until:
            raise Failure(f"the server did not start in time; the last that was heard: {last}")
        if not line.startswith("data:"):
            continue
        event = json.loads(line.removeprefix("data:"))
        last = re.sub(r"<[^>]*>", "", str(event.get("message") or event.get("html_message") or last))
        if event.get("failed"):
            raise Failure(f"the server did not start: {last}")
        if event.get("ready"):
            return
    raise Failure(f"the server did not start; the last that was heard: {last}")


# --- all of them -----------------------------------------------------------------------------------------------------


def examine(checks: Mapping[str, Callable[[], str]], say: Callable[[str], None]) -> bool:
    """Make every check, also after a failed one. Whether all went well."""
    fine = True
    for name, check in checks.items():
        try:
            say(f"ok      {name}: {check()}")
        except Failure as failure:
            fine = False
            say(f"FAILED  {name}: {failure}")
    return fine


def account(folder: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")) -> Web:
    """The API server, as the service account of this pod."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    token = (folder / "token").read_text(encoding="ascii")
    return Web(f"https://{host}:{port}", {"Authorization": f"Bearer {token}"}, folder / "ca.crt")


def namespaces_of(shared: str, loaded: Loaded) -> list[str]:
    """The namespaces of user servers; `shared` is that of projects which name none."""
    named = {project.namespace for project in loaded.policy.projects.values() if project.namespace}
    if not loaded.cluster.per_project or not named:
        return [shared]
    return sorted(named | {shared} if loaded.group_patterns else named)


@click.command()
@click.option("--settings", "file", type=click.Path(path_type=Path), envvar="AIHUB_SETTINGS", required=True)
@click.option("--policy", type=click.Path(path_type=Path), envvar="AIHUB_CONFIG", required=True)
@click.option("--proxy", "address", required=True, help="Where people reach the hub, with its base URL.")
@click.option("--user", default="", help="Who starts a server; empty: nobody does.")
@click.option("--project", default="")
@click.option("--image", default="")
@click.option("--profile", default="")
@click.option("--timeout", default=600, help="Seconds for the start.")
def main(file: Path, policy: Path, address: str, user: str, timeout: int, **options: str) -> None:
    """Examine an installation from inside the cluster."""
    settings, loaded = Settings.read(file), load([policy])
    hub, proxy, api = Web(settings.hub_url + settings.hub.base_url), Web(address), account()
    namespaces = namespaces_of(settings.user_namespace, loaded)
    classes = loaded.policy.storage_classes

    def start() -> str:
        sign_in(proxy, user, os.environ.get(USER_PASSWORD, ""))
        chosen = {key: value for key, value in options.items() if value}
        return start_and_stop(proxy, user, chosen, timeout, time.monotonic)

    known = loaded.sign_in.provider
    checks = {
        "hub": lambda: hub_lives(hub),
        "pages": lambda: pages_live(proxy) if known is None else provider_page_lives(proxy),
        "rights": lambda: rights(api, namespaces, nodes=settings.read_nodes),
        "storage": lambda: storage(api, namespaces[0], (classes.home, classes.shared), readable=settings.read_nodes),
    }
    if known is not None:
        checks["provider"] = lambda: ask_provider(known)
    if user:
        checks["start"] = start
    fine = examine(checks, click.echo)
    if known is not None:
        click.echo("        sign-in, start: not tried, the provider signs in nobody without a browser")
    elif not user:
        click.echo("        start: not tried, tests.user names nobody")
    sys.exit(not fine)


if __name__ == "__main__":
    main()
