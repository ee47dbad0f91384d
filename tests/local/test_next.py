"""Where sign-in leads to: whatever a link asks for, to this hub and nowhere else.

The values are those of tests/data/next_values.txt. An answer's Location is read by the URL parser that browsers have
(Node's, https://url.spec.whatwg.org), and what it leads to is opened in turn: a redirect may lead to another one.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, Request

from aihub.node import find_node
from aihub.passwords import ADMIN_PASSWORD, USER_PASSWORD
from tests.provider_rig import HostileProvider
from tests.sso_hub import HubInProcess

VALUES = Path(__file__).parents[1] / "data" / "next_values.txt"
HOPS = 6
"""Redirects that are followed: the hub's own chains are shorter."""

COMMON = """
imageStreams:
  plain: {tags: {"1": {requirements: []}}}
profiles:
  small: {cpu: 1, memory: 1Gi}
projects:
  lab: {open: true, images: {offer: [plain], default: "plain:1"}, profiles: {offer: [small], default: small}}
"""
SIGN_IN = {
    "persona": "signIn: {method: local, personas: {ada: {}}}",
    "password": "signIn: {method: sharedPassword, people: {ada: {}}}",
    "provider": "signIn: {method: oidc, oidc: {issuer: ISSUER, clientId: aihub}, allowed: {anyone: true}}",
}
PASSWORDS = {USER_PASSWORD: "open sesame", ADMIN_PASSWORD: "the password of admins, 32 characters"}


def values(hub: HubInProcess) -> list[str]:
    """What links ask for, with this hub's own address where it stands."""
    lines = [line for line in VALUES.read_text().splitlines() if line and not line.startswith("#")]
    host = f"127.0.0.1:{hub.port}"
    return [_long(str(json.loads(line)).replace("{host}", host)) for line in lines]


def _long(text: str) -> str:
    return re.sub(r"\{([^{}*]+)\*(\d+)\}", lambda part: part[1] * int(part[2]), text)


@contextmanager
def hub_of(method: str, folder: Path, provider: HostileProvider) -> Iterator[HubInProcess]:
    """A hub with this way to sign in."""
    policy = folder / "policy.yaml"
    policy.write_text(COMMON + SIGN_IN[method].replace("ISSUER", provider.issuer))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**PASSWORDS, "AIHUB_CLIENT_SECRET": "secret"}.items():
            patch.setenv(name, value)
        with HubInProcess(folder, policy) as hub:
            provider.add_client("aihub", "secret", [hub.callback])
            yield hub


@pytest.fixture(scope="module")
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as rig:
        rig.add_person("ada", email="ada@example.org")
        yield rig


@pytest.fixture(scope="module", params=SIGN_IN)
def hub(
    request: pytest.FixtureRequest, provider: HostileProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HubInProcess]:
    with hub_of(request.param, tmp_path_factory.mktemp(request.param), provider) as running:
        yield running


@pytest.fixture
def client(hub: HubInProcess) -> Iterator[httpx.Client]:
    """A browser in which nobody has signed in."""
    with httpx.Client(base_url=hub.origin, timeout=60) as browser:
        yield browser


# --- ways in ---------------------------------------------------------------------------------------------------------


def sign_in(client: httpx.Client, hub: HubInProcess, wanted: str) -> httpx.Response:
    """The last answer of a sign-in that asks to be led to `wanted`."""
    if hub.app.authenticator.__class__.__name__ == "OidcSignIn":
        return _by_provider(client, hub, wanted)
    client.get("/hub/login")
    fields = {"_xsrf": xsrf(client), "persona": "ada", "username": "ada", "password": PASSWORDS[USER_PASSWORD]}
    return client.post("/hub/login", data={**fields, "next": wanted})


def _by_provider(client: httpx.Client, hub: HubInProcess, wanted: str) -> httpx.Response:
    client.cookies.set("rig-person", "ada", domain="127.0.0.1")
    there = client.get("/hub/oauth_login", params={"next": wanted})
    assert there.status_code == 302, there.text
    back = client.get(there.headers["Location"])
    assert back.headers["Location"].startswith(hub.callback)
    return client.get(back.headers["Location"])


def xsrf(client: httpx.Client) -> str:
    return next(c.value or "" for c in client.cookies.jar if (c.name, c.path) == ("_xsrf", "/hub/"))


def signed_in(client: httpx.Client, hub: HubInProcess, wanted: str) -> httpx.Response:
    """Somebody who is signed in opens a link to the sign-in page."""
    del hub
    return client.get("/hub/login", params={"next": wanted})


def language(client: httpx.Client, hub: HubInProcess, wanted: str) -> httpx.Response:
    """The choice of a language, which leads back."""
    del hub
    return client.post("/hub/aihub/language", data={"_xsrf": xsrf(client), "lang": "en", "next": wanted})


