from __future__ import annotations

import os
import re
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jinja2
import pytest
from bs4 import BeautifulSoup, Tag
from jupyterhub._data import DATA_FILES_PATH

from aihub.i18n import PSEUDO, STATIC, TEMPLATES, Catalogues, Here
from aihub.identity import SignInReason
from aihub.pages import Chrome
from tests.page_samples import PAGES, Mark, render, unmarked

CATALOGUES = Catalogues.load(pseudo=True, zone=UTC)
LANGUAGES = tuple(CATALOGUES.languages.values())
GOLDEN = Path(__file__).with_name("data") / "pages"
EVERY_PAGE = pytest.mark.parametrize("name", PAGES)


def page(name: str, code: str = "en", mark: Mark = unmarked) -> BeautifulSoup:
    return BeautifulSoup(html(name, code, mark), "html.parser")


def html(name: str, code: str = "en", mark: Mark = unmarked) -> str:
    return render(name, CATALOGUES.languages[code], LANGUAGES, mark)


AGREED = (
    *("sign-in", "sign-in-password", "sign-in-sso", "sign-in-provider-down", "sign-in-wrong-address", "signed-out-sso"),
    *("status-new", "home", "spawn", "spawn-refused", "progress", "stopped", "project"),
)


@pytest.mark.parametrize("name", AGREED)
@pytest.mark.parametrize("code", ["en", "zh_TW"])
def test_a_page_is_as_it_was_agreed(name: str, code: str) -> None:
    """`AIHUB_WRITE_GOLDEN=1` writes the files anew; look at what changed before it is committed."""
    path = GOLDEN / f"{name}.{code}.html"
    # Addresses of static files change with their content, and the version with every release.
    shown = re.sub(r"\?v=[0-9a-f]{12}|AIHub \d[^<]*", "", html(name, code))
    if name != "home":  # one page shows icons and header for all
        shown = re.sub(r'<svg class="d-none".*?</header>', "", shown, count=1, flags=re.DOTALL)
    if os.environ.get("AIHUB_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


# --- structure -------------------------------------------------------------------------------------------------------


@EVERY_PAGE
def test_a_page_has_one_main_one_title_and_headings_in_order(name: str) -> None:
    found = page(name)
    assert len(found.find_all("main")) == 1
    assert len(found.find_all("h1")) == 1
    levels = [int(heading.name[1]) for heading in found.select("main :is(h1, h2, h3, h4)")]
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False)), levels
    assert found.title is not None
    assert found.title.get_text().endswith(" – AIHub")


@EVERY_PAGE
def test_ids_are_unique_and_references_lead_somewhere(name: str) -> None:
    found = page(name)
    ids = [each["id"] for each in found.find_all(id=True)]
    assert len(ids) == len(set(ids)), sorted(each for each in ids if ids.count(each) > 1)
    for attribute in ("for", "form", "aria-labelledby", "aria-describedby"):
        for each in found.select(f"[{attribute}]"):
            wanted = str(each[attribute] if attribute != "for" else each["for"]).split()
            wanted = wanted if not isinstance(each[attribute], list) else list(each[attribute])
            assert set(wanted) <= set(ids), f"{attribute}={wanted}"
    for link in found.find_all("a", href=re.compile("^#")):
        assert link["href"][1:] in ids, link["href"]
    for use in found.find_all("use"):
        assert use["href"][1:] in ids, use["href"]


@EVERY_PAGE
def test_every_field_and_button_has_a_name(name: str) -> None:
    found = page(name)
    labelled = {label["for"] for label in found.find_all("label")}
    for field in found.select("input:not([type=hidden]), select"):
        assert field.get("id") in labelled or field.get("aria-labelledby"), field
    for control in found.select("button, a, summary"):
        assert control.get_text(strip=True) or control.get("aria-label"), control
    for meter in found.select("meter, progress"):
        assert meter.get("aria-labelledby"), meter


@EVERY_PAGE
def test_a_page_works_without_script_and_under_a_strict_policy(name: str) -> None:
    found = page(name)
    for script in found.find_all("script"):
        assert script.get("src") or script.get("type") == "application/json", script
    assert not found.find_all("style")
    for each in found.find_all(True):
        assert not [key for key in each.attrs if key.startswith("on") or key == "style"], each
        assert each.get("disabled") is None, "aria-disabled keeps the reason in reach"
    for form in found.find_all("form", method="post"):
        assert form.find("input", attrs={"name": "_xsrf", "value": "token"}), form.get("action")
        assert form.find("button", attrs={"type": "submit"}), form.get("action")


