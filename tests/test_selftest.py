"""What `helm test` says, against a hub and an API server that behave as they are told."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aihub import selftest
from aihub.config import attempt
from aihub.identity import GitHubProvider, OidcProvider
from aihub.selftest import (
    Failure,
    Web,
    ask_provider,
    examine,
    hub_lives,
    namespaces_of,
    pages_live,
    provider_page_lives,
    rights,
    sign_in,
    start_and_stop,
    storage,
)

PER_PROJECT = "cluster: {namespaces: perProject}\nhome: {scope: project}\nprojects: {a: {namespace: a}}\n"
GROUPS = "groupProjects: {c: {members: /c/<project>, template: t}}\nprojectTemplates: {t: {}}\n"


@pytest.mark.parametrize(
    ("policy", "namespaces"),
    [
        ("projects: {a: {}}", ["users"]),
        (GROUPS, ["users"]),
        ("cluster: {namespaces: perProject}", ["users"]),
        (PER_PROJECT, ["a"]),
        (PER_PROJECT + GROUPS, ["a", "users"]),
    ],
    ids=["shared", "shared, made by groups", "no project yet", "one each", "one each, made by groups"],
)
def test_which_namespaces_are_examined(tmp_path: Path, policy: str, namespaces: list[str]) -> None:
    (tmp_path / "p.yaml").write_text(policy, encoding="utf-8")
    assert namespaces_of("users", attempt([tmp_path / "p.yaml"])) == namespaces


SERVER = "/hub/api/users/ada/servers/helm-test"


@dataclass(slots=True)
class Fake:
    """Answers by method and path; a callable makes its answer of the request's body."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(request)
        found = next((answer for pattern, answer in self.answers.items() if re.fullmatch(pattern, request)), None)
        if found is None:
            return 404, {"message": "nothing here"}
        status, document = found(json.loads(body or b"null")) if callable(found) else found
        return status, document


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            text = self.headers.get("Content-Type", "").startswith("application/json")
            status, document = fake.answer(f"{self.command} {self.path}", body if text else b"")
            raw = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Set-Cookie", "_xsrf=token; Path=/hub/")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the server looks for these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the server's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def clock(step: float = 1.0) -> Callable[[], float]:
    return itertools.count(0.0, step).__next__


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "PAUSE", 0)


# --- hub and pages ---------------------------------------------------------------------------------------------------


def test_a_hub_that_answers(fake: Fake) -> None:
    fake.answers["GET /hub/health"] = 200, {}
    assert hub_lives(Web(fake.url)) == "the hub answers"


def test_a_hub_that_is_ill(fake: Fake) -> None:
    fake.answers["GET /hub/health"] = 500, {}
    with pytest.raises(Failure, match="hub/health answers 500: read the log of the hub's pod"):
        hub_lives(Web(fake.url))


def test_a_hub_that_is_not_there() -> None:
    with pytest.raises(Failure, match="does not answer"):
        hub_lives(Web("http://127.0.0.1:9/"))


@pytest.mark.parametrize(("page", "fine"), [('<input name="password">', True), ("<h1>It works</h1>", False)])
def test_the_sign_in_page(page: str, fine: bool, fake: Fake) -> None:
    fake.answers["GET /hub/login"] = 200, page
    if fine:
        assert "sign-in page" in pages_live(Web(fake.url))
    else:
        with pytest.raises(Failure, match="without a sign-in form"):
            pages_live(Web(fake.url))


# --- the provider of sign-in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "fine"), [('<form action="/hub/oauth_login">', True), ('<input name="password">', False)]
)
def test_the_sign_in_page_of_a_provider(page: str, fine: bool, fake: Fake) -> None:
    fake.answers["GET /hub/login"] = 200, page
    if fine:
        assert "sign-in page" in provider_page_lives(Web(fake.url))
    else:
        with pytest.raises(Failure, match="without a way to the provider"):
            provider_page_lives(Web(fake.url))


DISCOVERY = "GET /realms/school/.well-known/openid-configuration"


def test_a_provider_that_answers(fake: Fake) -> None:
    issuer = f"{fake.url}realms/school"
    fake.answers[DISCOVERY] = 200, {"issuer": issuer}
    assert ask_provider(OidcProvider(issuer, "aihub")) == f"{issuer} answers at {issuer}/"


def test_the_provider_is_asked_where_the_hub_asks_it(fake: Fake) -> None:
    issuer = "https://id.invalid/realms/school"
    fake.answers[DISCOVERY] = 200, {"issuer": issuer}
    known = OidcProvider(issuer, "aihub", internal_url=fake.url.rstrip("/"))
    assert ask_provider(known) == f"{issuer} answers at {fake.url}realms/school/"


