"""AIHub without a hub: a policy file, a database, a place where nothing runs, and people."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aihub.app import AIHub, Seen, Site
from aihub.config import Loaded
from aihub.ledger import Entry, Room
from aihub.plan import Plan
from aihub.policy import Policy
from aihub.resources import Resources

POLICY = """
imageStreams:
  plain: {tags: {"1": {requirements: []}, "2": {requirements: []}}}
profiles:
  small: {cpu: 1, memory: 1Gi}
  gpu: {cpu: 1, memory: 1Gi, accelerator: {resource: nvidia.com/gpu, count: 1}}
projects:
  lab:
    displayName: <b>Lab</b>
    members: {groups: [/students]}
    instructors: {groups: [/staff]}
    images: {offer: [plain], default: "plain:1"}
    profiles: {offer: [small, gpu], default: small}
    quota: {perMember: {servers: 2}}
    contact: lab@example.org
signIn:
  personas:
    Ada: {groups: [/students, /club]}
    teacher: {groups: [/staff]}
    admin: {admin: true}
"""


class FakeSite:
    """A place with four cores. It remembers what it was told, and finds what a test says that it finds."""

    def __init__(self) -> None:
        self.configured: list[Loaded] = []
        self.cpu = 4
        self.not_here: dict[str, bool] = {}
        self.seen = Seen()
        self.looked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.missing: Collection[str] | None = None

    def configure(self, loaded: Loaded) -> None:
        self.configured.append(loaded)

    def object_name(self, plan: Plan, server: str) -> str:
        return f"here/{plan.person}-{server}"

    def machines(self) -> tuple[None, None]:
        return None, None

    def room(self) -> Room | None:
        return Room("here", Resources({"cpu": self.cpu, "memory": 2**33}), {"nvidia.com/gpu": ("0",)})

    def unresolved(self, policy: Policy) -> Mapping[str, bool]:
        return {reference: False for reference in policy.catalog.references() if reference in self.not_here}

    def readiness(self, requirements: tuple[str, ...] | None) -> tuple[bool, float | None] | None:
        return None

    async def look(self, rows: Collection[Entry], adopted: Collection[str]) -> Seen:
        self.looked.append((tuple(row.id for row in rows), tuple(adopted)))
        return self.seen

    async def gone(self, entry: Entry) -> Collection[str] | None:
        return self.missing


def hub_user(name: str, *groups: str, admin: bool = False, kind: str = "user") -> Any:
    """What JupyterHub hands to AIHub as a user."""
    return SimpleNamespace(name=name, groups=[SimpleNamespace(name=group) for group in groups], admin=admin, kind=kind)


@contextmanager
def loaded_aihub(folder: Path, site: Site, policy: str = POLICY) -> Iterator[AIHub]:
    """The one AIHub of this process, with its policy file and database in `folder`; not yet open."""
    path = folder / "policy.yaml"
    if not path.exists():
        path.write_text(policy)
    AIHub.clear_instance()
    aihub = AIHub.instance(policy_paths=[str(path)], database_url=f"sqlite:///{folder / 'aihub.sqlite'}")
    aihub.load(site)
    try:
        yield aihub
    finally:
        aihub.store.dispose()
        AIHub.clear_instance()
