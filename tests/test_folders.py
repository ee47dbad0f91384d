"""Homes, project folders and datasets on one machine: made once, linked, never half-made, always named."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from aihub.errors import Reason, RefusedError
from aihub.facts import Facts
from aihub.folders import Folders
from aihub.plan import Plan
from aihub.policy import Policy, resolve
from aihub.profiles import Profile
from aihub.projects import Membership, Offer, Person, Project
from aihub.storage import Dataset, Home, HomeScope, ProjectStorage, SharedFolder
from tests.plans import NOW, one_image


def plan_of(storage: ProjectStorage = ProjectStorage(), *, person: str = "ada", scope: str = "project") -> Plan:
    project = Project(
        "ml101",
        members=Membership(everybody=True),
        images=Offer(("tiny",)),
        profiles=Offer(("small",)),
        storage=storage,
    )
    policy = Policy(one_image(), {"small": Profile("small")}, {"ml101": project}, Home(HomeScope(scope), Decimal(1024)))
    plan = resolve(policy, Person(person), {}, Facts(NOW))
    assert isinstance(plan, Plan)
    return plan


def refusal(make: Callable[[], object]) -> tuple[Reason, str]:
    with pytest.raises(RefusedError) as raised:
        make()
    return raised.value.refusal.reason, str(raised.value.refusal.parameters["path"])


def test_a_home_is_made_once_and_kept(tmp_path: Path) -> None:
    folders, plan = Folders(tmp_path), plan_of()
    home = folders.prepare(plan)
    (home / "work.txt").write_text("mine")

    assert folders.prepare(plan) == home
    assert (home / "work.txt").read_text() == "mine"
    assert home.stat().st_mode & 0o777 == 0o700


def test_people_have_homes_of_their_own(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    names = ["ada", "Ada", "ada@example.org", "ada-example-org", "a" * 100, "a" * 101, "阿達"]
    homes = {folders.prepare(plan_of(person=name)) for name in names}
    assert len(homes) == len(names)


def test_the_project_folder_is_shared_and_filled_once(tmp_path: Path) -> None:
    source = tmp_path / "starter"
    source.mkdir()
    (source / "welcome.ipynb").write_text("{}")
    storage = ProjectStorage(shared=SharedFolder(source=str(source)))
    folders = Folders(tmp_path / "state")

    ada = folders.prepare(plan_of(storage, person="ada"))
    (ada / "project" / "result.txt").write_text("found")
    (ada / "project" / "welcome.ipynb").unlink()
    ben = folders.prepare(plan_of(storage, person="ben"))

    assert (ben / "project" / "result.txt").read_text() == "found"
    assert not (ben / "project" / "welcome.ipynb").exists(), "the starter came back over what people did"


def test_datasets_are_links_that_follow_the_policy(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "paths.csv").write_text("a,b\n")
    folders = Folders(tmp_path / "state")
    home = folders.prepare(plan_of(ProjectStorage(datasets={"paths": Dataset("paths", path=str(data))})))
    assert (home / "datasets" / "paths" / "paths.csv").read_text() == "a,b\n"

    (home / "datasets" / "notes.txt").write_text("mine")
    folders.prepare(plan_of())
    assert sorted(each.name for each in (home / "datasets").iterdir()) == ["notes.txt"]


def test_a_missing_dataset_is_named_before_anything_is_made(tmp_path: Path) -> None:
    storage = ProjectStorage(datasets={"paths": Dataset("paths", path=str(tmp_path / "gone"))})
    folders = Folders(tmp_path / "state")
    assert refusal(lambda: folders.prepare(plan_of(storage))) == (Reason.DATASET_MISSING, str(tmp_path / "gone"))
    assert not (tmp_path / "state").exists()


def test_a_folder_of_the_person_in_the_way_is_named_and_kept(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    home = folders.prepare(plan_of())
    (home / "project").mkdir()
    (home / "project" / "thesis.txt").write_text("mine")

    reason, path = refusal(lambda: folders.prepare(plan_of(ProjectStorage(shared=SharedFolder()))))
    assert reason is Reason.STORAGE_UNUSABLE
    assert path.endswith("/shared")
    assert (home / "project" / "thesis.txt").read_text() == "mine"


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "starter"
    source.mkdir()
    (source / "big.bin").write_text("x")

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "big.bin")

    monkeypatch.setattr(shutil, "copy2", full)
    folders, shared = Folders(tmp_path / "state"), tmp_path / "state" / "projects" / "ml101" / "shared"
    storage = ProjectStorage(shared=SharedFolder(source=str(source)))
    assert refusal(lambda: folders.prepare(plan_of(storage))) == (Reason.STORAGE_FULL, str(shared))
    left = [each for each in (tmp_path / "state" / "projects" / "ml101").iterdir() if each.name != "homes"]
    assert left == []


def test_an_unusable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    reason, path = refusal(lambda: Folders(tmp_path / "state").prepare(plan_of()))
    assert reason is Reason.STORAGE_UNUSABLE
    assert path.startswith(str(tmp_path / "state"))


def test_claims_are_found_again_as_they_were_asked_for(tmp_path: Path) -> None:
    plan = plan_of(ProjectStorage(shared=SharedFolder(size=Decimal(4096))))
    folders = Folders(tmp_path)
    folders.prepare(plan)

    found = {held.claim.id: held for held in Folders(tmp_path).claims()}
    assert {claim.id: claim for claim in plan.claims} == {key: held.claim for key, held in found.items()}
    assert {held.person for held in found.values()} == {"ada"}


def test_a_claim_whose_folder_is_gone_is_not_counted(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    shutil.rmtree(folders.prepare(plan_of()))
    assert folders.claims() == ()


def test_many_first_starts_at_once_all_find_their_folders(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    storage = ProjectStorage(shared=SharedFolder(), datasets={"flowers": Dataset("flowers", path=str(data))})
    plans = [plan_of(storage, person=person) for person in ("ada", "ben") for _ in range(4)]
    for turn in range(20):
        folders = Folders(tmp_path / str(turn))
        with ThreadPoolExecutor(len(plans)) as pool:
            homes = list(pool.map(folders.prepare, plans))
        assert len(set(homes)) == 2
        assert {held.claim.id for held in folders.claims()} == {claim.id for plan in plans for claim in plan.claims}


def test_claims_that_exist_are_those_with_a_folder(tmp_path: Path) -> None:
    folders, plan = Folders(tmp_path), plan_of(ProjectStorage(shared=SharedFolder()))
    assert folders.existing(plan.claims) == set()
    folders.prepare(plan)
    assert folders.existing(plan.claims) == {claim.id for claim in plan.claims}
    shutil.rmtree(folders.home(plan))
    assert folders.existing(plan.claims) == {"project/ml101"}
