"""The chart's models against its values.yaml, its schema, its templates and its page: no helm needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from aihub import __version__
from aihub.chart import Settings, Values, values_schema
from aihub.policyfile import PolicyDocument
from aihub.reference import values_reference
from tests.chart_rig import CHART, EVERYTHING, EXAMPLES, ROOT, at, paths, read

DEFAULTS = read(CHART / "values.yaml")
TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())

SETTINGS = """\
instance: aihub/hub
hubUrl: http://aihub-hub.aihub:8081
proxyApiUrl: http://aihub-proxy-api.aihub:8001
release: {name: hub, namespace: aihub}
userNamespace: aihub-users
"""


def model_paths(model: type[BaseModel], base: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that the models know, those of the policy file left out."""
    for name, info in model.model_fields.items():
        path = (*base, info.alias or name)
        inner = info.annotation
        if inner is PolicyDocument:
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from model_paths(inner, path)
        else:
            yield path


def own_paths(values: dict[str, Any], known: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The paths in `values` as far as the models tell them apart: what a map holds is its own business."""
    found = {path for path in paths(values) if path[0] != "aihub"}
    return {next((path[:n] for n in range(1, len(path)) if path[:n] in known), path) for path in found}


KNOWN = set(model_paths(Values))


def test_the_schema_is_current() -> None:
    written = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert written == values_schema(), "run `make docs`"
    assert written == values_schema(), "made a second time it is another"


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "values.md").read_text(encoding="utf-8") == values_reference(), (
        "run `make docs`"
    )


def test_the_schema_is_one_and_has_no_look_ahead() -> None:
    Draft202012Validator.check_schema(values_schema())
    assert "(?" not in json.dumps(values_schema())


def test_values_and_models_know_the_same_keys() -> None:
    assert own_paths(DEFAULTS, KNOWN) == KNOWN


def test_values_and_models_have_the_same_defaults() -> None:
    own = Values().model_dump(by_alias=True, exclude={"aihub"})
    assert own == {key: value for key, value in DEFAULTS.items() if key != "aihub"}


@pytest.mark.parametrize("path", [CHART / "values.yaml", EVERYTHING, *EXAMPLES], ids=lambda path: path.stem)
def test_schema_and_models_accept(path: Path) -> None:
    Values.model_validate(read(path))
    Draft202012Validator(values_schema()).validate(read(path))


def test_everything_sets_every_key() -> None:
    """What is on by default, or has no second value beside another key, is changed by test_chart_render."""
    left_out = KNOWN - own_paths(read(EVERYTHING), KNOWN)
    assert {".".join(path) for path in left_out} == {
        "cull.enabled",
        "global",
        "hub.db.pvc.accessModes",
        "hub.db.pvc.existingClaim",
        "hub.db.type",
        "hub.image.digest",
        "hub.networkPolicy.enabled",
        "hub.serviceAccount.create",
        "hub.serviceAccount.name",
        "ingress.pathType",
        "namespaces.create",
        "policyCheck.enabled",
        "prePuller.nodeSelector",
        "prePuller.pullImageStreams",
        "prePuller.resources.limits",
        "prePuller.resources.requests",
        "proxy.chp.image.tag",
        "proxy.chp.networkPolicy.enabled",
        "proxy.chp.resources.requests",
        "rbac.create",
        "singleuser.namespace",
        "singleuser.networkPolicy.egress.blocked",
        "singleuser.networkPolicy.egress.blocked6",
        "singleuser.networkPolicy.egress.outside",
        "singleuser.networkPolicy.enabled",
        "tests.enabled",
    }


def test_templates_name_only_keys_that_exist() -> None:
    policy = {(info.alias or name) for name, info in PolicyDocument.model_fields.items()}
    prefixes = {path[:n] for path in KNOWN for n in range(1, len(path) + 1)}
    for template in TEMPLATES:
        for match in re.finditer(r"\.Values((?:\.\w+)+)", template.read_text(encoding="utf-8")):
            path = tuple(match[1].strip(".").split("."))
            assert path in prefixes or path == ("aihub",) or (path[0] == "aihub" and path[1] in policy), (
                f"{template.name}: {match[0]}"
            )


def test_templates_neither_look_up_nor_guess() -> None:
    for template in TEMPLATES:
        words = set(re.findall(r"\w+", template.read_text(encoding="utf-8")))
        assert not words & {"lookup", "randAlphaNum", "randNumeric", "uuidv4", "now", "genCA", "genSelfSignedCert"}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"hubb": {}}, "hubb"),
        ({"hub": {"cookieSecret": "x"}}, "cookieSecret"),
        ({"hub": {"concurrentSpawnLimit": "many"}}, "concurrentSpawnLimit"),
        ({"hub": {"baseUrl": "jupyter"}}, "baseUrl"),
        ({"hub": {"db": {"type": "mysql"}}}, "type"),
        ({"hub": {"image": {"digest": "latest"}}}, "digest"),
        ({"hub": {"existingSecret": ""}}, "existingSecret"),
        ({"singleuser": {"namespace": "Students"}}, "namespace"),
        ({"singleuser": {"networkPolicy": {"egress": {"blocked": ["everything"]}}}}, "blocked"),
        ({"cull": {"every": 1}}, "every"),
        ({"aihub": {"projects": {"a b": {}}}}, "projects"),
        ({"aihub": {"home": {"size": "large"}}}, "size"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values_are_refused_by_schema_and_models(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Values.model_validate(values)
    assert any(key in str(error) for error in Draft202012Validator(values_schema()).iter_errors(values))


def test_durations_without_an_amount_are_refused_without_look_ahead() -> None:
    values = {"aihub": {"projects": {"a": {"idle": {"stopAfter": ""}}}}}
    assert list(Draft202012Validator(values_schema()).iter_errors(values))


def test_settings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(SETTINGS, encoding="utf-8")
    settings = Settings.read(file)
    assert (settings.instance, settings.release.name, settings.hub.base_url) == ("aihub/hub", "hub", "/")
    assert settings.singleuser.start_timeout == at(DEFAULTS, ("singleuser", "startTimeout"))


def test_settings_with_an_unknown_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(SETTINGS + "hubb: {}\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="hubb"):
        Settings.read(file)


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
