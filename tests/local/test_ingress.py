"""A hub behind an ingress that ends TLS: what its cookies say, where sign-in leads back to, and a wrong address.

The hub's own proxy stands between the ingress and the hub and adds that it was asked by HTTP: JupyterHub takes that for
the browser's own way, which these tests would notice (upstream.md 51).
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup

from tests.local.rig import ONE_PROJECT, Rig
from tests.provider_rig import HostileProvider

PUBLIC = "https://hub.example.org"
INGRESS = {"Host": "hub.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
SIGN_IN = """
signIn:
  method: oidc
  publicUrl: https://hub.example.org
  oidc: {issuer: "ISSUER", clientId: aihub}
  allowed: {anyone: true}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[HostileProvider]:
    with HostileProvider() as rig:
        rig.add_client("aihub", "secret", [f"{PUBLIC}/hub/oauth_callback"])
        rig.add_person("ada", email="ada@example.org")
        yield rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, provider: HostileProvider) -> Iterator[Rig]:
    """A hub with its real proxy, that knows the address by which people reach it."""
    folder = tmp_path_factory.mktemp("ingress")
    policy = folder / "policy.yaml"
    policy.write_text(ONE_PROJECT.read_text().split("signIn:")[0] + SIGN_IN.replace("ISSUER", provider.issuer))
    rig = Rig(folder, (policy,), environ={"AIHUB_CLIENT_SECRET": "secret"})
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def browser(rig: Rig) -> Iterator[httpx.Client]:
    """A browser that came by the ingress; it keeps no cookies by itself, for those of HTTPS are not for this rig."""
    with httpx.Client(base_url=rig.url, headers=INGRESS, timeout=60) as client:
        yield client


def set_cookies(answer: httpx.Response) -> dict[str, str]:
    """The Set-Cookie lines of an answer, without those that take a cookie away."""
    lines = [line for line in answer.headers.get_list("set-cookie") if '=""' not in line]
    return {line.partition("=")[0]: line for line in lines}


def kept(*answers: httpx.Response) -> dict[str, str]:
    """What a browser sends back."""
    lines = [line for answer in answers for line in set_cookies(answer).values()]
    return {"Cookie": "; ".join(line.split(";")[0] for line in lines)}


def test_sign_in_leads_back_to_the_public_address_and_its_cookies_are_secure(
    rig: Rig, browser: httpx.Client, provider: HostileProvider
) -> None:
    there = browser.get("/hub/oauth_login")
    assert there.status_code == 302, there.text
    wanted = parse_qs(urlsplit(there.headers["Location"]).query)["redirect_uri"]
    assert wanted == [f"{PUBLIC}/hub/oauth_callback"]
    back = httpx.get(there.headers["Location"], cookies={"rig-person": "ada"}).headers["Location"]
    assert back.startswith(f"{PUBLIC}/hub/oauth_callback?")
    answer = browser.get(back.removeprefix(PUBLIC), headers=kept(there))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/home")
    given = {**set_cookies(there), **set_cookies(answer)}
    assert {"jupyterhub-hub-login", "jupyterhub-session-id"} <= given.keys()
    assert [line for line in given.values() if "; Secure" not in line] == []
    home = browser.get("/hub/home", headers=kept(there, answer))
    assert home.status_code == 200
    assert [line for line in set_cookies(home).values() if "; Secure" not in line] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "hub.example.org"},
        {"Host": "hub.example.org", "X-Forwarded-Proto": "http"},
        {"Host": "10.0.0.7:8000", "X-Forwarded-Proto": "https"},
        {},
    ],
    ids=["no protocol said", "plain HTTP", "another name", "past the ingress"],
)
def test_another_address_is_named_before_anybody_is_sent_anywhere(rig: Rig, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{rig.url}/hub/oauth_login", headers=headers)
    assert answer.status_code == 400
    page = BeautifulSoup(answer.text, "html.parser")
    assert "wrong-address" in [code.text for code in page.select("section[role=alert] code")]
    said = page.get_text()
    came = f"{headers.get('X-Forwarded-Proto', 'http')}://{headers.get('Host', urlsplit(rig.url).netloc)}"
    assert came in said
    assert PUBLIC in said
    assert "aihub-sign-in" not in str(answer.headers)


@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        (INGRESS, True),
        ({"Host": "hub.example.org", "Forwarded": "for=192.0.2.7;proto=https"}, True),
        ({"Host": "hub.example.org", "X-Forwarded-Proto": "http"}, False),
        ({}, False),
    ],
    ids=["X-Forwarded-Proto", "Forwarded", "plain HTTP", "no ingress"],
)
def test_cookies_are_secure_for_who_came_by_https_and_no_others(
    hub: Rig, headers: dict[str, str], secure: bool
) -> None:
    with httpx.Client(base_url=hub.url, headers=headers, timeout=60) as client:
        form = client.get("/hub/login")
        (token,) = {str(field["value"]) for field in BeautifulSoup(form.text, "html.parser").select("[name=_xsrf]")}
        data = {"_xsrf": token, "persona": "student"}
        answer = client.post("/hub/login", data=data, headers=kept(form))
        assert answer.status_code == 302, answer.text
        given = {**set_cookies(form), **set_cookies(answer)}
        assert {"_xsrf", "jupyterhub-hub-login", "jupyterhub-session-id"} <= given.keys()
        assert {name: "; Secure" in line for name, line in given.items()} == dict.fromkeys(given, secure)
