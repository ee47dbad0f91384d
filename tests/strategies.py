"""Strategies for policies, people, facts and user options.

All names come from a small world, so that what is chosen apart still meets: most people belong somewhere and most
options name what exists. A case is made from one drawn seed by `random.Random`: hypothesis' own draws of so large a
structure cluster (four options in five were malformed), and a rule in the middle was hardly ever the first to fail.
What hypothesis is better at, hostile options, it draws itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from aihub.catalog import Catalog, ImageStream, ImageTag, TagState
from aihub.facts import Facts, Machine, Pool, Taint, Usage
from aihub.policy import Policy
from aihub.profiles import Accelerator, Placement, Profile
from aihub.projects import Decisions, IdleRules, ImageDecision, Membership, Offer, Person, Project
from aihub.quota import Amounts, Quota
from aihub.resources import Resources
from aihub.storage import Claim, Dataset, Home, HomeScope, ProjectStorage, SharedFolder
from aihub.text import Text

__all__ = ["NOW", "Case", "cases", "hostile_options"]

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
PROJECTS = ("ml101", "lab", "robots")
STREAMS = ("torch", "scipy", "bare")
TAGS = ("1", "2", "3")
REFERENCES = tuple(f"{stream}:{tag}" for stream in STREAMS for tag in TAGS)
PROFILES = ("small", "large", "gpu", "slice")
PEOPLE = ("ann", "bob", "eve")
GROUPS = ("/c/ml101/students", "/c/ml101/staff", "/c/lab", "/guests")
PATTERNS = (*GROUPS, "/c/*/students", "/c/**", "/c/*", "**", "/guests/*", "/guest", "/c/ml101")
ACCELERATORS = ("nvidia.com/gpu", "amd.com/gpu")
KEYS = ("servers", "cpu", "memory", "storage", *ACCELERATORS)
CLAIMS = ("home/ann", "home/bob", "home/ml101/ann", "home/lab/bob", "project/ml101", "project/lab")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """A policy, a person and facts, with options that mostly name what the policy holds."""

    policy: Policy
    person: Person
    facts: Facts
    options: tuple[Mapping[str, Any], ...]


class _World:
    """Makes one case out of one source of randomness."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def one(self, *values: T) -> T:
        return self.random.choice(values)

    def some(self, values: Sequence[T], least: int = 0) -> tuple[T, ...]:
        return tuple(self.random.sample(values, self.random.randint(least, len(values))))

    def tag(self, name: str) -> ImageTag:
        state = self.random.choices(list(TagState), (8, 1, 1))[0]
        return ImageTag(
            name,
            image=self.one(None, f"registry.example/image:{name}"),
            requirements=self.one(None, ("numpy==2.3",)),
            recommended=self.chance(0.3),
            default=self.chance(0.2),
            state=state,
            successor=self.one(None, "1", "torch:2") if state is TagState.RETIRED else None,
        )

    def stream(self, name: str) -> ImageStream:
        return ImageStream(
            name,
            Text(name.title()),
            offered=self.chance(0.9),
            order=self.one(1, 2),
            accelerators=self.one((), (), ACCELERATORS[:1], ACCELERATORS[1:], ("nvidia.com/mig-1g.10gb",)),
            tags=tuple(self.tag(tag) for tag in self.some(TAGS, 0 if name == "bare" else 2)),
        )

    def profile(self, name: str) -> Profile:
        accelerator = {
            "gpu": Accelerator("nvidia.com/gpu", self.one((1,), (1, 2), (2, 1), (2, 4))),
            "slice": Accelerator("amd.com/gpu"),
        }.get(name)
        return Profile(
            name,
            Text(name.title()),
            order=self.one(1, 2),
            requests=Resources({"cpu": Decimal(self.one("0", "0.5", "1", "2")), "memory": self.one(1, 2, 4)}),
            limits=Resources({"cpu": 4, "memory": 8}),
            accelerator=accelerator,
            hidden=self.chance(0.1),
            retired=self.chance(0.1),
            successor=self.one(None, "small"),
            groups=self.one((), ("/c/ml101/*",), ("/c/lab", "/guests"), ("/c/**",)) if self.chance(0.25) else None,
            placement=self.placement() if self.chance(0.3) else Placement(),
        )

    def placement(self) -> Placement:
        kind = {"key": "kind", "operator": self.one("In", "NotIn"), "values": ["gpu"]}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [kind]}]}
        return Placement(
            self.one({}, {"kind": "gpu"}),
            self.one((), ({"operator": "Exists"},), ({"key": "gpu", "value": "yes", "effect": "NoSchedule"},)),
            self.one({}, {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}),
        )

    def quota(self) -> Quota:
        if self.chance(0.5):
            return {}
        return {key: Decimal(self.one(0, 1, 2, 3, 4, 10, 12, 40)) for key in self.random.sample(KEYS, self.one(1, 2))}

    def project(self, name: str) -> Project:
        shared = SharedFolder(self.one(None, Decimal(1), Decimal(3)), self.chance(0.5))
        return Project(
            name,
            Text(name.upper()),
            order=self.one(1, 2),
            archived=self.chance(0.05),
            members=Membership(
                self.some(PATTERNS)[:2], frozenset(self.some(PEOPLE) if self.chance(0.5) else ()), self.chance(0.3)
            ),
            instructors=Membership(self.one((), (), ("/c/*/staff",)), frozenset(self.one((), (), ("ann",)))),
            images=self.one(
                Offer(STREAMS, self.one(None, *STREAMS)),
                Offer(STREAMS, self.one(*REFERENCES)),
                Offer(self.some((*STREAMS, *REFERENCES)), self.one(None, *STREAMS, *REFERENCES, "gone:1", "gone")),
            ),
            profiles=Offer(
                self.one(PROFILES, PROFILES, self.some(PROFILES), ("gpu", "small", "gpu")),
                self.one(None, *PROFILES, "gone"),
            ),
            quota=self.quota(),
            member_quota=self.quota(),
            storage=ProjectStorage(
                self.one(None, Decimal(2)),
                self.one(None, shared),
                self.one({}, {"mnist": Dataset("mnist", path="/data/mnist")}),
            ),
            environment=self.one({}, {"COURSE": name, "LD_PRELOAD": "/tmp/evil.so", "PATH": "/tmp"}),
            idle=IdleRules(self.one(None, 3600), None),
            contact=Text(self.one("", f"{name}@example.org")),
        )

    def policy(self) -> Policy:
        return Policy(
            Catalog({name: self.stream(name) for name in self.some(STREAMS, least=2)}),
            {name: self.profile(name) for name in self.some(PROFILES, least=2)},
            {name: self.project(name) for name in self.some(PROJECTS, least=1)},
            Home(self.one(*HomeScope), self.one(None, Decimal(1), Decimal(3))),
            self.quota(),
            self.chance(0.5),
            tuple(self.pool(name) for name in self.some(("fast", "slow"))) if self.chance(0.2) else (),
            fresh_for_accelerators=self.chance(0.5),
        )

    def pool(self, name: str) -> Pool:
        machine = self.machine()
        return Pool(name, replace(machine, free=machine.total), self.one(None, 60, 300))

    def vector(self, *amounts: int) -> Resources:
        return Resources({key: self.one(*amounts) for key in self.some(KEYS)})

    def machine(self) -> Machine:
        big = Resources({"cpu": 8, "memory": 16, "nvidia.com/gpu": 4, "amd.com/gpu": 2})
        total = big if self.chance(0.8) else self.vector(1, 2, 4)
        taken = self.vector(1, 2, 8, 16) if self.chance(0.4) else Resources()
        gpu, cordon = Taint("gpu", "yes"), Taint("node.kubernetes.io/unschedulable")
        return Machine(
            "m",
            total,
            Resources({key: max(total[key] - taken[key], Decimal(0)) for key in total}),
            {"kind": self.one("gpu", "gpu", "cpu")},
            self.one((), (), (), (), (gpu,), (cordon,), (gpu, cordon)),
        )

    def usage(self) -> Usage | None:
        if self.chance(0.15):
            return None
        if self.chance(0.3):
            return Usage()
        return Usage(
            {name: self.vector(0, 1, 3, 9) for name in self.some(PROJECTS)},
            {name: self.vector(0, 1, 3) for name in self.some(PROJECTS)},
            self.vector(0, 1, 3),
        )

    def decisions(self) -> Decisions:
        states = list(TagState)
        images = {
            reference: ImageDecision(self.one(*states), self.one(None, "torch:2"), self.one("", "Use the newer one."))
            for reference in self.some(REFERENCES)[:3]
        }
        return Decisions(images, self.one(None, *REFERENCES, "gone:1", "torch"))

    def claim(self, name: str) -> Claim:
        size = self.one(None, *(Decimal(size) for size in (1, 2, 3, 5)))
        stored = Resources({"storage": size} if size else {})
        if name.startswith("project/"):
            return Claim(name, size, Amounts(project=stored))
        return Claim(name, size, Amounts(user=stored) if name.count("/") == 1 else Amounts.everywhere(stored))

    def facts(self) -> Facts:
        return Facts(
            NOW,
            self.usage(),
            tuple(self.machine() for _ in range(self.one(0, 1, 1, 2, 2, 2))) if self.chance(0.6) else None,
            {name: self.claim(name) for name in self.some(CLAIMS)},
            {name: self.decisions() for name in self.some(PROJECTS)} if self.chance(0.6) else {},
            {name: self.chance(0.7) for name in self.some(REFERENCES)[:2]} if self.chance(0.5) else {},
            self.one(None, NOW - timedelta(seconds=12)),
            self.chance(0.8),
        )

    def options(self, policy: Policy) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        if self.chance(0.9):
            chosen["project"] = self.one(*policy.projects) if self.chance(0.95) else self.one(*PROJECTS, "gone")
        if self.chance(0.7):
            known = tuple(policy.catalog.references())
            chosen["image"] = self.one(*known) if known and self.chance(0.9) else self.one(*REFERENCES, "torch", ":")
        if self.chance(0.7):
            chosen["profile"] = self.one(*policy.profiles) if self.chance(0.95) else self.one(*PROFILES, "gone")
        if self.chance(0.2):
            chosen["acceleratorCount"] = self.one(0, 1, 1, 2, 4)
        return chosen

    def case(self) -> Case:
        policy = self.policy()
        person = Person(self.one(*PEOPLE), frozenset(self.some(GROUPS)), self.chance(0.2))
        return Case(policy, person, self.facts(), tuple(self.options(policy) for _ in range(8)))


cases: st.SearchStrategy[Case] = st.integers(0, 2**64 - 1).map(lambda seed: _World(Random(seed)).case())

_junk: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ("", " ", "torch:1\0", "\u202egpu", "x" * 254, "TORCH:1", "ｔorch:1", "torch:1\n", "../ml101", "\ud800")
    ),
    st.binary(max_size=3),
    st.lists(st.sampled_from(("ml101", "torch:1", 1, None)), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
_near_misses: st.SearchStrategy[object] = st.builds(
    lambda options, key, value: {**options, key: value},
    st.fixed_dictionaries(
        {},
        optional={
            "project": st.sampled_from(PROJECTS),
            "image": st.sampled_from(REFERENCES),
            "profile": st.sampled_from(PROFILES),
            "acceleratorCount": st.sampled_from((0, 1, 2)),
        },
    ),
    st.sampled_from(
        ("project", "image", "profile", "acceleratorCount", "Project", "images", "", None, 1, ("project",))
    ),
    _junk,
)
hostile_options: st.SearchStrategy[object] = st.one_of(_near_misses, _near_misses, _junk)