@EVERY_PAGE
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    for each in page(name).select("[src], link[href]"):
        assert str(each.get("src") or each.get("href")).startswith("/hub/")


@pytest.mark.parametrize("code", CATALOGUES.languages)
@EVERY_PAGE
def test_a_page_says_which_language_it_speaks(name: str, code: str) -> None:
    root = page(name, code).html
    assert isinstance(root, Tag)
    assert root["lang"] == CATALOGUES.languages[code].tag


def test_the_hubs_own_page_of_a_stopped_server_leads_to_the_start() -> None:
    found = page("not-running-stock")
    assert found.h1 is not None
    assert found.h1.get_text() == "“lab” is not running"
    assert [link["href"] for link in found.select("main a")] == [
        "/hub/spawn/student-07/lab?next=/hub/user",
        "/hub/home",
    ]


def test_the_start_button_is_the_first_of_its_form() -> None:
    found = page("spawn")
    assert found.select("#start button[type=submit]:not([form])")[0].get_text() == "Start"


def test_a_refused_submit_says_so_first() -> None:
    found = page("spawn-refused")
    assert found.title is not None
    assert found.title.get_text().startswith("Error: ")
    errors = found.select_one("#errors[role=alert][tabindex='-1']")
    assert errors is not None
    assert [link["href"] for link in errors.select("li a")] == ["#profile-gpu", "#server-name", "#image-pytorch"]
    assert found.select_one("details.ah-more[open]") is not None
    fields = found.select("#start input:not([type=radio]), #start input[checked]")
    kept = {each["name"]: each.get("value") for each in fields}
    assert kept["image"] == "pytorch"
    assert kept["profile"] == "gpu"
    assert kept["server-name"] == "Thesis Run"
    assert kept["path"] == "labs/5.ipynb"
    assert [each["value"] for each in found.select("#accelerator-count [selected]")] == ["2"]
    assert [each["value"] for each in found.select("#tag-image-pytorch [selected]")] == ["2.7"]


def test_unavailable_choices_stay_in_reach_with_their_reason() -> None:
    found = page("spawn")
    radio = found.find(id="profile-huge")
    assert isinstance(radio, Tag)
    assert radio["aria-disabled"] == "true"
    described = " ".join(found.find(id=each).get_text() for each in str(radio["aria-describedby"]).split())  # type: ignore[union-attr]
    assert "Not available" in described
    assert "this machine has 16 CPU" in described


# --- sign-in at a provider -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"), [("sign-in-sso", "Sign in with your school account"), ("sign-in-github", "Continue with GitHub")]
)
def test_the_way_to_the_provider_is_a_link_and_says_where_it_leads(name: str, text: str) -> None:
    """Browsers apply `form-action` to what a form redirects to, and ours allows this site only."""
    found = page(name)
    button = found.select_one("main a.btn-primary")
    assert button is not None
    assert button.get_text(strip=True) == text
    assert str(button["href"]).startswith("/hub/oauth_login")
    assert not found.select("main form")
    assert re.search("taken to (login.example.org|github.com)", found.get_text())


def test_where_the_sign_in_leads_in_the_end_is_kept_whole() -> None:
    link = page("sign-in-sso").select_one("main a.btn-primary")
    assert link is not None
    query = parse_qs(urlsplit(str(link["href"])).query)
    assert query == {"next": ["/hub/aihub/launch/ml101?image=pytorch:2.9"]}


REFUSED = pytest.mark.parametrize("reason", SignInReason)


@REFUSED
def test_a_refused_sign_in_says_so_first_and_has_a_way_on(reason: SignInReason) -> None:
    found = page(f"sign-in-{reason}")
    assert found.title is not None
    assert found.title.get_text().startswith("Error: ")
    box = found.select_one("#errors[role=alert][tabindex='-1']")
    assert box is not None
    assert [code.get_text() for code in box.select("code")] == [reason.value, "3f7a2c"]
    assert len(box.select("a.btn-primary")) == 1
    assert box.select_one('a[href="mailto:it-help@example.org"]')


@REFUSED
def test_nothing_leads_back_to_the_address_of_a_refused_sign_in(reason: SignInReason) -> None:
    """It holds the answer of the provider, which counts once."""
    found = page(f"sign-in-{reason}")
    back = found.select_one("form[action='/hub/aihub/language'] input[name=next]")
    assert back is not None
    assert back["value"] == "/hub/login"
    assert "/hub/home?a=1" not in str(found)