def test_an_issuer_with_a_slash_keeps_it(fake: Fake) -> None:
    fake.answers["GET /.well-known/openid-configuration"] = 200, {"issuer": fake.url}
    assert fake.url in ask_provider(OidcProvider(fake.url, "aihub"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, {}), "answers 404: compare aihub.signIn"),
        ((200, {"issuer": "https://other"}), "of the issuer 'https://other', not"),
        ((200, ["issuer"]), "of the issuer None"),
        ((200, "<h1>It works</h1>"), "no JSON"),
    ],
    ids=["missing", "another issuer", "a list", "a page"],
)
def test_a_provider_that_is_another(answer: tuple[int, Any], words: str, fake: Fake) -> None:
    fake.answers[DISCOVERY] = answer
    with pytest.raises(Failure, match=words):
        ask_provider(OidcProvider(f"{fake.url}realms/school", "aihub"))


@pytest.mark.parametrize("ca", ["", "/nowhere/ca.crt"], ids=["not there", "no CA file"])
def test_a_provider_that_is_not_there(ca: str) -> None:
    with pytest.raises(Failure, match="does not answer"):
        ask_provider(OidcProvider("https://127.0.0.1:9/realms/school", "aihub", ca_file=ca))


def test_github(fake: Fake) -> None:
    known = GitHubProvider("aihub", api_url=f"{fake.url}api/v3")
    fake.answers["GET /api/v3/meta"] = 403, {}
    assert ask_provider(known) == f"{fake.url}api/v3/ answers"
    fake.answers["GET /api/v3/meta"] = 503, {}
    with pytest.raises(Failure, match="meta answers 503"):
        ask_provider(known)


# --- rights ----------------------------------------------------------------------------------------------------------

REVIEWS = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
GRANTED = {(resource, verb) for resource, verbs in selftest.NEEDED for verb in verbs}


def reviews(granted: set[tuple[str, str]]) -> Callable[[Any], tuple[int, Any]]:
    def review(body: Any) -> tuple[int, Any]:
        asked = body["spec"]["resourceAttributes"]
        name = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        return 201, {"status": {"allowed": (name, asked["verb"]) in granted}}

    return review


def test_the_least_rights_are_right(fake: Fake) -> None:
    fake.answers[REVIEWS] = reviews(GRANTED)
    assert rights(Web(fake.url.rstrip("/")), ["users"], nodes=False) == "the hub may do what it must, and no more"


@pytest.mark.parametrize(
    ("granted", "nodes", "words"),
    [
        (GRANTED - {("pods", "create")}, False, "may not create pods in users"),
        (GRANTED - {("persistentvolumeclaims", "patch")}, False, "may not patch persistentvolumeclaims in users"),
        (GRANTED | {("secrets", "get")}, False, "may get secrets in users"),
        (GRANTED | {("pods/exec", "create")}, False, "may create pods/exec in users"),
        (GRANTED, True, "may not list nodes, and rbac.readNodes is true"),
        (GRANTED | {("nodes", "list")}, False, "may list nodes, and rbac.readNodes is false"),
    ],
    ids=["no-pods", "no-growth", "secrets", "exec", "no-nodes", "nodes"],
)
def test_other_rights_are_named(granted: set[tuple[str, str]], nodes: bool, words: str, fake: Fake) -> None:
    fake.answers[REVIEWS] = reviews(granted)
    with pytest.raises(Failure, match=words):
        rights(Web(fake.url.rstrip("/")), ["users"], nodes=nodes)


# --- storage ---------------------------------------------------------------------------------------------------------

CLAIMS = r"POST /api/v1/namespaces/users/persistentvolumeclaims\?dryRun=All"


def defaulting(default: str | None) -> Callable[[Any], tuple[int, Any]]:
    def claim(body: Any) -> tuple[int, Any]:
        named = {"storageClassName": default} if default else {}
        return 201, {"spec": {**named, **body["spec"]}}

    return claim


def storage_of(fake: Fake, *classes: str | None, readable: bool = True) -> str:
    return storage(Web(fake.url.rstrip("/")), "users", classes, readable=readable)


def test_storage_classes_that_are_there(fake: Fake) -> None:
    fake.answers |= {CLAIMS: defaulting("standard"), "GET /apis/storage.k8s.io/v1/storageclasses/.*": (200, {})}
    assert storage_of(fake, None, "nfs") == "claims are made of nfs, standard"


def test_storage_classes_that_may_not_be_read(fake: Fake) -> None:
    fake.answers[CLAIMS] = defaulting("standard")
    assert "whether they exist is not known" in storage_of(fake, None, readable=False)


def test_a_storage_class_that_is_missing(fake: Fake) -> None:
    fake.answers[CLAIMS] = defaulting(None)
    with pytest.raises(Failure, match=r"no storage class fast: see aihub\.cluster\.storageClasses"):
        storage_of(fake, "fast")


