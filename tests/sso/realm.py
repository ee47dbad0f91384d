"""Realms for tests, made from the file that the documentation tells admins to import, and what admins do in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.sso.keycloak import Keycloak

FILE = Path(__file__).parents[2] / "config" / "keycloak" / "realm.json"
HUB = "https://hub.example.org"
"""What stands in the file for the hub's address, and readers replace."""

CLIENT, PUBLIC_CLIENT, SECRET = "aihub", "aihub-public", "secret of the client aihub"
STUDENTS, STAFF, ADMINS = "/courses/ml101/students", "/courses/ml101/staff", "/staff/hub-admins"
BIOLOGY = "/courses/bio/students"

PEOPLE: Mapping[str, tuple[str, ...]] = {
    "ada": (STUDENTS,),
    "ben": (BIOLOGY,),
    "grace": (STAFF,),
    "root": (ADMINS,),
    "nomad": (),
    "rolf": (),
}
"""Who is there, with their groups. `rolf` has the realm's role "lab" and the client's role "tutor"."""


def password(user: str) -> str:
    return f"password of {user}"


def person(user: str, groups: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """Somebody who can sign in without being asked for more."""
    return {
        "username": user,
        "enabled": True,
        "email": f"{user}@school.example",
        "emailVerified": True,
        "firstName": user.title(),
        "lastName": "Example",
        "credentials": [{"type": "password", "value": password(user), "temporary": False}],
        "groups": list(groups),
        **more,
    }


def client_like(client: Mapping[str, Any], hub: str, **more: Any) -> dict[str, Any]:
    """The file's client for the hub at `hub`, with changes."""
    made: dict[str, Any] = json.loads(json.dumps(client).replace(HUB, hub))
    return {**made, **more}


def document(name: str, hubs: Sequence[str]) -> dict[str, Any]:
    """The file's realm with the people of the tests: a client for each hub, `aihub`, `aihub-2` …, and a public one."""
    realm: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    (client,) = realm["clients"]
    numbered = [CLIENT, *(f"{CLIENT}-{number}" for number in range(2, len(hubs) + 1))]
    clients = [client_like(client, hub, clientId=each, secret=SECRET) for each, hub in zip(numbered, hubs, strict=True)]
    clients.append(client_like(client, hubs[0], clientId=PUBLIC_CLIENT, publicClient=True))
    realm["groups"][0]["subGroups"].append({"name": "bio", "subGroups": [{"name": "students"}]})
    return {
        **realm,
        "realm": name,
        "bruteForceProtected": False,
        "passwordPolicy": "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)",  # argon2 takes its time, on purpose
        "clients": clients,
        "roles": {"realm": [{"name": "lab"}], "client": {CLIENT: [{"name": "tutor"}]}},
        "users": [person(user, groups, **_roles(name, user)) for user, groups in PEOPLE.items()],
    }


def _roles(realm: str, user: str) -> dict[str, Any]:
    """Roles that are imported: the one that everybody is given who is made later, and those of `rolf`."""
    everybody = {"realmRoles": [f"default-roles-{realm}"]}
    if user != "rolf":
        return everybody
    return {"realmRoles": [*everybody["realmRoles"], "lab"], "clientRoles": {CLIENT: ["tutor"]}}


@dataclass(slots=True)
class Realm:
    """One realm of a running Keycloak; methods do what its admins do in the console."""

    keycloak: Keycloak
    name: str
    people: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PEOPLE)

    @classmethod
    def make(cls, keycloak: Keycloak, name: str, *hubs: str) -> Realm:
        """A new realm for the hubs at these addresses."""
        keycloak.admin("POST", "/realms", json=document(name, hubs))
        return cls(keycloak, name)

    @property
    def issuer(self) -> str:
        return self.keycloak.issuer(self.name)

    def get(self, path: str, **parameters: str) -> Any:
        return self.keycloak.admin("GET", f"/realms/{self.name}{path}", params=parameters).json()

    def call(self, method: str, path: str, document: object = None) -> str:
        """A change; the id of what it made, if it made something."""
        answer = self.keycloak.admin(method, f"/realms/{self.name}{path}", json=document)
        return str(answer.headers.get("location", "")).rsplit("/", 1)[-1]

    def remove(self) -> None:
        self.call("DELETE", "")

    def settings(self, **values: Any) -> None:
        """Change settings of the realm, such as `accessTokenLifespan` (seconds)."""
        self.call("PUT", "", {**self.get(""), **values})

    # --- people ------------------------------------------------------------------------------------------------------

    def id_of(self, user: str) -> str:
        """The subject of somebody."""
        (found,) = self.get("/users", username=user, exact="true")
        return str(found["id"])

    def add(self, user: str, *groups: str, **more: Any) -> str:
        """A new person; their subject."""
        return self.call("POST", "/users", person(user, groups, **more))

    def delete(self, user: str) -> None:
        self.call("DELETE", f"/users/{self.id_of(user)}")

    def change(self, user: str, **values: Any) -> None:
        """Change somebody's account, such as `enabled=False`."""
        path = f"/users/{self.id_of(user)}"
        self.call("PUT", path, {**self.get(path), **values})

    def sessions(self, user: str) -> list[dict[str, Any]]:
        """The sessions of somebody."""
        found: list[dict[str, Any]] = self.get(f"/users/{self.id_of(user)}/sessions")
        return found

    def sign_out(self, user: str) -> None:
        """End all of somebody's sessions: Keycloak tells the clients by back-channel."""
        self.call("POST", f"/users/{self.id_of(user)}/logout")

    def end_session(self, session: str) -> None:
        """End one session: Keycloak tells its clients by back-channel."""
        self.call("DELETE", f"/sessions/{session}")

    # --- groups ------------------------------------------------------------------------------------------------------

    def group_id(self, path: str) -> str:
        return str(self.get(f"/group-by-path{quote(path)}")["id"])

    def add_group(self, name: str, below: str = "") -> str:
        """A new group, in the group with the path `below`; its id. A slash in the name is part of the name."""
        parent = f"/{self.group_id(below)}/children" if below else ""
        return self.call("POST", f"/groups{parent}", {"name": name})

    def join(self, user: str, group: str) -> None:
        """Put somebody into a group, given by path or id."""
        self.call("PUT", f"/users/{self.id_of(user)}/groups/{self._group(group)}", {})

    def leave(self, user: str, group: str) -> None:
        self.call("DELETE", f"/users/{self.id_of(user)}/groups/{self._group(group)}")

    def _group(self, group: str) -> str:
        return self.group_id(group) if group.startswith("/") else group

    # --- clients and keys --------------------------------------------------------------------------------------------

    def _client(self, client: str) -> str:
        (found,) = self.get("/clients", clientId=client)
        return f"/clients/{found['id']}"

    def change_client(self, client: str = CLIENT, **values: Any) -> None:
        """Change a client, such as `redirectUris=[…]`; `attributes` are merged."""
        path = self._client(client)
        now = self.get(path)
        values["attributes"] = {**now.get("attributes", {}), **values.get("attributes", {})}
        self.call("PUT", path, {**now, **values})

    def secret(self, client: str = CLIENT) -> str:
        """The client's secret."""
        return str(self.get(f"{self._client(client)}/client-secret")["value"])

    def new_secret(self, client: str = CLIENT) -> str:
        """Another secret; the old one is worth nothing from now on."""
        path = f"/realms/{self.name}{self._client(client)}/client-secret"
        return str(self.keycloak.admin("POST", path).json()["value"])

    def remove_mapper(self, name: str = "groups", client: str = CLIENT) -> None:
        path = f"{self._client(client)}/protocol-mappers/models"
        (found,) = [each for each in self.get(path) if each["name"] == name]
        self.call("DELETE", f"{path}/{found['id']}")

    def change_mapper(self, name: str = "groups", client: str = CLIENT, **config: str) -> None:
        """Change settings of a mapper; `_` stands for a dot."""
        path = f"{self._client(client)}/protocol-mappers/models"
        (found,) = [each for each in self.get(path) if each["name"] == name]
        found["config"] |= {key.replace("_", "."): value for key, value in config.items()}
        self.call("PUT", f"{path}/{found['id']}", found)

    def rotate_keys(self, *, drop_old: bool = False) -> str:
        """Sign with a new key from now on; its id. The old ones are still published unless dropped."""
        old = self.get("/components", type="org.keycloak.keys.KeyProvider")
        priority = 1 + max(int(each["config"].get("priority", ["0"])[0]) for each in old)
        config = {
            "priority": [str(priority)],
            "enabled": ["true"],
            "active": ["true"],
            "algorithm": ["RS256"],
            "keySize": ["2048"],
        }
        kind = {"providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider"}
        self.call("POST", "/components", {"name": f"rsa-{priority}", **kind, "config": config})
        if drop_old:
            for each in old:
                if each["providerId"] == "rsa-generated":
                    self.call("DELETE", f"/components/{each['id']}")
        return str(self.get("/keys")["active"]["RS256"])
