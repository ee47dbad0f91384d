"""The file that admins import, and what Keycloak makes of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.sso.distribution import command
from tests.sso.hubs import MakeHub
from tests.sso.keycloak import Keycloak
from tests.sso.realm import FILE, HUB, STAFF, STUDENTS, Realm

ROUTES = {"/hub/oauth_callback", "/hub/aihub/signed-out", "/hub/aihub/back-channel-logout", "/hub/home", ""}


def test_the_file_holds_no_secret_and_addresses_of_the_hub_only() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert "secret" not in {key for client in json.loads(text)["clients"] for key in client}
    found = {word for word in text.split('"') if word.startswith("http")}
    assert all(word.startswith(HUB) for word in found)
    assert {urlsplit(word).path for word in found} == ROUTES


def test_the_client_can_be_imported_into_a_realm_that_exists(keycloak: Keycloak) -> None:
    keycloak.admin("POST", "/realms", json={"realm": "older", "enabled": True})
    realm = Realm(keycloak, "older")
    written = json.loads(FILE.read_text(encoding="utf-8"))
    chosen = {"ifResourceExists": "FAIL", "clients": written["clients"]}
    realm.call("POST", "/partialImport", chosen)
    assert len(realm.secret()) >= 32
    (client,) = realm.get("/clients", clientId="aihub")
    assert client["redirectUris"] == [f"{HUB}/hub/oauth_callback"]
    assert not client["directAccessGrantsEnabled"]
    assert [mapper["name"] for mapper in client["protocolMappers"]] == ["groups"]
    realm.remove()


@pytest.mark.slow
def test_the_commands_of_the_guide_and_the_option_that_escapes_slashes(tmp_path: Path, prepare: MakeHub) -> None:
    """A Keycloak of one's own: the realm imported as the guide says, and started as it says."""
    hub = prepare()
    written = tmp_path / "realm.json"
    written.write_text(FILE.read_text(encoding="utf-8").replace(HUB, hub.url), encoding="utf-8")
    option = "--spi-group--jpa--escape-slashes-in-group-path=true"
    keycloak = Keycloak(tmp_path / "keycloak", options=(option,))
    try:
        keycloak.start()
        keycloak.stop()
        importing = command(keycloak.folder, "import", "--optimized", "--file", str(written))
        done = subprocess.run(importing, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        keycloak.start()
        realm = Realm(keycloak, "school")
        hub.with_policy(realm, allowed={"anyone": True})
        hub.environ["AIHUB_CLIENT_SECRET"] = realm.secret()
        hub.start()
        realm.add("ada", STUDENTS)
        realm.join("ada", realm.add_group("courses/ml101/staff"))
        realm.join("ada", realm.add_group("ml101/staff", below="/courses"))
        groups = set(hub.sign_in("ada").get("/hub/api/user").json()["groups"])
        assert {STUDENTS, "/courses~/ml101~/staff", "/courses/ml101~/staff"} <= groups
        assert STAFF not in groups
    finally:
        keycloak.close()