def stop(client: httpx.Client, hub: HubInProcess, wanted: str) -> httpx.Response:
    """A stop of a server, which leads back."""
    del hub
    return client.post("/hub/aihub/stop", data={"_xsrf": xsrf(client), "server": "none", "next": wanted})


Way = Callable[[httpx.Client, HubInProcess, str], httpx.Response]


# --- where they lead -------------------------------------------------------------------------------------------------

PARSE = """
const lines = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(lines.map(([to, from]) => { try { return new URL(to, from).href } catch { return null } })));
"""


def parsed(places: list[tuple[str, str]]) -> list[str | None]:
    """Each Location as an address, seen from the address that answered with it; None for what leads nowhere."""
    run = subprocess.run(
        [find_node().binary, "-e", PARSE], input=json.dumps(places), capture_output=True, text=True, check=True
    )
    found: list[str | None] = json.loads(run.stdout)
    return found


def readings(answer: httpx.Response) -> list[tuple[str, str]]:
    """The Location of an answer as UTF-8 and as Latin-1, both of which browsers have read headers as."""
    raw = dict(answer.headers.raw).get(b"Location", b"")
    return [(raw.decode(name, "replace"), str(answer.request.url)) for name in ("utf-8", "latin-1")]


def outside(hub: HubInProcess, asked: dict[str, httpx.Response]) -> dict[str, list[str | None]]:
    """What leads out of the hub, by the value that was asked for: nothing, when all is well."""
    places = {wanted: readings(answer) for wanted, answer in asked.items()}
    read = iter(parsed([each for pair in places.values() for each in pair]))
    found = {wanted: [next(read) for _ in pair] for wanted, pair in places.items()}
    own = f"{hub.origin}/"
    return {
        wanted: there for wanted, there in found.items() if not all(each and each.startswith(own) for each in there)
    }


def test_no_value_leads_a_sign_in_out_of_the_hub(hub: HubInProcess, client: httpx.Client) -> None:
    asked: dict[str, httpx.Response] = {}
    for wanted in values(hub):
        client.cookies.clear()
        asked[wanted] = sign_in(client, hub, wanted)
    assert len(asked) >= 200
    assert {wanted: answer.status_code for wanted, answer in asked.items() if answer.status_code != 302} == {}
    assert outside(hub, asked) == {}


@pytest.mark.parametrize("hub", ["persona"], indirect=True)
@pytest.mark.parametrize("way", [signed_in, language, stop], ids=lambda way: way.__name__)
def test_nor_somebody_who_is_signed_in(hub: HubInProcess, client: httpx.Client, way: Way) -> None:
    sign_in(client, hub, "/hub/home")
    client.get("/hub/home")
    asked = {wanted: way(client, hub, wanted) for wanted in values(hub)}
    assert {wanted: answer.status_code for wanted, answer in asked.items() if answer.status_code != 302} == {}
    assert outside(hub, asked) == {}


@pytest.mark.parametrize("hub", ["persona"], indirect=True)
def test_nor_do_the_pages_that_it_may_lead_to(hub: HubInProcess, client: httpx.Client) -> None:
    sign_in(client, hub, "/hub/home")
    session = dict(client.cookies)
    answers = {wanted: signed_in(client, hub, wanted) for wanted in values(hub)}
    seen: set[str | None] = set()
    for _ in range(HOPS):
        assert outside(hub, answers) == {}
        new = {*parsed([readings(answer)[0] for answer in answers.values()])} - seen
        seen |= new
        answers = {}
        for address in new:
            client.cookies.clear()  # one of the pages signs out
            client.cookies.update(session)
            answer = client.get(str(address))
            if answer.is_redirect:
                answers[str(address)] = answer
    assert len(seen) > 50
    assert answers == {}, "a longer chain of redirects than the hub has"


@dataclass
class Asked:
    """The addresses that a page has asked for."""

    addresses: list[str] = field(default_factory=list)

    def note(self, request: Request) -> None:
        self.addresses.append(request.url)


@pytest.mark.browser
@pytest.mark.parametrize("hub", ["persona"], indirect=True)
def test_nor_a_real_browser(hub: HubInProcess, browser: Browser) -> None:
    own = (f"{hub.origin}/", "data:image/")
    for wanted in [each for each in values(hub) if len(each) < 1000][::24]:
        context = browser.new_context(base_url=hub.origin)
        asked, page = Asked(), context.new_page()
        page.on("request", asked.note)
        page.goto(f"/hub/login?{urlencode({'next': wanted})}", wait_until="commit")
        page.locator("button[name=persona]").click(no_wait_after=True)
        page.wait_for_url(lambda url: "/hub/login" not in url or "next" not in url, wait_until="commit")
        context.close()
        assert [each for each in asked.addresses if not each.startswith(own)] == [], wanted