@REFUSED
def test_only_what_waiting_helps_is_tried_again_by_itself(reason: SignInReason) -> None:
    found = page(f"sign-in-{reason}")
    waits = reason in (SignInReason.PROVIDER_DOWN, SignInReason.STORE_UNAVAILABLE)
    line = found.select_one("#retry[role=timer][data-again][data-seconds='30'][data-text][hidden]")
    assert (line is not None) == waits
    assert bool(found.select("script[src*='retry.js']")) == waits
    assert not found.select("meta[http-equiv]")


def test_a_wrong_address_leads_to_the_right_one_and_another_account_out_first() -> None:
    ways = {
        reason: str(page(f"sign-in-{reason}").select("main a.btn-primary")[0]["href"])
        for reason in (SignInReason.WRONG_ADDRESS, SignInReason.NOT_ALLOWED, SignInReason.CANCELLED)
    }
    assert list(ways.values()) == [
        "https://hub.example.org",
        "/hub/logout?again=1",
        "/hub/login?next=%2Fhub%2Fspawn",
    ]


def test_headers_that_a_proxy_must_send_stand_as_they_are_written() -> None:
    lines = [code.get_text() for code in page("sign-in-wrong-address").select(".ah-panel code")]
    assert lines == ["Host: hub.example.org", "X-Forwarded-Proto: https"]


@pytest.mark.parametrize(
    ("name", "said", "unsaid"),
    [
        ("signed-out", "Servers that run go on", "signed in at"),
        ("signed-out-sso", "You may still be signed in at login.example.org.", "out of login.example.org"),
        ("signed-out-everywhere", "You are signed out of login.example.org too.", "still be signed in"),
    ],
)
def test_signing_out_says_where_one_is_still_signed_in(name: str, said: str, unsaid: str) -> None:
    text = page(name).get_text(" ", strip=True)
    assert said in text
    assert unsaid not in text


def test_admins_read_which_mapper_keycloak_needs() -> None:
    banner = page("home").select_one("[aria-label='Groups are missing']")
    assert banner is not None
    text = banner.get_text(" ", strip=True)
    assert "6 people" in text
    assert "aihub-dedicated" in text
    assert "Token Claim Name: groups · Full group path: On" in text


@pytest.mark.parametrize("name", ["home", "status"])
def test_only_admins_of_a_hub_with_a_provider_find_the_state_of_sign_in(name: str) -> None:
    assert page(name).select_one("nav a[href='/hub/aihub/sign-in']")
    assert not page("spawn").select_one("nav a[href='/hub/aihub/sign-in']")


# --- servers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["home", "progress", "project"])
def test_stop_and_cancel_name_their_server(name: str) -> None:
    forms = page(name).find_all("form", action=re.compile("/(stop|cancel)$"))
    assert forms
    for form in forms:
        assert {each["name"] for each in form.find_all("input")} == {"_xsrf", "user", "server"}


def test_the_menu_of_languages_leads_back_here() -> None:
    form = page("home").find("form", action="/hub/aihub/language")
    assert isinstance(form, Tag)
    assert {each["name"]: each["value"] for each in form.find_all("input")}["next"] == "/hub/home?a=1&b=2"
    assert [each["value"] for each in form.find_all("button")] == ["en", "zh_TW", PSEUDO]


# --- the hub's own pages ---------------------------------------------------------------------------------------------

HUB_TEMPLATES = Path(DATA_FILES_PATH) / "templates"


