"""Sign-in with a shared password, on a real hub: who gets in, who does not, and what a changed policy does to both.

Traps of JupyterHub that these tests would notice (upstream.md): 27, nobody asks on a refresh whether somebody may still
sign in; 39, the stock class gives no groups, and knows admins from the configuration only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, expect

from aihub.i18n import COOKIE
from aihub.passwords import ADMIN_PASSWORD, USER_PASSWORD
from tests.local.browsing import axe_script, browsing, cookies, faults, overflow, small_targets
from tests.local.people import until
from tests.local.rig import Rig, refused

POLICY = Path(__file__).parent / "policies" / "evaluation.yaml"
USER, ADMIN = "open sesame ", "the password of admins, 32 characters"
PASSWORDS = {USER_PASSWORD: USER, ADMIN_PASSWORD: ADMIN}
WRONG = "The name or the password is wrong."


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "evaluation.yaml"
    path.write_text(POLICY.read_text())
    return path


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[Rig]:
    """A hub with shared passwords. Each test signs in people of its own, for wrong passwords slow a name down."""
    rig = Rig(tmp_path_factory.mktemp("evaluation"), (policy,), environ=PASSWORDS)
    rig.start()
    yield rig
    rig.close()


@contextmanager
def visitor(rig: Rig, address: str = "127.0.0.1") -> Iterator[httpx.Client]:
    """Somebody with a browser of their own, at an address of their own."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=rig.url, transport=transport, timeout=60) as client:
        yield client


def form(client: httpx.Client, to: str = "") -> dict[str, str]:
    """The hidden fields of the sign-in form."""
    answer = client.get("/hub/login", params={"next": to} if to else None)
    hidden = BeautifulSoup(answer.text, "html.parser").select("main input[type=hidden]")
    return {str(each["name"]): str(each.get("value", "")) for each in hidden}


def attempt(client: httpx.Client, name: str, password: str, to: str = "") -> httpx.Response:
    return client.post("/hub/login", data={**form(client, to), "username": name, "password": password})


def sign_in(client: httpx.Client, name: str, password: str = USER) -> None:
    answer = attempt(client, name, password)
    assert answer.status_code == 302, answer.text
    client.get("/hub/home")
    client.headers["X-XSRFToken"] = next(
        c.value or "" for c in client.cookies.jar if (c.name, c.path) == ("_xsrf", "/hub/")
    )


def who(client: httpx.Client) -> str | None:
    """Who the hub thinks that this is; None for nobody."""
    answer = client.get("/hub/api/user")
    return str(answer.json()["name"]) if answer.is_success else None


def error(answer: httpx.Response) -> str:
    found = BeautifulSoup(answer.text, "html.parser").select_one("#errors")
    return found.get_text(strip=True) if found else ""


@contextmanager
def changed(policy: Path, old: str, new: str) -> Iterator[None]:
    """The policy with a change, until the end of the test."""
    text = policy.read_text()
    assert old in text
    policy.write_text(text.replace(old, new))
    yield
    policy.write_text(text)


# --- who gets in -----------------------------------------------------------------------------------------------------


def test_somebody_listed_gets_in_with_the_groups_of_the_policy(evaluation: Rig) -> None:
    with visitor(evaluation) as client:
        sign_in(client, "ada")
        user = client.get("/hub/api/user").json()
        assert (user["name"], user["groups"], user["admin"]) == ("ada", ["/lab"], False)
        start = client.get("/hub/spawn").text
        assert "The lab" in start
        assert "The club" not in start
        assert "for evaluation" not in client.get("/hub/home").text


def test_an_instructor_is_one_by_the_groups_and_the_name_is_normalised(evaluation: Rig) -> None:
    with visitor(evaluation) as client:
        sign_in(client, " GRACE ")
        assert who(client) == "grace"
        assert client.get("/hub/aihub/projects/lab").status_code == 200


