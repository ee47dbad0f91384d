"""What the hub knows of everybody's identity."""

from __future__ import annotations

from aihub.identities import RECENTLY, Identities, IdentityState


def test_a_good_answer_counts_from_its_time() -> None:
    identities = Identities()
    identities.confirmed("ada", 100.0, groups_missing=True)
    assert identities["ada"] == IdentityState(100.0, kept=False, groups_missing=True)
    identities.confirmed("ada", 200.0)
    assert dict(identities) == {"ada": IdentityState(200.0)}


def test_without_an_answer_the_last_good_one_goes_on_with_its_age() -> None:
    identities = Identities()
    identities.confirmed("ada", 100.0, groups_missing=True)
    identities.kept("ada")
    identities.kept("ada", 50.0)
    assert identities["ada"] == IdentityState(100.0, kept=True, groups_missing=True)
    identities.confirmed("ada", 300.0)
    assert not identities["ada"].kept


def test_a_hub_that_has_just_started_is_told_of_the_last_good_answer() -> None:
    identities = Identities(lambda: 500.0)
    identities.kept("ada", 50.0)
    identities.kept("bob")
    assert dict(identities) == {"ada": IdentityState(50.0, kept=True), "bob": IdentityState(500.0, kept=True)}


def test_that_groups_were_missing_is_known_when_somebody_was_signed_out_for_it() -> None:
    identities = Identities()
    identities.confirmed("ada", 100.0, groups_missing=True)
    identities.ended("ada")
    assert (identities.get("ada"), "ada" in identities.without_groups) == (None, True)
    identities.confirmed("ada", 200.0)
    assert not identities.without_groups


def test_no_groups_claim_is_no_groups_once_somebody_else_has_one_later() -> None:
    """Keycloak sends none for somebody in no group, as if its client had no mapper."""
    identities = Identities()
    identities.confirmed("teacher", 100.0)
    identities.confirmed("ada", 150.0, groups_missing=True)
    assert identities.without_groups == {"ada"}
    identities.confirmed("teacher", 200.0)
    assert identities.without_groups == frozenset()
    identities.confirmed("ada", 250.0, groups_missing=True)
    assert identities.without_groups == {"ada"}


def test_admins_hear_of_it_when_nobody_had_a_groups_claim_for_a_while() -> None:
    identities = Identities()
    identities.confirmed("ada", 100.0, groups_missing=True)
    assert identities.no_groups_claim == {"ada"}
    identities.confirmed("teacher", 200.0)
    identities.confirmed("ada", 300.0, groups_missing=True)
    assert identities.no_groups_claim == frozenset()
    identities.confirmed("ada", 200.0 + RECENTLY, groups_missing=True)
    assert identities.no_groups_claim == {"ada"}


def test_an_identity_that_ended_is_forgotten() -> None:
    identities = Identities()
    identities.confirmed("ada", 100.0)
    identities.ended("ada")
    identities.ended("nobody")
    assert identities.get("ada") is None
    assert len(identities) == 0