@pytest.mark.parametrize("name", ["token.html", "admin.html"])
@pytest.mark.parametrize("code", ["en", "zh_TW"])
def test_the_hubs_own_pages_stand_under_our_header(name: str, code: str) -> None:
    folders = [str(TEMPLATES), str(HUB_TEMPLATES)]
    stock = jinja2.PrefixLoader({"templates": jinja2.FileSystemLoader(HUB_TEMPLATES)}, "/")
    loader = jinja2.ChoiceLoader([stock, jinja2.FileSystemLoader(folders)])  # as JupyterHub.init_tornado_settings
    here = Here(CATALOGUES.languages[code], LANGUAGES)
    found = BeautifulSoup(
        jinja2.Environment(loader=loader, autoescape=True)
        .get_template(name)
        .render(
            aihub_here=lambda: here,
            chrome=Chrome(projects=True),
            base_url="/hub/",
            static_url=lambda path, **_more: f"/hub/static/{path}",
            user=SimpleNamespace(name="student", json_escaped_name="student"),
            no_spawner_check=True,
            xsrf="token",
        ),
        "html.parser",
    )
    header = found.select_one("[lang] > header.ah-header")
    assert header is not None
    assert header.parent is not None
    assert header.parent["lang"] == here.language.tag
    assert [link.get("href") for link in header.select("nav a")] == ["/hub/home", "/hub/spawn", "/hub/aihub/projects"]
    assert found.select_one('link[href^="/hub/aihub/static/aihub.css"]')
    assert len(found.select("#dark-theme-toggle")) == 1
    assert not found.select("nav.navbar")
    assert found.select_one("#request-token-form, #react-admin-hook")


# --- raw English -----------------------------------------------------------------------------------------------------

NOT_TRANSLATED = ("AIHub", "English", "繁體中文", "⟦Ṗşéüđö⟧", "nvidia.com/gpu", "GitHub", "Keycloak")
"""Names that are the same in every language."""
READ_ALOUD = ("aria-label", "title", "alt", "placeholder", "data-label", "data-copied")


def outside_marks(text: str) -> str:
    """What of `text` stands outside all marks of the pseudo-language (they nest)."""
    depth, kept = 0, []
    for character in text:
        depth += (character == "⟦") - (character == "⟧")
        if depth == 0 and character != "⟧":
            kept.append(character)
    return "".join(kept)


def data(text: str) -> str:
    """A text of people or machines, marked as no text of ours."""
    return f"⟦{text}⟧"


@EVERY_PAGE
def test_no_raw_english_is_left(name: str) -> None:
    found = page(name, PSEUDO, data)
    for code in found.select("script, code, pre, svg, [lang]:not(html)"):
        code.decompose()
    texts = [str(text) for text in found.find_all(string=True)]
    texts += [str(each[key]) for each in found.find_all(True) for key in READ_ALOUD if each.has_attr(key)]
    for text in texts:
        left = outside_marks(text)
        for known in NOT_TRANSLATED:
            left = left.replace(known, "")
        left = re.sub(r"\d+\.\d+\S*|ml101\S*|student\S*|prof\b|html", "", left)
        assert not re.search(r"[A-Za-z]{2,}", left), text


# --- hostile text ----------------------------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of script": "</script><script>alert(1)</script><!--",
    "image": "<img src=x onerror=alert(1)>",
    "attribute": '" autofocus onfocus=alert(1) x="',
    "single quotes": "' onmouseover=alert(1) x='",
    "svg": "<svg/onload=alert(1)>",
    "template": "{{ 7*7 }}{% raw %}",
    "format": "{name}{0}{__class__}%(x)s%s",
    "address": "javascript:alert(1)",
    "entity": "&lt;b&gt;",
    "marks": "\u202eabc\u2066\x00",
    "comment": "--><b>",
}


def shape(found: BeautifulSoup) -> list[tuple[str, tuple[str, ...]]]:
    """Elements with their attributes, texts left out."""
    return [(each.name, tuple(sorted(each.attrs))) for each in found.find_all(True)]


@EVERY_PAGE
@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_inert(name: str, attack: str) -> None:
    tame = page(name, mark=lambda _text: "harmless")
    hostile = page(name, mark=lambda _text: attack)
    assert shape(hostile) == shape(tame)
    for each in hostile.select("[href], [src], [action]"):
        address = str(each.get("href") or each.get("src") or each.get("action"))
        assert not address.lower().startswith("javascript:")


def test_the_data_of_the_script_cannot_end_it() -> None:
    text = html("spawn", mark=lambda _text: HOSTILE["end of script"])
    block = text.partition('id="choices">')[2].partition("</script>")[0]
    assert block.rstrip().endswith("}")
    assert "<" not in block


def sources() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted(TEMPLATES.rglob("*.html"))]


@pytest.mark.parametrize("path", sources())
def test_a_template_never_switches_escaping_off(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe|autoescape|Markup|<style|style=|\bon[a-z]+=", text)


def test_the_style_sheet_stays_small() -> None:
    assert len((STATIC / "aihub.css").read_text().splitlines()) <= 300


def test_the_modules_stay_small() -> None:
    assert sum(len(path.read_text().splitlines()) for path in STATIC.glob("*.js")) <= 400
