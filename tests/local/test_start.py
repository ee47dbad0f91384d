"""Starts on a real hub: a kernel that executes, what it sees, how it ends, and what a hub finds again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.local.people import Someone, until
from tests.local.rig import Rig

TINY = Path(__file__).parent / "policies" / "tiny.yaml"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A hub on the tiny policy, shared by this module; tests stop what they start."""
    rig = Rig(tmp_path_factory.mktemp("tiny"), (TINY,))
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def student(tiny: Rig) -> Iterator[Someone]:
    someone = Someone.of(tiny, "student")
    yield someone
    for server in someone.servers():
        someone.stop(server)


def test_a_cell_runs_in_the_tag_s_environment_and_no_other(student: Someone) -> None:
    student.start({"project": "course", "image": "six:1.17"})
    printed = student.run(
        "import sys, six, os, subprocess\n"
        "print(six.__version__, sys.prefix != sys.base_prefix)\n"
        "print(os.environ['COURSE'], repr(os.environ['CUDA_VISIBLE_DEVICES']))\n"
        "print(subprocess.run(['pip', '--version'], capture_output=True, text=True).stdout.split()[3] in "
        "[p for p in [sys.prefix] if True] or sys.prefix in "
        "subprocess.run(['pip', '--version'], capture_output=True, text=True).stdout)\n"
        "import attr"
    )
    assert printed.splitlines()[:3] == ["1.17.0 True", "tiny ''", "True"]
    assert "ModuleNotFoundError" in printed


def test_no_variable_of_the_hub_reaches_a_kernel(student: Someone) -> None:
    student.start({"project": "course"})
    printed = student.run(
        "import os; print(sorted(n for n in os.environ if n.startswith(('PYTHONPATH', 'LD_', 'CONFIGPROXY'))))"
    )
    assert printed in {"[]\n", "['LD_LIBRARY_PATH', 'PYTHONPATH']\n"}
    assert (
        student.run("import os; print(os.environ.get('LD_LIBRARY_PATH', '') + os.environ.get('PYTHONPATH', ''))")
        == "\n"
    )


def test_two_members_share_the_project_folder_and_nothing_else(tiny: Rig, student: Someone) -> None:
    other = Someone.of(tiny, "student2")
    student.start({"project": "course"})
    other.start({"project": "course"})
    try:
        student.run("open('project/found.txt', 'w').write('42'); open('mine.txt', 'w').write('x')")
        assert (
            other.run("import os; print(open('project/found.txt').read(), os.path.exists('mine.txt'))") == "42 False\n"
        )
    finally:
        other.stop()


def test_files_are_there_again_after_a_stop(student: Someone) -> None:
    student.start({"project": "course"})
    student.run("open('thesis.txt', 'w').write('chapter 1')")
    student.stop()
    student.start({"project": "course", "image": "attrs:25"})
    assert student.run("import attr; print(open('thesis.txt').read(), attr.__version__)") == "chapter 1 25.3.0\n"


def test_a_stopped_named_server_can_be_removed_by_its_person_and_its_files_stay(tiny: Rig, student: Someone) -> None:
    def remove(server: str, **headers: str) -> int:
        return student.pages.post("/hub/aihub/forget", data={"server": server}, headers=headers).status_code

    student.start({"project": "course"}, "lab")
    student.run("open('kept.txt', 'w').write('kept')", server="lab")
    assert remove("lab") == 200
    assert student.running("lab")
    student.stop("lab")
    tiny.restart()  # a hub that was started again knows of a stopped server only from its database
    assert 'action="/hub/aihub/forget"' in student.pages.get("/hub/home").text
    assert remove("lab", **{"X-XSRFToken": ""}) == 403
    assert "lab" in student.stopped()
    assert remove("lab") == 200
    assert "lab" not in student.stopped()
    assert 'action="/hub/aihub/forget"' not in student.pages.get("/hub/home").text
    student.start({"project": "course"}, "lab")
    assert student.run("print(open('kept.txt').read())", server="lab") == "kept\n"
    student.stop("lab")
    assert remove("lab") == 200


def test_a_name_with_an_at_sign_has_a_home_of_its_own(tiny: Rig) -> None:
    ada = Someone.of(tiny, "ada@example.org")
    ada.start({"project": "course"})
    assert "ada" in ada.run("import os; print(os.path.basename(os.getcwd()))")
    ada.stop()


def test_accelerators_are_handed_out_one_by_one(tiny: Rig, student: Someone) -> None:
    other = Someone.of(tiny, "student2")
    gpu = {"project": "course", "profile": "gpu"}
    student.start({**gpu, "acceleratorCount": 2})
    other.start(gpu)
    ask = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    try:
        assert {*student.run(ask).strip().split(","), other.run(ask).strip()} == {"0", "1", "2"}
        third = Someone.of(tiny, "both").ask(gpu)
        assert (third.status_code, third.headers["AIHub-Reason"]) == (403, "no-capacity")
        assert "nvidia.com/gpu" in third.text
    finally:
        other.stop()
    third_try = Someone.of(tiny, "both")
    third_try.start(gpu)
    third_try.stop()


def test_a_quota_that_is_hit_says_numbers_limit_and_contact(student: Someone) -> None:
    student.start({"project": "course"})
    student.start({"project": "course"}, "second")
    answer = student.ask({"project": "course"}, "third")
    assert (answer.status_code, answer.headers["AIHub-Reason"]) == (403, "quota-member")
    assert "2 servers" in answer.text
    assert "third" not in student.stopped(), "the refused server left a row"


