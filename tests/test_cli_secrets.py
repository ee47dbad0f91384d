"""`aihub secrets`: a manifest that Kubernetes and the hub can use, and nobody can guess."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from aihub.cli import main
from aihub.cli_secrets import ALPHABET, SECRET_KEYS, manifest, new_secrets
from aihub.passwords import ADMIN_PASSWORD, USER_PASSWORD, Passwords


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["secrets", *arguments])


def printed(*arguments: str) -> dict[str, Any]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = yaml.safe_load(result.stdout)
    return found


def test_a_manifest_with_every_key() -> None:
    found = printed()
    data = found.pop("stringData")
    assert found == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aihub-secrets"}, "type": "Opaque"}
    assert tuple(data) == SECRET_KEYS[:5]
    assert all(isinstance(value, str) for value in data.values())


def test_keys_are_of_the_kind_that_the_hub_wants() -> None:
    data = printed()["stringData"]
    for key in ("proxyToken", "cookieSecret", "cryptKey"):
        assert len(bytes.fromhex(data[key])) == 32
    Passwords.of({USER_PASSWORD: data["userPassword"], ADMIN_PASSWORD: data["adminPassword"]})
    assert len(data["userPassword"]) == 19
    assert set(data["userPassword"]) <= {*ALPHABET, "-"}
    assert len(data["adminPassword"]) == 43


def test_no_two_values_are_the_same() -> None:
    values = [value for _ in range(20) for value in new_secrets().values()]
    assert len(set(values)) == len(values)


def test_name_namespace_and_databases_are_those_that_were_given() -> None:
    urls = ["--hub-database-url", "postgresql+psycopg://a:p%40ss@db/hub", "--database-url", "postgresql://b:'\"@db/é"]
    found = printed("--name", "a.b-1", "--namespace", "course", *urls)
    assert found["metadata"] == {"name": "a.b-1", "namespace": "course"}
    assert tuple(found["stringData"]) == SECRET_KEYS
    assert found["stringData"]["hubDatabaseUrl"] == urls[1]
    assert found["stringData"]["databaseUrl"] == urls[3]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--name", "Upper"], id="capitals"),
        pytest.param(["--name", "a\nb"], id="line break"),
        pytest.param(["--name", ""], id="empty"),
        pytest.param(["--name", "a..b"], id="empty part"),
        pytest.param(["--name", "a" * 254], id="too long"),
        pytest.param(["--namespace", "a.b"], id="dot in a namespace"),
        pytest.param(["--namespace", "-a"], id="begins with a hyphen"),
        pytest.param(["--namespace", "a" * 64], id="too long a namespace"),
        pytest.param(["--database-url", "/srv/db"], id="no address"),
        pytest.param(["--database-url", "postgresql://a\u2028b/c"], id="not printable"),
    ],
)
def test_what_is_no_name_or_address_is_refused(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert not result.stdout


@given(st.text().filter(str.isprintable))
def test_values_come_out_of_yaml_as_they_went_in(value: str) -> None:
    assert yaml.safe_load(manifest("n", "ns", {"key": value}))["stringData"] == {"key": value}


@pytest.mark.parametrize("value", ["1234", "1e9", "0x10", "null", "yes", "2026-11-22"])
def test_no_value_is_taken_for_something_else_than_text(value: str) -> None:
    assert yaml.safe_load(manifest("123", None, {"key": value})) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "123"},
        "type": "Opaque",
        "stringData": {"key": value},
    }
