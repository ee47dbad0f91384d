"""A hub with people known by name moves to Keycloak, as docs/sign-in/migrate.md says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

from tests.local.rig import AIHUB, ROOT, Rig
from tests.sso.browsing import sign_in, visitor, who
from tests.sso.hubs import MakeHub, policy
from tests.sso.keycloak import Keycloak
from tests.sso.realm import STUDENTS, Realm


def people(hub: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`aihub people` on the hub's database."""
    environ = {**os.environ, "AIHUB_DATABASE_URL": f"sqlite:///{hub.state_dir / 'aihub.sqlite'}"}
    command = [*AIHUB, "people", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_names_are_given_to_accounts_before_anybody_signs_in(
    tmp_path: Path, prepare: MakeHub, keycloak: Keycloak
) -> None:
    hub = prepare()
    realm = Realm.make(keycloak, "migrated", hub.url)
    document = policy(realm)
    before = {"method": "local", "personas": {"ada": {"groups": [STUDENTS]}}}
    hub.policy[0].write_text(yaml.safe_dump({**document, "signIn": before}), encoding="utf-8")
    hub.start()
    old = Rig.sign_in(hub, "ada")
    assert who(old) == "ada"

    # At Keycloak that is somebody else; the Ada of this hub has another name there.
    subject = realm.add("ada.lovelace", STUDENTS)
    listed = tmp_path / "people.csv"
    listed.write_text(f"name,issuer,subject\nada,{realm.issuer},{subject}\n", encoding="utf-8")
    bound = people(hub, "bind", "--file", str(listed))
    assert bound.returncode == 0, bound.stderr
    assert f"ada: {subject} at {realm.issuer}" in people(hub, "list").stdout

    hub.with_policy(realm).restart()
    assert who(old) is None
    with visitor(hub.url) as right, visitor(hub.url) as wrong:
        sign_in(right, "ada.lovelace")
        assert who(right) == "ada"
        refused = sign_in(wrong, "ada")
        assert (refused.status_code, who(wrong)) == (403, None)
        assert "belongs to another account" in refused.text

        # The account is gone, and its name goes to the one that comes next.
        realm.delete("ada.lovelace")
        assert people(hub, "release", "ada", "--yes").returncode == 0
        sign_in(wrong, "ada")
        assert who(wrong) == "ada"
        assert subject in people(hub, "list", "--all").stdout
    realm.remove()
