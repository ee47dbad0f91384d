"""What only a real hub shows of crossing starts, stops and changes of the policy: nothing runs on, nothing breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import httpx
import psutil
import pytest

from tests.local.people import Someone, until
from tests.local.rig import Rig

TINY = Path(__file__).parent / "policies" / "tiny.yaml"
COURSE = {"project": "course"}
PAGES = ("home", "spawn", "aihub/projects", "spawn-pending/student", "api/aihub/choices", "api/aihub/usage")

LEFT = "import subprocess; print(subprocess.getoutput('setsid sleep 600 >/dev/null 2>&1 & echo $!'))"
DEAF = LEFT.replace("sleep 600", "sh -c \\'trap : TERM HUP INT; sleep 600; sleep 600\\'")
"""Cells that leave a process behind in a session of its own; one ends when asked to, one does not."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(TINY.read_text())
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("review"), (policy,))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def student(rig: Rig) -> Iterator[Someone]:
    someone = Someone.of(rig, "student")
    yield someone
    for server in someone.servers():
        someone.stop(server)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("cell", [LEFT, DEAF], ids=["left", "deaf"])
def test_a_stop_ends_what_a_cell_left_running(student: Someone, cell: str) -> None:
    student.start(COURSE)
    pid = int(student.run(cell))
    assert not gone(pid)
    student.stop()
    assert gone(pid)


def test_a_server_that_dies_takes_its_kernels_and_what_they_started_along(rig: Rig, student: Someone) -> None:
    student.start(COURSE)
    kernel = student.kernel()
    pids = [int(student.run("import os; print(os.getpid())", kernel)), int(student.run(LEFT, kernel))]
    assert not any(map(gone, pids))
    rig.user_servers()[0].kill()
    until(lambda: not student.running(), "the hub notices")
    assert all(map(gone, pids))


def test_a_refusal_over_rest_speaks_the_reader_s_language(student: Someone) -> None:
    headers = {"Accept-Language": "zh-TW"}
    answer = student.api.post("/hub/api/users/student/server", json={**COURSE, "image": "six:1.16"}, headers=headers)
    assert answer.headers["AIHub-Reason"] == "image-retired"
    message = answer.json()["message"]
    assert "Six 1.16" in message, message
    assert "retired" not in message, message
    english = student.ask({**COURSE, "image": "six:1.16"}).json()["message"]
    assert "retired" in english, english
    # A project that is not theirs has no name for them.
    foreign = student.ask({"project": "other"}).json()["message"]
    assert "Other" not in foreign, foreign


def test_pages_outlive_the_project_the_image_and_the_profile_of_a_running_server(
    rig: Rig, policy: Path, student: Someone
) -> None:
    instructor, admin = Someone.of(rig, "instructor"), Someone.of(rig, "admin")
    student.start(COURSE)
    student.start(COURSE, "second")
    whole = policy.read_text()
    head, _, rest = whole.partition("  course:\n")
    _, _, other = rest.partition("  other:\n")
    try:
        policy.write_text(f"{head}  other:\n{other}".replace("small", "tiny").replace("small:", "tiny:"))
        until(lambda: "Course" not in student.pages.get("/hub/spawn").text, "the project is gone", 10)
        for someone in (student, instructor, admin):
            for page in (
                "home",
                "spawn",
                "aihub/projects",
                "spawn-pending/student",
                "api/aihub/choices",
                "api/aihub/usage",
            ):
                assert someone.pages.get(f"/hub/{page}").status_code < 500, (someone.name, page)
        assert "course" in student.pages.get("/hub/home").text
        assert instructor.pages.get("/hub/aihub/projects/course").status_code == 404
        assert student.ask(COURSE, "third").headers["AIHub-Reason"] == "unknown-project"
        assert student.pages.post("/hub/aihub/stop", data={"user": "student", "server": "second"}).status_code == 200
        until(lambda: not student.running("second"), "it stops")
    finally:
        policy.write_text(whole)
    until(lambda: "Course" in student.pages.get("/hub/spawn").text, "the project is back", 10)
    student.start(COURSE, "second")


def test_who_is_no_persona_any_more_starts_nothing_by_an_old_token(rig: Rig, policy: Path) -> None:
    leaver = Someone.of(rig, "student2")
    whole = policy.read_text()
    try:
        policy.write_text(whole.replace("    student2: {groups: [/course/students]}\n", ""))
        until(lambda: "student2" not in httpx.get(f"{rig.url}/hub/login").text, "the persona is gone", 10)
        answer = leaver.ask(COURSE)
        assert answer.status_code == 403, (answer.status_code, answer.text)
    finally:
        policy.write_text(whole)
    until(lambda: "student2" in httpx.get(f"{rig.url}/hub/login").text, "the persona is back", 10)
    assert not leaver.running()


def test_ctrl_c_ends_a_start_that_overtakes_a_slow_stop(make_hub: Callable[..., Rig]) -> None:
    rig = make_hub(policy=(TINY,))
    rig.start()
    slow, fast = Someone.of(rig, "student"), Someone.of(rig, "student2")
    slow.start(COURSE)
    rig.user_servers()[0].suspend()
    with ThreadPoolExecutor(1) as pool:
        # An image that is built first: until then the hub finds nothing to stop.
        asked = pool.submit(fast.ask, {**COURSE, "image": "attrs:25"})
        until(lambda: fast.model().get("pending") == "spawn", "the start is on its way", every=0.01)
        rig.stop()
        asked.exception()
    rig.assert_nothing_runs()


@pytest.mark.parametrize(
    "address", ["/hub/home%0d%0aX-Mine: 1", "//elsewhere.example", "https://elsewhere.example/", "/%5celsewhere"]
)
@pytest.mark.parametrize("form", ["aihub/language", "aihub/stop"])
def test_a_form_leads_nowhere_but_to_a_page_of_the_hub(rig: Rig, student: Someone, form: str, address: str) -> None:
    fields = {"lang": "en", "server": "", "next": unquote(address)}
    answer = student.pages.post(f"/hub/{form}", data=fields, follow_redirects=False)
    assert answer.status_code in {302, 303}, answer.text
    assert answer.headers["Location"].split("?")[0] in {"/hub/", "/hub/home", "/%5Celsewhere"}
    assert "X-Mine" not in answer.headers
