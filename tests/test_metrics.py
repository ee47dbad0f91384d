"""What Prometheus reads of sign-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY, generate_latest

from aihub import metrics
from aihub.identities import IdentityState
from aihub.identity import SignInReason
from aihub.metrics import Standing

CONFIRMED = {"ada": IdentityState(900.0), "bob": IdentityState(500.0)}
KEPT = {"cyd": IdentityState(700.0, kept=True)}


@dataclass
class Provider:
    down_since: float | None = None
    last_answer: float | None = None


@dataclass
class Hub:
    provider: Provider | None
    states: Mapping[str, IdentityState] = field(default_factory=dict)

    def standing(self, now: float) -> Standing:
        return Standing.of(self.states, {"ada"}, 10**12, now)


@pytest.fixture(autouse=True)
def _nobody_observed() -> Iterator[None]:
    yield
    metrics.observe(Hub(None))


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.parametrize(
    ("states", "with_server", "max_age", "expected"),
    [
        pytest.param({}, (), 1000, Standing(0, 0, None), id="nobody"),
        pytest.param(CONFIRMED, (), 1000, Standing(2, 0, None), id="no-server-relies-on-it"),
        pytest.param(CONFIRMED, ("ada",), 1000, Standing(2, 0, 100.0), id="of-who-has-a-server"),
        pytest.param(CONFIRMED, ("ada", "bob"), 1000, Standing(2, 0, 500.0), id="the-oldest"),
        pytest.param({**CONFIRMED, **KEPT}, (), 1000, Standing(2, 1, 300.0), id="kept-without-an-answer"),
        pytest.param({**CONFIRMED, **KEPT}, (), 400, Standing(1, 1, 300.0), id="too-old-counts-no-more"),
        pytest.param(CONFIRMED, ("bob",), 400, Standing(2, 0, 500.0), id="too-old-with-a-server"),
        pytest.param({"ada": IdentityState(2000.0)}, ("ada",), 1000, Standing(1, 0, 0.0), id="clock-was-set-back"),
        pytest.param(CONFIRMED, ("eve",), 1000, Standing(2, 0, None), id="of-a-server-nothing-is-known"),
    ],
)
def test_the_identities_of_one_moment(
    states: Mapping[str, IdentityState], with_server: tuple[str, ...], max_age: float, expected: Standing
) -> None:
    assert Standing.of(states, with_server, max_age, 1000.0) == expected


def test_without_a_provider_there_is_nothing_to_say() -> None:
    metrics.observe(Hub(None))
    assert value("aihub_identity_age_seconds") is None
    assert value("aihub_provider_up") is None


@pytest.mark.parametrize(
    ("provider", "up", "last"),
    [
        pytest.param(Provider(), None, None, id="not-asked-yet"),
        pytest.param(Provider(None, 5.0), 1.0, 5.0, id="answers"),
        pytest.param(Provider(7.0, 5.0), 0.0, 5.0, id="silent"),
        pytest.param(Provider(7.0), 0.0, None, id="never-answered"),
    ],
)
def test_how_the_provider_does(provider: Provider, up: float | None, last: float | None) -> None:
    metrics.observe(Hub(provider))
    assert value("aihub_provider_up") == up
    assert value("aihub_provider_last_answer_timestamp_seconds") == last


def test_counts_of_people_and_no_names() -> None:
    metrics.observe(Hub(Provider(None, 5.0), {**CONFIRMED, **KEPT}))
    assert value("aihub_identities", state="confirmed") == 2
    assert value("aihub_identities", state="kept") == 1
    age = value("aihub_identity_age_seconds")
    assert age is not None
    assert age > 10**9
    shown = generate_latest().decode()
    assert not any(f'"{name}"' in shown for name in ("ada", "bob", "cyd"))


def test_every_outcome_is_there_before_it_happens() -> None:
    for outcome in (metrics.OK, *SignInReason):
        assert value("aihub_sign_ins_total", outcome=str(outcome)) is not None
    for outcome in (metrics.OK, metrics.UNKNOWN, metrics.REFUSED):
        assert value("aihub_back_channel_logouts_total", outcome=outcome) is not None


def test_what_happens_is_counted() -> None:
    def counts() -> list[float]:
        return [
            value("aihub_sign_ins_total", outcome="not-allowed") or 0,
            value("aihub_back_channel_logouts_total", outcome="refused") or 0,
            value("aihub_groups_claim_missing_total") or 0,
        ]

    before = counts()
    metrics.signed_in(SignInReason.NOT_ALLOWED.value)
    metrics.logged_out(metrics.REFUSED)
    metrics.groups_missing()
    assert counts() == [each + 1 for each in before]