def test_a_name_with_letters_of_other_alphabets(evaluation: Rig) -> None:
    with visitor(evaluation) as client:
        sign_in(client, "Zoë@example.org")
        assert who(client) == "zoë@example.org"


@pytest.mark.parametrize("name", ["root", "boss"])
def test_an_admin_needs_the_password_of_admins_and_is_told_about_the_sign_in(evaluation: Rig, name: str) -> None:
    with visitor(evaluation) as client:
        answer = attempt(client, name, USER)
        assert (answer.status_code, error(answer), who(client)) == (403, WRONG, None)
        sign_in(client, name, ADMIN)
        assert client.get("/hub/api/user").json()["admin"]
        assert "Sign-in is for evaluation." in client.get("/hub/home").text
        assert client.get("/hub/admin").status_code == 200


def test_the_page_leads_on_to_where_one_wanted_to_go_but_to_no_other_site(evaluation: Rig) -> None:
    with visitor(evaluation) as client:
        assert attempt(client, "ada", USER, "/hub/aihub/projects").headers["location"] == "/hub/aihub/projects"
    with visitor(evaluation) as client:
        assert urlsplit(attempt(client, "ada", USER, "//elsewhere.example").headers["location"]).netloc == ""


# --- who does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param("joe", "wrong password", id="wrong"),
        pytest.param("joe", "", id="none"),
        pytest.param("joe", USER.strip(), id="a space is missing"),
        pytest.param("joe", ADMIN, id="the one of admins"),
        pytest.param("nobody", USER, id="not listed"),
        pytest.param("nobody", ADMIN, id="not listed, as an admin"),
        pytest.param("", USER, id="no name"),
        pytest.param("jo\0e", USER, id="NUL"),
        pytest.param("x" * 100_000, USER, id="long name"),
        pytest.param("nobody", "x" * 100_000, id="long password"),
        pytest.param("nobody", "密碼\N{PILE OF POO}", id="other alphabets"),
    ],
)
def test_nobody_else_gets_in_and_all_are_told_the_same(evaluation: Rig, name: str, password: str) -> None:
    with visitor(evaluation, "127.0.0.9") as client:
        answer = attempt(client, name, password)
        assert (answer.status_code, error(answer), who(client)) == (403, WRONG, None)
        page = BeautifulSoup(answer.text, "html.parser")
        assert page.select_one("#password:not([value])")
        assert not [each for each in client.cookies.jar if "hub-login" in each.name]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"username=joe", id="no password"),
        pytest.param(b"username=%ff%fe&password=%ff", id="no UTF-8"),
        pytest.param(b"username=ada&username=joe&password=a&password=b", id="twice"),
        pytest.param(b"username[]=joe&password[]=x", id="lists"),
    ],
)
@pytest.mark.parametrize("with_token", [True, False], ids=["", "without XSRF token"])
def test_odd_forms_are_answered_with_the_form(evaluation: Rig, body: bytes, with_token: bool) -> None:
    with visitor(evaluation, "127.0.0.10") as client:
        token = form(client)["_xsrf"]
        body = b"_xsrf=" + (token.encode() if with_token else b"x") + b"&" + body
        answer = client.post("/hub/login", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        expected = WRONG if with_token else "The form could not be used. Try again."
        assert (answer.status_code, error(answer), who(client)) == (403, expected, None)


def test_the_right_password_without_the_form_s_token_is_of_no_use(evaluation: Rig) -> None:
    with visitor(evaluation) as client:
        client.get("/hub/login")
        answer = client.post("/hub/login", data={"username": "ada", "password": USER})
        assert (answer.status_code, who(client)) == (403, None)


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        pytest.param({"username": "ada", "password": USER}, 201, id="right"),
        pytest.param({"username": "ada", "password": "wrong"}, 403, id="wrong"),
        pytest.param({"username": "root", "password": USER}, 403, id="admin"),
        pytest.param({"username": "ada"}, 403, id="no password"),
        pytest.param({"username": ["ada"], "password": {}}, 403, id="no text"),
        pytest.param("ada", 403, id="no map"),
        pytest.param(None, 403, id="nothing"),
    ],
)
def test_tokens_for_a_password_are_for_the_right_one(evaluation: Rig, auth: object, status: int) -> None:
    """JupyterHub gives out tokens for what its sign-in takes."""
    with visitor(evaluation) as client:
        sign_in(client, "ada")
    with visitor(evaluation, "127.0.0.11") as client:
        assert client.post("/hub/api/users/ada/tokens", json={"auth": auth}).status_code == status


