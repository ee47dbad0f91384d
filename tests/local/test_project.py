"""The project page on a real hub: instructors decide, students see it at once, and nobody else may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from bs4 import BeautifulSoup, Tag

from tests.local.people import Meet, Someone, meeting, until
from tests.local.rig import Rig

TEACHING = Path(__file__).parent / "policies" / "teaching.yaml"
PAGE = "/hub/aihub/projects/course"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A hub with two courses. Its policy file may be changed, and is put back."""
    folder = tmp_path_factory.mktemp("teaching")
    policy = folder / "policy.yaml"
    policy.write_text(TEACHING.read_text())
    rig = Rig(folder, (policy,))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def meet(school: Rig) -> Meet:
    return meeting(school)


@pytest.fixture
def course(meet: Meet) -> Iterator[Course]:
    """The course, with everything that a test decides undone after it."""
    page = Course(meet("instructor").pages)
    yield page
    for tag in ("six:1.17", "six:1.16", "attrs:25"):
        if "Hidden" in page.row(tag) or "Retired" in page.row(tag):
            page.do(f"offer {tag}")
    if "Default" not in page.row("six:1.17"):
        page.do("default six:1.17", confirmed="yes")


class Course:
    """The page of the course, as one person has it open: `version` is that of the page they loaded last."""

    def __init__(self, pages: httpx.Client) -> None:
        self.pages = pages
        self.answer = pages.get(PAGE)
        self.open()

    def open(self) -> Course:
        self.answer = self.pages.get(PAGE)
        assert self.answer.status_code == 200, self.answer.text
        self.version = str(self.soup.find("input", {"name": "version"})["value"])  # type: ignore[index]
        return self

    @property
    def soup(self) -> BeautifulSoup:
        return BeautifulSoup(self.answer.text, "html.parser")

    def do(self, do: str, *, status: int = 200, **fields: str) -> Course:
        """Press a button of the images on the page as it was loaded."""
        return self._post("images", {"do": do, **fields}, status)

    def undo(self, change: str, *, status: int = 200) -> Course:
        return self._post("undo", {"change": change}, status)

    def _post(self, where: str, fields: dict[str, str], status: int) -> Course:
        self.answer = self.pages.post(f"{PAGE}/{where}", data={"version": self.version, **fields})
        assert self.answer.status_code == status, self.answer.text
        found = self.soup.find("input", {"name": "version"})
        if isinstance(found, Tag):
            self.version = str(found["value"])
        return self

    def row(self, image: str) -> str:
        """The text of an image's row; empty where there is none."""
        tag = image.partition(":")[2]
        rows = [row for row in self.soup.select("#images table tbody tr") if row.select_one(".ah-rowname")]
        found = [row for row in rows if row.select_one(".ah-rowname").get_text(strip=True) == tag]  # type: ignore[union-attr]
        return found[0].get_text(" ", strip=True) if found else ""

    def part(self, selector: str) -> str:
        found = self.soup.select_one(selector)
        return found.get_text(" ", strip=True) if found else ""

    def history(self) -> list[tuple[str, str]]:
        """Each change: its text, and the id under its Undo button, empty without one."""
        return [
            (line.get_text(" ", strip=True), str(button["value"]) if (button := line.find("button")) else "")
            for line in self.soup.select("#history li")
        ]


def offered(someone: Someone) -> dict[str, tuple[str, str | None, bool]]:
    """The images as the API shows them to somebody now: state, reason, and which is the default."""
    answer = someone.api.get("/hub/api/aihub/choices").raise_for_status().json()
    course = next(each for each in answer["projects"] if each["project"] == "course")
    return {each["image"]: (each["state"], each["reason"], each["default"]) for each in course["images"]}


def start_page(someone: Someone) -> str:
    answer = someone.pages.get("/hub/aihub/launch/course")
    assert answer.status_code == 200
    return answer.text


# --- deciding --------------------------------------------------------------------------------------------------------


