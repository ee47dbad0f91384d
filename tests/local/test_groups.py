"""Groups of a provider on a real hub: they make projects, count at every start, and are seen in the metrics."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator

import httpx
import pytest
from bs4 import BeautifulSoup

from tests.local.people import Someone, until
from tests.local.rig import Rig, free_port
from tests.provider_rig import DROP, HostileProvider

POLICY = """
imageStreams:
  plain: {{tags: {{"1": {{requirements: []}}}}}}
profiles:
  small: {{cpu: 100m, memory: 256Mi}}
projects:
  club:
    displayName: The club
    members: {{groups: [/club]}}
    images: {{offer: [plain], default: "plain:1"}}
    profiles: {{offer: [small], default: small}}
projectTemplates:
  course:
    images: {{offer: [plain], default: "plain:1"}}
    profiles: {{offer: [small], default: small}}
    storage: {{shared: {{size: 1Gi, membersWrite: false}}}}
groupProjects:
  courses:
    members: /courses/<project>/students
    instructors: /courses/<project>/staff
    displayName: Course <project>
    template: course
signIn:
  method: oidc
  oidc: {{issuer: "{issuer}", clientId: aihub}}
  allowed: {{groups: [/courses/**, /club]}}
  admins: {{groups: [/staff/hub-admins]}}
  afterLeaving: {{stopServersAfter: 5s}}
"""


class School:
    """A hub and its provider, as a place that people reach."""

    def __init__(self, rig: Rig, provider: HostileProvider) -> None:
        self.rig, self.provider = rig, provider
        self.with_token = rig.with_token
        self.said = rig.said

    @property
    def url(self) -> str:
        return self.rig.url

    def sign_in(self, name: str) -> httpx.Client:
        """A browser of somebody who signed in at the provider."""
        browser = httpx.Client(base_url=self.url, timeout=60)
        self.rig.clients.append(browser)
        answer = self.provider.sign_in(browser, f"{self.url}/hub/oauth_login", name)
        assert answer.status_code == 200, answer.text
        browser.follow_redirects = True
        browser.get("/hub/home")
        xsrf = {c.path: c.value or "" for c in browser.cookies.jar if c.name == "_xsrf"}
        browser.headers["X-XSRFToken"] = xsrf.get("/hub/", "")
        assert browser.get("/hub/api/user").json()["name"] == name
        return browser

    def metrics(self, by: httpx.Client | None = None) -> dict[str, float]:
        """What the hub tells Prometheus of sign-in; only admins and monitoring may read it."""
        client = by or self.with_token(self.sign_in("root"), "root")
        lines = client.get("/hub/metrics").raise_for_status().text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("aihub_"))
        return {name: float(value) for name, value in pairs}


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    folder = tmp_path_factory.mktemp("school")
    with HostileProvider() as provider:
        for name in ("bob", "cyd", "dan", "eve"):
            provider.add_person(name, groups=["/courses/ml101/students", "/club"])
        port = free_port()
        provider.add_client("aihub", "s3cret", [f"http://127.0.0.1:{port}/hub/oauth_callback"])
        policy = folder / "policy.yaml"
        policy.write_text(POLICY.format(issuer=provider.issuer))
        rig = Rig(folder, (policy,), port=port, environ={"AIHUB_CLIENT_SECRET": "s3cret"})
        rig.start()
        yield School(rig, provider)
        rig.close()


def projects(browser: httpx.Client) -> set[str]:
    """What the start page offers."""
    choices = browser.get("/hub/api/aihub/choices").raise_for_status().json()
    return {project["project"] for project in choices["projects"]}


def fields(browser: httpx.Client) -> dict[str, str]:
    """The start form as it stands."""
    soup = BeautifulSoup(browser.get("/hub/spawn").text, "html.parser")
    token = soup.find("input", {"name": "_xsrf"})
    assert token is not None
    return {"_xsrf": str(token["value"]), "image": "plain:1", "profile": "small"}


def submit(browser: httpx.Client, form: dict[str, str], project: str) -> httpx.Response:
    return browser.post("/hub/spawn", data={**form, "project": project}, follow_redirects=False)


def test_a_group_makes_a_project_as_soon_as_somebody_of_it_signs_in(school: School) -> None:
    ada = Someone.of(school, "ada")
    assert projects(ada.pages) == {"ml101"}
    assert "Course ml101" in html.unescape(ada.pages.get("/hub/spawn").text)
    assert ada.pages.get("/hub/aihub/projects/bio").status_code == 404

    school.provider.add_person("zoe", groups=["/courses/bio/staff"])
    zoe = school.sign_in("zoe")
    assert projects(zoe) == {"bio"}
    assert "Course bio" in html.unescape(zoe.get("/hub/aihub/projects/bio").text)
    assert ada.pages.get("/hub/aihub/projects/bio").status_code == 404, "who is not in its groups does not know it"

    ada.start({"project": "ml101"})
    assert ada.run("import os; print(os.path.isdir('project'))") == "True\n", "the template's storage"
    school.rig.kill()
    school.rig.start()
    assert ada.running(), "the project is there again before anybody signs in"
    assert projects(school.sign_in("zoe")) == {"bio"}
    ada.stop()


def test_admins_read_how_sign_in_does_and_which_groups_made_a_project(school: School) -> None:
    bob, root = school.sign_in("bob"), school.sign_in("root")
    page = BeautifulSoup(root.get("/hub/aihub/sign-in").raise_for_status().text, "html.parser")
    state = " ".join(page.select_one("main").get_text(" ", strip=True).split())  # type: ignore[union-attr]
    assert "State Answers Last answer" in state
    assert f"Discovery Passed {school.provider.issuer}" in state
    assert "Course ml101 /courses/ml101/students /courses/ml101/staff" in state
    assert "bob Confirmed" in state
    assert page.select_one("nav a[href='/hub/aihub/sign-in'][aria-current=page]")
    assert not page.select("aside.ah-banner")
    made = root.get("/hub/aihub/projects/ml101").raise_for_status().text
    assert "Who is in /courses/ml101/staff is an instructor." in made
    assert bob.get("/hub/aihub/sign-in").status_code == 403
    assert "/hub/aihub/sign-in" not in bob.get("/hub/home").text


def test_a_group_that_was_lost_counts_at_the_next_start_not_minutes_later(school: School) -> None:
    bob, cyd = school.sign_in("bob"), Someone.of(school, "cyd")
    form = fields(bob)
    assert projects(bob) == projects(cyd.pages) == {"club", "ml101"}

    for name in ("bob", "cyd"):
        school.provider.people[name].groups = ["/club"]
    assert projects(bob) == {"club", "ml101"}, "pages ask every five minutes"
    answer = submit(bob, form, "ml101")
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "unknown-project")
    assert projects(bob) == {"club"}
    refused = cyd.ask({"project": "ml101"})
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "unknown-project")


def test_an_admin_starts_by_the_rights_that_the_other_has_now(school: School) -> None:
    eve = school.sign_in("eve")
    root = Someone.of(school, "root")
    assert projects(eve) == {"club", "ml101"}
    school.provider.people["eve"].groups = ["/club"]
    answer = root.api.post("/hub/api/users/eve/server", json={"project": "ml101"})
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "unknown-project")
    school.provider.people["eve"].groups = ["/others"]
    for client in (root.api, root.pages):
        answer = client.post("/hub/api/users/eve/server", json={"project": "club"})
        assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "not-allowed")
    form = {**fields(root.pages), "project": "club"}
    assert root.pages.post("/hub/spawn/eve", data=form).status_code == 403
    assert not school.rig.user_servers()


def test_whose_sign_in_ended_is_led_to_sign_in_and_a_token_reads_why_it_is_worth_nothing(school: School) -> None:
    dan = Someone.of(school, "dan")
    form = fields(dan.pages)
    school.provider.end_sessions("dan")
    answer = submit(dan.pages, form, "club")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/hub/login?next=%2Fhub%2Fspawn"
    # The page that it leads to is the one to sign in, not the form again.
    assert "oauth_login" in dan.pages.get(answer.headers["Location"]).text
    again = submit(dan.pages, form, "club")
    assert (again.status_code, again.headers["Location"]) == (302, "/hub/login?next=%2Fhub%2Fspawn")
    refused = dan.ask({"project": "club"})
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "sign-in-again")
    assert not school.rig.user_servers()


def test_while_the_provider_is_silent_the_last_good_groups_count(school: School) -> None:
    school.provider.people["cyd"].groups = ["/club", "/courses/ml101/students"]
    cyd = Someone.of(school, "cyd")
    school.sign_in("bob")
    monitor = school.with_token(school.sign_in("root"), "root")
    before = school.metrics(monitor)
    assert not {"cyd", "root"} & set(str(before).split('"'))
    assert before["aihub_provider_up"] == 1
    assert before["aihub_provider_last_answer_timestamp_seconds"] > time.time() - 60
    assert before['aihub_sign_ins_total{outcome="ok"}'] >= 6
    assert before['aihub_identities{state="kept"}'] == 0
    school.provider.stop()
    try:
        cyd.start({"project": "ml101"})
        for_bob = monitor.post("/hub/api/users/bob/server", json={"project": "club"})
        assert for_bob.status_code in {201, 202}, "as it does when an admin starts a server for somebody"
        time.sleep(12)
        assert cyd.running(), "what is not known is no loss"
        now = school.metrics(monitor)
        assert now["aihub_provider_up"] == 0
        assert now['aihub_identities{state="kept"}'] >= 1
        assert now["aihub_identity_age_seconds"] >= 12
    finally:
        school.provider.start()
    cyd.stop()
    assert monitor.delete("/hub/api/users/bob/server").status_code in {202, 204}
    until(lambda: not school.rig.user_servers(), "both stop")


def test_a_server_in_a_lost_project_stops_and_a_missing_claim_stops_none(school: School) -> None:
    school.provider.people["cyd"].groups = ["/club", "/courses/ml101/students"]
    cyd = Someone.of(school, "cyd")
    cyd.start({"project": "ml101"})
    missing = school.metrics()["aihub_groups_claim_missing_total"]
    school.provider.id_claims = school.provider.userinfo_claims = {"groups": DROP}
    try:
        assert cyd.ask({"project": "club"}, "two").headers["AIHub-Reason"] == "not-allowed"
        time.sleep(15)
        assert school.rig.user_servers(), "that there are no groups at all is no loss of one"
    finally:
        school.provider.id_claims = school.provider.userinfo_claims = {}
    assert school.metrics()["aihub_groups_claim_missing_total"] > missing
    cyd = Someone.of(school, "cyd")
    school.provider.people["cyd"].groups = ["/club"]
    assert cyd.ask({"project": "ml101"}, "two").headers["AIHub-Reason"] == "unknown-project"
    until(lambda: not cyd.running(), "the server stops", within=40)