# --- a changed policy ------------------------------------------------------------------------------------------------


def test_who_is_removed_can_do_nothing_more_and_gets_in_no_more(evaluation: Rig, policy: Path) -> None:
    with visitor(evaluation) as client, visitor(evaluation) as api:
        sign_in(client, "eve")
        token = client.post("/hub/api/users/eve/tokens", json={}).json()["token"]
        api.headers["Authorization"] = f"token {token}"
        assert who(api) == "eve"
        with changed(policy, "    eve: {groups: [/lab]}\n", ""):
            until(lambda: who(client) is None, "the session ends")
            assert who(api) is None
            assert client.get("/hub/home").status_code == 302
            assert api.post("/hub/api/users/eve/server", json={}).status_code == 403
            assert error(attempt(client, "eve", USER)) == WRONG
        until(lambda: who(client) == "eve", "eve is back")


def test_groups_follow_the_policy(evaluation: Rig, policy: Path) -> None:
    with visitor(evaluation) as client:
        sign_in(client, "ada")
        with changed(policy, "ada: {displayName: Ada, groups: [/lab]}", "ada: {groups: [/club]}"):
            until(lambda: client.get("/hub/api/user").json()["groups"] == ["/club"], "the groups change")
            start = client.get("/hub/spawn").text
            assert "The club" in start
            assert "The lab" not in start
        until(lambda: client.get("/hub/api/user").json()["groups"] == ["/lab"], "the groups change back")


def test_who_becomes_an_admin_begins_anew(evaluation: Rig, policy: Path) -> None:
    """Until then everybody could have signed in as them; nothing that was begun so may become an admin's."""
    with visitor(evaluation) as before, visitor(evaluation) as api, visitor(evaluation) as admin:
        sign_in(before, "joe")
        token = before.post("/hub/api/users/joe/tokens", json={}).json()["token"]
        api.headers["Authorization"] = f"token {token}"
        with changed(policy, "joe: {groups: [/lab]}", "joe: {admin: true}"):
            until(lambda: attempt(admin, "joe", ADMIN).status_code == 302, "the policy is in force")
            assert admin.get("/hub/api/user").json()["admin"]
            assert (who(before), who(api)) == (None, None)
            assert attempt(before, "joe", USER).status_code == 403
        until(lambda: not admin.get("/hub/api/user").json()["admin"], "joe is no admin any more")
        assert admin.get("/hub/admin").status_code == 403


def test_a_session_does_not_become_an_admin_s_by_itself(evaluation: Rig, policy: Path) -> None:
    with visitor(evaluation) as client:
        sign_in(client, "ada")
        with changed(policy, "ada: {displayName: Ada, groups: [/lab]}", "ada: {groups: [/ops]}"):
            until(lambda: who(client) is None, "the session ends")


# --- guessing --------------------------------------------------------------------------------------------------------


