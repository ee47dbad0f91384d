from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from decimal import Decimal

import pytest

from aihub.language import Language
from aihub.messages import Names
from aihub.parts import Contact, contact, error_box, idle_sentence, meter_groups, size_of
from aihub.profiles import Accelerator, Profile
from aihub.projects import IdleRules
from aihub.quota import Level, Quotas
from aihub.resources import Resources
from tests.page_samples import GPU, choices

ENGLISH = Language(zone=UTC)


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("help@example.org", "mailto:help@example.org"),
        ("https://example.org/ask", "https://example.org/ask"),
        ("javascript:alert(1)", ""),
        ("https://a b", ""),
        ("room 5", ""),
        ("a@b?subject=x", ""),
    ],
)
def test_a_contact_is_a_link_only_where_it_is_an_address(text: str, href: str) -> None:
    assert contact(text) == Contact(text, href)


def test_nobody_to_ask_is_none() -> None:
    assert contact("") is None
    assert error_box((), ENGLISH, Names(), {}) is None


@pytest.mark.parametrize(
    ("idle", "sentence"),
    [
        (IdleRules(), "Runs until you stop it."),
        (IdleRules(7200), "Stops after 2 h without use. Your files stay."),
        (IdleRules(None, 43200), "Stops after 12 h. Your files stay."),
        (IdleRules(7200, 43200), "Stops after 2 h without use, after 12 h at the latest. Your files stay."),
    ],
)
def test_idle_rules_are_said(idle: IdleRules, sentence: str) -> None:
    assert idle_sentence(idle, ENGLISH) == sentence


def test_the_size_of_a_server_is_what_it_may_use() -> None:
    profile = Profile(
        "x",
        requests=Resources({"cpu": Decimal("0.5"), "memory": 2**30}),
        limits=Resources({"cpu": 2, "memory": 2**31}),
        accelerator=Accelerator(GPU),
    )
    assert size_of(profile, 1, ENGLISH) == "2 CPU, 2 GiB memory, 1 nvidia.com/gpu"


def test_meters_have_a_bar_only_where_there_is_something_to_measure() -> None:
    offered = choices()[0]
    groups = {group.title: {meter.label: meter for meter in group.meters} for group in meter_groups([offered], ENGLISH)}
    servers = groups["Machine Learning 101"]["Servers"]
    assert (servers.text, servers.value, servers.maximum, servers.full_from) == ("18 of 40", "18", "40", "36")
    assert groups["Yours in all projects"]["Servers"].text == "1 of 3"
    unknown = meter_groups([replace(offered, usage=None)], ENGLISH)[0].meters[0]
    assert (unknown.text, unknown.maximum) == ("not known, limit 40", "")
    nothing = replace(offered, quotas=Quotas(project={GPU: Decimal(0)}))
    assert meter_groups([nothing], ENGLISH)[0].meters[0].maximum == ""


def test_a_level_without_a_quota_is_left_out_and_the_users_own_stands_once() -> None:
    groups = meter_groups(choices(), ENGLISH)
    assert [group.title for group in groups] == [
        "Machine Learning 101",
        "Yours in Machine Learning 101",
        "Yours in all projects",
    ]
    assert [group.id for group in meter_groups(choices(), ENGLISH, levels=(Level.USER,), prefix="x")] == ["x-user"]


def test_use_above_a_lowered_quota_fills_the_bar() -> None:
    offered = replace(choices()[0], quotas=Quotas(project={"servers": Decimal(10)}))
    meter = meter_groups([offered], ENGLISH)[0].meters[0]
    assert (meter.text, meter.value, meter.maximum) == ("18 of 10", "10", "10")