def test_many_starts_at_once_never_exceed_the_quota(student: Someone) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: student.ask({"project": "course"}, f"s{n}"), range(8)))
    admitted = [answer for answer in answers if answer.status_code in {201, 202}]
    assert len(admitted) == 2, [(a.status_code, a.text) for a in answers]
    assert {a.headers["AIHub-Reason"] for a in answers if a not in admitted} == {"quota-member"}
    until(lambda: len([m for m in student.servers().values() if m["ready"]]) == 2, "both become ready")


def test_two_starts_of_one_server_make_one_server(student: Someone) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: student.ask({"project": "course"}), range(2)))
    assert {answer.status_code for answer in answers} <= {201, 202, 409}, [a.text for a in answers]
    until(lambda: student.model().get("ready"), "the server is ready")
    again = student.ask({"project": "course"})
    assert (again.status_code, again.headers["AIHub-Reason"]) == (409, "server-busy")


def test_a_start_that_cannot_be_built_shows_the_installer_s_last_lines(student: Someone) -> None:
    answer = student.ask({"project": "course", "image": "broken:1"})
    if answer.status_code == 202:
        until(lambda: not student.running(), "the build fails")
    page = student.pages.get("/hub/spawn-pending/student")
    assert page.headers["AIHub-Reason"] == "build-failed"
    assert "this-package-does-not-exist-anywhere-aihub" in page.text
    home = student.pages.get("/hub/home").text
    assert "this-package-does-not-exist-anywhere-aihub" not in home
    student.start({"project": "course"})


def test_a_cancelled_start_gives_everything_back(student: Someone) -> None:
    requirements = {"project": "course", "image": "broken:1"}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(student.ask, requirements)
        until(lambda: student.model().get("pending") == "spawn" or asked.done(), "the start is on its way", every=0.02)
        student.pages.post("/hub/aihub/cancel", data={"server": "", "user": "student"})
        asked.result()
    until(lambda: not student.running(), "the start is cancelled")
    student.start({"project": "course"})
    student.start({"project": "course"}, "second")


def test_a_server_that_dies_is_noticed_and_its_place_is_free(tiny: Rig, student: Someone) -> None:
    student.start({"project": "course"})
    tiny.user_servers()[0].kill()
    until(lambda: not student.running(), "the hub notices")
    page = student.pages.get("/hub/spawn-pending/student")
    assert page.headers["AIHub-Reason"] == "server-died"
    assert "ServerApp" in page.text, "the last log lines are missing"
    assert "Stopped" in student.pages.get("/hub/home").text
    student.start({"project": "course"})
    student.start({"project": "course"}, "second")


def test_a_killed_hub_finds_its_servers_and_what_they_hold(make_hub: Callable[..., Rig]) -> None:
    rig = make_hub(policy=(TINY,))
    rig.start()
    student = Someone.of(rig, "student")
    student.start({"project": "course"})
    kernel = student.kernel()
    student.run("kept = 41", kernel)
    process = rig.user_servers()[0]

    rig.kill()
    assert process.is_running()
    rig.start()

    student = Someone.of(rig, "student")
    assert student.model()["ready"]
    assert student.run("print(kept + 1)", kernel) == "42\n"
    student.start({"project": "course"}, "second")
    answer = student.ask({"project": "course"}, "third")
    assert answer.headers["AIHub-Reason"] == "quota-member", "what ran before the crash was not counted"


def test_a_hub_killed_in_mid_start_leaves_nobody_s_process(make_hub: Callable[..., Rig]) -> None:
    rig = make_hub(policy=(TINY,))
    rig.start()
    student = Someone.of(rig, "student")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(student.ask, {"project": "course"})
        started = until(rig.user_servers, "a process", every=0.01)
        rig.kill()
        # The answer may have been 202 already; else the connection breaks.
        asked.exception()
    rig.start()
    until(lambda: not any(process.is_running() for process in started), "the half-started server is ended")
    student = Someone.of(rig, "student")
    student.start({"project": "course"})
    student.start({"project": "course"}, "second")


def test_ctrl_c_stops_user_servers_and_their_kernels(make_hub: Callable[..., Rig]) -> None:
    rig = make_hub(policy=(TINY,))
    rig.start()
    student = Someone.of(rig, "student")
    student.start({"project": "course"})
    pid = int(student.run("import os; print(os.getpid())"))
    rig.stop(signal.SIGINT)
    rig.assert_nothing_runs()
    assert not psutil.pid_exists(pid)


def test_a_changed_policy_is_live_and_a_broken_one_keeps_the_last(make_hub: Callable[..., Rig], tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(TINY.read_text())
    rig = make_hub(policy=(policy,))
    rig.start()
    student, admin = Someone.of(rig, "student"), Someone.of(rig, "admin")

    policy.write_text(TINY.read_text().replace("displayName: Attrs", "displayName: Renamed By The Admin"))
    begun = time.monotonic()
    until(lambda: "Renamed By The Admin" in student.pages.get("/hub/spawn").text, "the change is live", 5, 0.1)
    assert time.monotonic() - begun < 2.5, "the next page within 2 s of the change"

    policy.write_text(policy.read_text().replace("default: small", "default: smol"))
    until(lambda: "smol" in admin.pages.get("/hub/home").text, "admins see the findings", 5, 0.1)
    assert "Renamed By The Admin" in student.pages.get("/hub/spawn").text
    assert "smol" not in student.pages.get("/hub/home").text
    logged = [line for line in rig.log.read_text().splitlines() if "last good one stays in force" in line]
    assert len(logged) == 1
    assert os.path.exists(policy)  # noqa: PTH110  # nothing rewrote the operator's file