def test_guessing_is_slowed_down_and_locks_nobody_out(evaluation: Rig) -> None:
    guesses = 40
    with visitor(evaluation, "127.0.0.66") as guesser, visitor(evaluation) as ada:
        hidden = form(guesser)

        def guess(number: int) -> httpx.Response:
            # The address that a proxy was told is not the one that it saw.
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            data = {**hidden, "username": "ada", "password": f"guess {number}"}
            return guesser.post("/hub/login", data=data, headers=headers)

        begin = time.monotonic()
        with ThreadPoolExecutor(guesses) as pool:
            answers = list(pool.map(guess, range(guesses)))
        assert {each.status_code for each in answers} == {403, 429}
        turned_away = [each for each in answers if each.status_code == 429]
        assert len(turned_away) > guesses / 2
        assert int(turned_away[-1].headers["Retry-After"]) <= 10
        assert error(turned_away[0]).startswith("Too many wrong passwords for this name. Try again in ")
        assert time.monotonic() - begin < 30

        # Elsewhere it goes at once, and where it was guessed as soon as the row is over.
        begin = time.monotonic()
        sign_in(ada, "ada")
        assert time.monotonic() - begin < 2
        until(lambda: attempt(guesser, "ada", USER).status_code == 302, "the guesser's neighbour gets in", within=30)


# --- the hub's own start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passwords", "problem"),
    [
        (
            {USER_PASSWORD: "", ADMIN_PASSWORD: ADMIN},
            "AIHUB_USER_PASSWORD (the key userPassword of the Secret) is missing",
        ),
        ({USER_PASSWORD: USER, ADMIN_PASSWORD: "x" * 31}, "adminPassword of the Secret) has 31 characters"),
    ],
    ids=["missing", "short"],
)
def test_no_hub_without_good_passwords(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, passwords: dict[str, str], problem: str
) -> None:
    for name, value in passwords.items():
        monkeypatch.setenv(name, value)
    ended = refused("--config", POLICY, "--state-dir", tmp_path / "state")
    assert ended.returncode == 2
    assert problem in ended.stderr
    assert not (tmp_path / "state").exists()


def test_the_terminal_says_how_and_never_a_password(evaluation: Rig) -> None:
    said = evaluation.said()
    assert "Sign in with a shared password as one of: ada, grace," in said
    whole = "".join(path.read_text() for path in (evaluation.terminal, evaluation.log))
    assert USER.strip() not in whole
    assert ADMIN not in whole


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_by_keyboard_with_a_mistake(browser: Browser, evaluation: Rig, scripts: bool) -> None:
    with browsing(browser, evaluation, java_script_enabled=scripts) as page:
        page.goto("/hub/spawn")
        expect(page).to_have_url(f"{evaluation.url}/hub/login?next=%2Fhub%2Fspawn")
        page.locator("#username").focus()
        page.keyboard.type("grace")
        page.keyboard.press("Tab")
        page.keyboard.type("not this")
        page.keyboard.press("Enter")
        expect(page.locator("#errors")).to_have_text(WRONG)
        expect(page).to_have_title("Error: Sign in – AIHub")
        expect(page.locator("#username")).to_have_value("grace")
        expect(page.locator("#password")).to_have_value("")
        expect(page.locator("#password")).to_be_focused()
        page.keyboard.type(USER)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{evaluation.url}/hub/spawn")


@pytest.mark.parametrize("code", ["en", "zh_TW"])
def test_pages_can_be_used_by_everybody(browser: Browser, evaluation: Rig, code: str) -> None:
    with browsing(browser, evaluation, bypass_csp=True, reduced_motion="reduce") as page:
        page.context.add_init_script(axe_script())
        cookies(page.context, evaluation, **{COOKIE: code})

        def check() -> list[str]:
            found = []
            for width, theme in ((360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")):
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
                expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
                found += [f"{page.url} {width} {theme}: {each}" for each in (*faults(page), *overflow(page))]
                found += small_targets(page)
            return found

        page.goto("/hub/login?next=/hub/home")
        wrong = check()
        page.locator("#username").fill("root")
        page.locator("#password").fill("not this")
        page.keyboard.press("Enter")
        expect(page.locator("#errors")).to_be_visible()
        wrong += check()
        page.locator("#password").fill(ADMIN)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{evaluation.url}/hub/home")
        expect(page.locator("aside.ah-banner")).to_be_visible()
        wrong += check()
    assert not wrong, "\n".join(wrong)
