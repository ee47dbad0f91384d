"""Odd user names on a real hub: a home of one's own for each, or a clear refusal before anything starts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.people import Someone, until
from tests.local.rig import AIHUB, ROOT, Rig

LONG = "x" * 100
POLICY = """
imageStreams:
  plain: {tags: {"1": {requirements: []}}}
profiles:
  small: {cpu: 100m, memory: 128Mi}
projects:
  lab:
    members: {users: [%s]}
    images: {offer: [plain], default: plain}
    profiles: {offer: [small], default: small}
machine: {cpu: 4, memory: 4Gi}
signIn:
  personas: {%s}
"""
NAMES = {
    "Ada.Lovelace@Example.ORG": "ada.lovelace@example.org",
    "李 小龍": "李 小龍",
    LONG: LONG,
    "ada-lovelace-example-org": "ada-lovelace-example-org",
    "Stra\u00dfe": "stra\u00dfe",
    "caf\u00e9": "caf\u00e9",
    "cafe\u0301": "cafe\u0301",
    "percent%41+&=?#": "percent%41+&=?#",
    "<b>bold</b>".replace("/", "-"): "<b>bold<-b>",
    "homes": "homes",
}
"""A name as the policy file has it, and as the hub knows it."""


def policy(*names: str) -> str:
    quoted = [f'"{name}"' for name in names]
    return POLICY % (", ".join(quoted), ", ".join(f"{name}: {{}}" for name in quoted))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("names")
    (folder / "policy.yaml").write_text(policy(*NAMES), encoding="utf-8")
    rig = Rig(folder, (folder / "policy.yaml",))
    rig.start()
    yield rig
    rig.close()


@pytest.mark.parametrize("name", NAMES.values(), ids=lambda name: name[:20])
def test_everybody_signs_in_and_sees_their_pages(rig: Rig, name: str) -> None:
    pages = rig.sign_in(name)
    assert pages.get("/hub/home").status_code == 200
    page = pages.get("/hub/spawn")
    assert page.status_code == 200
    assert 'value="lab"' in page.text
    assert "<b>bold" not in page.text


@pytest.mark.parametrize(
    "name", ["ada.lovelace@example.org", "李 小龍", LONG], ids=["capitals and @", "Unicode", "100 characters"]
)
def test_each_has_a_home_of_their_own(rig: Rig, name: str) -> None:
    pages = rig.sign_in(name)
    # The hub's own redirects and links spell the name; whoever follows them arrives.
    token = pages.get("/hub/spawn").text.partition('name="_xsrf" value="')[2].partition('"')[0]
    started = pages.post("/hub/spawn", data={"_xsrf": token, "project": "lab"}, headers={"X-XSRFToken": ""})
    assert started.status_code == 200, started.text[:300]
    assert "/hub/spawn-pending/" in str(started.url) or "/user/" in str(started.url)
    someone = Someone(name, rig, pages, rig.with_token(pages, name))
    try:
        until(lambda: someone.model().get("ready"), f"the server of {name}\n{rig.said()}", 120)
        printed = someone.run("import os; open('mine.txt', 'x').write('1'); print(os.getcwd())")
        home = Path(printed.strip())
        assert home.parent == rig.state_dir / "homes", printed
        assert sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) == ["mine.txt"]
        arrived = pages.get("/hub/spawn-pending/" + str(started.url).rpartition("/hub/spawn-pending/")[2])
        assert "/user/" in str(arrived.url)
    finally:
        someone.stop()


def test_no_two_names_share_a_home(rig: Rig) -> None:
    homes = list((rig.state_dir / "homes").iterdir())
    # The three that started; a fourth name that looks like one of them is not among them.
    assert len(homes) == 3
    assert not (rig.state_dir / "homes" / "ada-lovelace-example-org").exists()


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        (("Ada", "ada"), "would have the same user name"),
        (("Stra\u00dfe", "strasse"), "would have the same user name"),
        (("a/b",), "is no user name"),
        ((" ada",), "is no user name"),
        (("x" * 256,), "is no user name"),
        ((".",), "is no user name"),
        (("..",), "is no user name"),
        (("a\\nb",), "is no user name"),
    ],
    ids=["case", "case of a whole name", "slash", "space", "256 characters", "dot", "dots", "line break"],
)
def test_names_that_cannot_be_told_apart_or_used_are_found(
    tmp_path: Path, names: tuple[str, ...], finding: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(policy(*names), encoding="utf-8")
    done = subprocess.run([*AIHUB, "check", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert finding in done.stdout + done.stderr