def test_no_default_class(fake: Fake) -> None:
    fake.answers[CLAIMS] = defaulting(None)
    with pytest.raises(Failure, match="no default storage class"):
        storage_of(fake, None)


def test_claims_that_are_refused(fake: Fake) -> None:
    fake.answers[CLAIMS] = 403, {"message": "exceeded quota"}
    with pytest.raises(Failure, match="would be refused: exceeded quota"):
        storage_of(fake, None)


# --- a server --------------------------------------------------------------------------------------------------------


def start(fake: Fake, *events: dict[str, Any], refused: Any = None, reached: int = 200, step: float = 1.0) -> str:
    """A hub whose server goes through `events`, and is there from the start until it is deleted."""
    servers: dict[str, Any] = {}

    def begin(_body: Any) -> tuple[int, Any]:
        if refused:
            return 403, {"message": refused}
        servers["helm-test"] = {}
        return 202, {}

    def end(_body: Any) -> tuple[int, Any]:
        servers.clear()
        return 204, {}

    fake.answers |= {
        "GET /hub/api/users/ada": lambda _body: (200, {"servers": dict(servers)}),
        f"POST {SERVER}": begin,
        f"DELETE {SERVER}": end,
        f"GET {SERVER}/progress": (200, "".join(f"data: {json.dumps(event)}\n\n" for event in events)),
        "GET /user/ada/helm-test/api": (reached, {"version": "2"}),
    }
    return start_and_stop(Web(fake.url), "ada", {"project": "ml"}, 60, clock(step))


def test_a_server_that_starts(fake: Fake) -> None:
    said = start(fake, {"message": "Getting the image"}, {"ready": True, "message": "Ready"})
    assert re.fullmatch(r"a server of ada started in \d+ s, answered, and stopped", said)
    assert fake.asked.index(f"POST {SERVER}") < fake.asked.index(f"DELETE {SERVER}")


@pytest.mark.parametrize(
    ("events", "more", "words"),
    [
        ([], {"refused": "You have no project."}, r"refused \(403\): You have no project\."),
        ([{"failed": True, "html_message": "The <b>image</b> is not there."}], {}, r"The image is not there\."),
        ([{"message": "Waiting for a machine"}], {}, "last that was heard: Waiting for a machine"),
        ([{"message": "Waiting"}, {"ready": True}], {"step": 100.0}, "did not start in time"),
        ([{"ready": True}], {"reached": 503}, "answers 503 through the proxy: see NetworkPolicies"),
    ],
    ids=["refused", "failed", "broken-off", "slow", "unreachable"],
)
def test_a_server_that_does_not(events: list[dict[str, Any]], more: dict[str, Any], words: str, fake: Fake) -> None:
    with pytest.raises(Failure, match=words):
        start(fake, *events, **more)
    assert (f"DELETE {SERVER}" in fake.asked) == ("refused" not in more), "what was started is stopped"


def test_what_an_interrupted_test_left_is_stopped_first(fake: Fake) -> None:
    left: Iterator[dict[str, Any]] = iter([{"helm-test": {}}, {}])
    fake.answers["GET /hub/api/users/ada"] = lambda _body: (200, {"servers": next(left, {})})
    fake.answers[f"DELETE {SERVER}"] = 204, {}
    with pytest.raises(Failure, match="refused"):
        start_and_stop(Web(fake.url), "ada", {}, 60, clock())
    assert fake.asked.index(f"DELETE {SERVER}") < fake.asked.index(f"POST {SERVER}")


def test_a_server_that_does_not_stop(fake: Fake) -> None:
    fake.answers["GET /hub/api/users/ada"] = 200, {"servers": {"helm-test": {}}}
    with pytest.raises(Failure, match="told to stop and did not"):
        start_and_stop(Web(fake.url), "ada", {}, 60, clock(50.0))


def test_sign_in_sends_the_token_and_is_checked(fake: Fake) -> None:
    fake.answers |= {"GET /hub/login": (200, ""), "POST /hub/login": (200, ""), "GET /hub/api/user": (200, {})}
    web = Web(fake.url)
    sign_in(web, "ada", "secret")
    assert web.xsrf() == "token"
    fake.answers["GET /hub/api/user"] = 403, {}
    with pytest.raises(Failure, match="ada cannot sign in"):
        sign_in(Web(fake.url), "ada", "secret")


# --- all -------------------------------------------------------------------------------------------------------------


def test_a_failed_check_does_not_keep_the_others_from_being_made() -> None:
    def bad() -> str:
        raise Failure("it is broken: mend it")

    said: list[str] = []
    assert not examine({"one": bad, "two": lambda: "fine"}, said.append)
    assert said == ["FAILED  one: it is broken: mend it", "ok      two: fine"]
    assert examine({"two": lambda: "fine"}, said.append)