def test_what_an_instructor_hides_and_sets_is_live_for_students(course: Course, meet: Meet) -> None:
    student = meet("student")
    assert 'value="attrs"' in start_page(student)
    course.do("hide attrs:25")
    assert "Hidden" in course.row("attrs:25")
    assert "Done" in course.part("[role=status]")
    asked = course.do("default six:1.16")
    assert "Make" in asked.part("#confirm")
    assert offered(student)["six:1.16"] == ("ok", None, False), "asking changes nothing"
    course.do("default six:1.16", confirmed="yes")
    assert "Default" in course.row("six:1.16")
    assert "Offered" in course.row("six:1.17")
    assert offered(student) == {"six:1.17": ("ok", None, False), "six:1.16": ("ok", None, True)}
    page = BeautifulSoup(start_page(student), "html.parser")
    assert not page.select('[value="attrs"]')
    selected = page.select_one('select[name="tag-six"] option[selected]')
    assert selected is not None
    assert selected["value"] == "1.16"
    refused = student.ask({"project": "course", "image": "attrs:25"})
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "image-not-offered")
    assert not student.running()


def test_a_start_without_an_image_follows_the_new_default_and_what_runs_stays(course: Course, meet: Meet) -> None:
    student = meet("student")
    student.start({"project": "course"})
    try:
        course.do("default six:1.16", confirmed="yes")
        course.do("retire six:1.17", confirmed="yes", successor="six:1.16")
        assert student.running()
        assert student.run("import six; print(six.__version__)") == "1.17.0\n"
        assert "Six 1.17" in course.open().part("#running")
        counts = [cell.get_text(strip=True) for cell in course.soup.select("#images td.ah-num")]
        assert sorted(counts) == ["0", "0", "1"], "running servers are counted in the row"
    finally:
        student.stop()
    student.start({"project": "course"})
    try:
        assert student.run("import six; print(six.__version__)") == "1.16.0\n"
    finally:
        student.stop()


def test_a_retired_image_names_its_successor_and_the_instructors_message(course: Course, meet: Meet) -> None:
    student = meet("student")
    box = course.do("retire attrs:25").part("#confirm")
    assert "Retire" in box
    assert "Six 1.16" in box
    course.do("retire attrs:25", confirmed="yes", successor="six:1.16", message=f"Moved \u202eon {SCRIPT}")
    assert "Retired" in course.row("attrs:25")
    assert "Six 1.16" in course.row("attrs:25")
    page = student.pages.get("/hub/aihub/launch/course", params={"image": "attrs:25"}).text
    assert "Moved on" in page
    assert SCRIPT not in page
    assert SCRIPT not in course.open().answer.text
    text = BeautifulSoup(page, "html.parser").get_text(" ", strip=True)
    assert "Six 1.16 is chosen instead" in text
    refused = student.ask({"project": "course", "image": "attrs:25"})
    assert (refused.status_code, refused.headers["AIHub-Reason"]) == (403, "image-retired")


