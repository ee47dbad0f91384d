"""Hubs that sign people in through the Keycloak of the tests: `aihub run` with a policy of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from bs4 import BeautifulSoup

from tests.local.rig import Rig
from tests.sso.browsing import arm, client, sign_in, who
from tests.sso.realm import ADMINS, BIOLOGY, CLIENT, SECRET, STAFF, STUDENTS, Realm

RECHECK = 2
"""Seconds after which these hubs ask again about somebody."""


def policy(realm: Realm, client_id: str = CLIENT, **sign_in: Any) -> dict[str, Any]:
    """A policy with projects for the groups and roles of the realm; `sign_in` replaces keys of its `signIn`."""
    offer = {
        "images": {"offer": ["plain"], "default": "plain:1"},
        "profiles": {"offer": ["small"], "default": "small"},
    }
    return {
        "imageStreams": {"plain": {"tags": {"1": {"requirements": []}}}},
        "profiles": {"small": {"cpu": "100m", "memory": "256Mi"}},
        "projects": {
            "ml101": {
                "displayName": "Machine Learning 101",
                "members": {"groups": [STUDENTS]},
                "instructors": {"groups": [STAFF]},
                **offer,
            },
            "bio": {"displayName": "Biology", "members": {"groups": [BIOLOGY]}, **offer},
            "lab": {
                "displayName": "The Lab",
                "members": {"groups": ["role:lab"]},
                "instructors": {"groups": [f"role:{client_id}:tutor"]},
                **offer,
            },
        },
        "signIn": {
            "method": "keycloak",
            "displayName": "your school account",
            "contact": "it-help@school.example",
            "keycloak": {
                "issuer": realm.issuer,
                "clientId": client_id,
                "groupsFrom": ["groups", "realmRoles", "clientRoles"],
            },
            "allowed": {"groups": ["/courses/**", "role:lab"], "users": ["nomad"]},
            "admins": {"groups": [ADMINS]},
            "identity": {"recheckAfter": f"{RECHECK}s"},
            **sign_in,
        },
    }


@dataclass
class SsoHub(Rig):
    """A hub at `host`, which is a name of this machine: browsers keep the cookies of two names apart."""

    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @classmethod
    def prepared(cls, folder: Path, host: str = "127.0.0.1") -> SsoHub:
        """A hub that has an address and nothing else yet: the realm has to know it first."""
        return cls(folder, (folder / "policy.yaml",), environ={"AIHUB_CLIENT_SECRET": SECRET}, host=host)

    def with_policy(self, realm: Realm, client_id: str = CLIENT, **sign_in: Any) -> SsoHub:
        """Write the policy; see `policy`."""
        document = policy(realm, client_id, **sign_in)
        self.policy[0].write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return self

    def sign_in(self, persona: str) -> httpx.Client:
        """Somebody signed in, with their own browser; closed with the rig."""
        made = client(self.url)
        self.clients.append(made)
        answer = sign_in(made, persona)
        assert answer.is_success, answer.text
        arm(made)
        assert who(made) == persona, answer.text
        return made


def heading(page: httpx.Response) -> str:
    """What a page is about."""
    found = BeautifulSoup(page.text, "html.parser").select_one("h1")
    return found.get_text(" ", strip=True) if found else ""


def text(page: httpx.Response) -> str:
    """What a page says."""
    found = BeautifulSoup(page.text, "html.parser").select_one("main")
    return found.get_text(" ", strip=True) if found else page.text


MakeHub = Callable[..., SsoHub]
