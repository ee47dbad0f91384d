"""What Prometheus reads of sign-in, on the hub's own `/hub/metrics`. No name of a person is in any label.

Whoever sees something happen calls one of

- `signed_in(outcome)`: a sign-in ended, `OK` or the value of a `SignInReason`;
- `logged_out(outcome)`: the provider sent a logout token (`OK`, `UNKNOWN`: it names nobody here, `REFUSED`);
- `groups_missing()`: a good answer of the provider came without any groups claim.

What is the case at the moment of the question comes from what `observe` was given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from aihub.identities import IdentityState, ProviderState
from aihub.identity import SignInReason

__all__ = ["OK", "REFUSED", "UNKNOWN", "Observed", "Standing", "groups_missing", "logged_out", "observe", "signed_in"]

OK, UNKNOWN, REFUSED = "ok", "unknown", "refused"

_SIGN_INS = Counter("aihub_sign_ins", "Sign-ins through the provider by how they ended.", ["outcome"])
_LOGOUTS = Counter("aihub_back_channel_logouts", "Logout tokens of the provider by what became of them.", ["outcome"])
_GROUPS_MISSING = Counter("aihub_groups_claim_missing", "Answers of the provider without a groups claim.")

for _outcome in (OK, *(reason.value for reason in SignInReason)):
    _SIGN_INS.labels(_outcome)
for _outcome in (OK, UNKNOWN, REFUSED):
    _LOGOUTS.labels(_outcome)


def signed_in(outcome: str) -> None:
    """A sign-in ended: `OK`, or the value of the SignInReason."""
    _SIGN_INS.labels(outcome).inc()


def logged_out(outcome: str) -> None:
    """A logout token came: `OK`, `UNKNOWN` or `REFUSED`."""
    _LOGOUTS.labels(outcome).inc()


def groups_missing() -> None:
    """The provider confirmed somebody and said nothing of groups."""
    _GROUPS_MISSING.inc()


@dataclass(frozen=True, slots=True)
class Standing:
    """How many identities there are, and how old the oldest is that somebody's server relies on.

    `oldest` is in seconds, None without any. An identity that was not asked about for as long as it may go on does not
    count: its person signs in again, or their server asks soon.
    """

    confirmed: int
    kept: int
    oldest: float | None

    @classmethod
    def of(
        cls, states: Mapping[str, IdentityState], with_server: Collection[str], max_age: float, now: float
    ) -> Standing:
        """By everybody's identity, the names of those who have a server, and the age (seconds) that one may have."""
        ages = {name: max(0.0, now - state.confirmed_at) for name, state in states.items()}
        counted = {name for name, age in ages.items() if age <= max_age or name in with_server}
        kept = sum(states[name].kept for name in counted)
        relied_on = (ages[name] for name in counted if states[name].kept or name in with_server)
        return cls(len(counted) - kept, kept, max(relied_on, default=None))


class Observed(Protocol):
    """The hub, as far as its metrics read it."""

    @property
    def provider(self) -> ProviderState | None:
        """Whom people sign in with; None where the policy file itself says who there is."""

    def standing(self, now: float) -> Standing:
        """The identities at `now` (unix seconds)."""


class _Collector(Collector):
    """Asks at each scrape; without a provider there is nothing to say."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.hub: Observed | None = None
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is collected depends on the hub."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The provider and the identities of this moment."""
        provider = self.hub.provider if self.hub is not None else None
        if self.hub is None or provider is None:
            return
        standing = self.hub.standing(self._now())
        people = GaugeMetricFamily(
            "aihub_identities",
            "People whose identity counts, by whether the provider confirmed it when it was last asked.",
            labels=["state"],
        )
        people.add_metric(["confirmed"], standing.confirmed)
        people.add_metric(["kept"], standing.kept)
        yield people
        yield _gauge(
            "aihub_identity_age_seconds",
            "Age of the oldest identity that a server relies on, or that goes on without an answer of the provider.",
            standing.oldest if standing.oldest is not None else 0.0,
        )
        if provider.last_answer is not None or provider.down_since is not None:
            yield _gauge(
                "aihub_provider_up",
                "Whether the provider answered when it was last asked.",
                provider.down_since is None,
            )
        if provider.last_answer is not None:
            yield _gauge(
                "aihub_provider_last_answer_timestamp_seconds", "When the provider last answered.", provider.last_answer
            )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


_collector = _Collector(time.time)
REGISTRY.register(_collector)


def observe(hub: Observed) -> None:
    """Read what is the case from `hub` from now on."""
    _collector.hub = hub