@pytest.mark.parametrize(
    ("do", "fields", "status", "words"),
    [
        ("hide six:1.17", {}, 409, "The default cannot be hidden"),
        ("retire six:1.17", {"confirmed": "yes"}, 409, "The default cannot be hidden"),
        ("retire attrs:25", {"confirmed": "yes", "successor": "attrs:25"}, 400, "successor"),
        ("retire attrs:25", {"confirmed": "yes", "successor": "nothing:1"}, 400, "successor"),
        ("hide nothing:1", {}, 403, "admins do not let"),
        ("default six:9", {"confirmed": "yes"}, 403, "admins do not let"),
        ("hide six", {}, 403, "admins do not let"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    course: Course, do: str, fields: dict[str, str], status: int, words: str
) -> None:
    before = course.version
    course.do(do, status=status, **fields)
    assert words in course.part("#errors")
    assert course.open().version == before


@pytest.mark.parametrize("do", ["", "hide", "delete six:1.16", "hide  ", "\x00"])
def test_a_form_that_means_nothing_is_no_change(course: Course, do: str) -> None:
    before = course.version
    answer = course.pages.post(f"{PAGE}/images", data={"version": before, "do": do})
    assert answer.status_code in (400, 403)
    assert course.open().version == before


def test_two_instructors_at_once(course: Course, meet: Meet) -> None:
    other = Course(meet("instructor2").pages)
    course.do("hide attrs:25")
    other.do("retire six:1.16", confirmed="yes", successor="attrs:25", status=409)
    assert "instructor changed the images" in other.part("#errors")
    assert "Hidden" in other.row("attrs:25")
    assert "Offered" in other.row("six:1.16")
    # The page now shows how it is; from there it works.
    other.do("hide six:1.16")
    assert "Hidden" in other.row("six:1.16")
    course.undo(course.history()[0][1], status=409)
    assert "instructor2 changed the images" in course.part("#errors")


@pytest.mark.parametrize("version", ["", "x", "-1", "999999999999", "１"])
def test_a_version_that_never_was_is_a_page_that_is_too_old(course: Course, version: str) -> None:
    answer = course.pages.post(f"{PAGE}/images", data={"version": version, "do": "hide attrs:25"})
    assert answer.status_code == 409
    assert "Offered" in course.open().row("attrs:25")


def test_undo_brings_back_what_was_and_can_be_undone(course: Course) -> None:
    course.do("retire attrs:25", confirmed="yes", successor="six:1.16", message="Gone")
    text, change = course.history()[0]
    assert "Attrs 25 retired, next is Six 1.16" in text
    assert "by you" in text
    course.undo(change)
    assert "Offered" in course.row("attrs:25")
    text, again = course.history()[0]
    assert "Undone: Attrs 25 retired" in text
    assert course.history()[1][1] == "", "what was changed since has no Undo"
    course.undo(again)
    assert "Retired" in course.row("attrs:25")
    assert "Six 1.16" in course.row("attrs:25")


def test_undo_does_not_hide_what_has_become_the_default(course: Course) -> None:
    course.do("hide six:1.16")
    course.do("offer six:1.16")
    offer = course.history()[0][1]
    course.do("default six:1.16", confirmed="yes")
    course.undo(offer, status=409)
    assert "The default cannot be hidden" in course.part("#errors")
    assert "Default" in course.row("six:1.16")


@pytest.mark.parametrize("change", ["", "0", "999999", "x", "-1"])
def test_undo_of_what_never_was(course: Course, change: str) -> None:
    answer = course.pages.post(f"{PAGE}/undo", data={"version": course.version, "change": change})
    assert answer.status_code == 404


def test_a_done_that_was_not_the_reader_s_says_nothing(course: Course, meet: Meet) -> None:
    course.do("hide attrs:25")
    shown = meet("instructor2").pages.get(PAGE, params={"done": course.version}).text
    assert not BeautifulSoup(shown, "html.parser").select("main [role=status]")


# --- what lasts ------------------------------------------------------------------------------------------------------


def test_decisions_outlive_a_restart_and_an_edit_of_the_policy_file(course: Course, meet: Meet, school: Rig) -> None:
    course.do("hide attrs:25")
    course.do("default six:1.16", confirmed="yes")
    length = len(course.history())
    school.restart()
    assert "Hidden" in course.open().row("attrs:25")
    assert "Default" in course.row("six:1.16")
    assert len(course.history()) == length
    student = meet("student")
    assert offered(student)["six:1.16"][2]
    (policy,) = school.policy
    whole = policy.read_text()
    try:
        policy.write_text(whole.replace("offer: [six, attrs], default:", 'offer: ["six:1.17"], default:'))
        until(lambda: "Withdrawn by the admins" in course.open().answer.text, "the policy is read again", 10)
        assert course.row("attrs:25") == ""
        assert course.row("six:1.16") == ""
        warning = course.part("#images .ah-tone-wait")
        assert "Attrs 25" in warning
        assert "Six 1.16" in warning
        assert offered(student) == {"six:1.17": ("ok", None, True)}
        refused = student.ask({"project": "course", "image": "six:1.16"})
        assert refused.headers["AIHub-Reason"] == "image-not-offered"
        course.do("offer attrs:25", status=403)
    finally:
        policy.write_text(whole)
    until(lambda: "Hidden" in course.open().row("attrs:25"), "the old policy is read again", 10)
    assert "Default" in course.row("six:1.16"), "decisions on what came back count again"


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [("student", 403), ("outsider", 404), ("elsewhere", 404), ("instructor2", 200), ("admin", 200)],
)
def test_the_page_is_for_those_who_teach_or_administer(meet: Meet, name: str, status: int) -> None:
    assert meet(name).pages.get(PAGE).status_code == status


@pytest.mark.parametrize(("name", "status"), [("student", 403), ("outsider", 404), ("elsewhere", 404)])
@pytest.mark.parametrize("where", ["images", "undo", "stop"])
def test_so_are_its_buttons(course: Course, meet: Meet, name: str, status: int, where: str) -> None:
    fields = {"version": course.version, "do": "hide attrs:25", "change": "1", "user": name, "server": ""}
    assert meet(name).pages.post(f"{PAGE}/{where}", data=fields).status_code == status
    assert course.open().version == fields["version"]


def test_an_admin_decides_too_and_is_named(course: Course, meet: Meet) -> None:
    admin = Course(meet("admin").pages)
    assert "You see it as an admin." in admin.answer.text
    admin.do("hide attrs:25")
    assert "Hidden" in course.open().row("attrs:25")
    assert "by admin" in course.history()[0][0]


def test_the_list_holds_what_one_teaches(meet: Meet) -> None:
    seen = {
        name: [
            str(link["href"])
            for link in BeautifulSoup(meet(name).pages.get("/hub/aihub/projects").text, "html.parser").select(
                "main h2 a"
            )
        ]
        for name in ("instructor", "elsewhere", "admin", "student")
    }
    assert seen == {
        "instructor": [PAGE],
        "elsewhere": ["/hub/aihub/projects/other"],
        "admin": [PAGE, "/hub/aihub/projects/other"],
        "student": [],
    }


def test_nothing_happens_by_a_get_or_without_the_token_of_the_page(course: Course, school: Rig) -> None:
    for where in ("images", "undo", "stop"):
        assert course.pages.get(f"{PAGE}/{where}?do=hide+attrs:25").status_code == 405
        forged = course.pages.post(
            f"{PAGE}/{where}",
            data={"version": course.version, "do": "hide attrs:25"},
            headers={"X-XSRFToken": "", "Origin": "https://example.org"},
        )
        assert forged.status_code == 403
    assert httpx.get(school.url + PAGE, follow_redirects=False).status_code == 302
    assert course.open().row("attrs:25")
    assert "Offered" in course.row("attrs:25")


# --- running servers, link, quota ------------------------------------------------------------------------------------


def test_stop_stops_that_server_and_no_other(course: Course, meet: Meet) -> None:
    both = meet("both")
    both.start({"project": "other"})
    both.start({"project": "course"}, "second")
    try:
        rows = [row.get_text(" ", strip=True) for row in course.open().soup.select("#running tbody tr")]
        assert len(rows) == 1, rows
        assert rows[0].startswith("both second Six 1.17 Small")
        assert "stops at" in rows[0]
        assert "1 of 6" in course.part("#quota")
        foreign = course.pages.post(f"{PAGE}/stop", data={"user": "both", "server": ""})
        assert foreign.status_code == 403
        assert "does not belong" in foreign.text
        assert both.running("")
        stopped = course.pages.post(f"{PAGE}/stop", data={"user": "both", "server": "second"})
        assert stopped.status_code == 200
        until(lambda: not both.running("second"), "the server stops")
        assert both.running("")
        assert "Nobody runs a server" in course.open().part("#running")
        # Again, and of somebody who does not exist: nothing to do.
        for user in ("both", "nobody"):
            assert course.pages.post(f"{PAGE}/stop", data={"user": user, "server": "second"}).status_code == 200
    finally:
        for server in both.servers():
            both.stop(server)


def test_the_launch_link_is_whole_and_leads_to_the_start_page(course: Course, meet: Meet, school: Rig) -> None:
    link = course.soup.select_one("#launch-url")
    badge = course.soup.select_one("#launch-badge")
    assert link is not None
    assert badge is not None
    assert link["value"] == f"{school.url}/hub/aihub/launch/course"
    assert meet("student").pages.get(str(link["value"])).status_code == 200
    markdown = str(badge["value"])
    assert markdown.startswith("[![")
    assert markdown.endswith(f"]({link['value']})")
    picture = httpx.get(markdown.partition("](")[2].partition(")]")[0])
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/svg+xml")
