"""`aihub secrets`: a manifest that Kubernetes and the hub can use, and nobody can guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from aihub.cli import main
from aihub.cli_secrets import ALPHABET, SECRET_KEYS, manifest, new_secrets
from aihub.passwords import ADMIN_PASSWORD, USER_PASSWORD, Passwords

CLIENT_SECRET = "hunter2-Ünïcode"


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["secrets", *arguments], input=given)


def printed(*arguments: str, given: str | None = None) -> dict[str, Any]:
    result = run(*arguments, given=given)
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
    assert tuple(found["stringData"]) == tuple(key for key in SECRET_KEYS if key != "clientSecret")
    assert found["stringData"]["hubDatabaseUrl"] == urls[1]
    assert found["stringData"]["databaseUrl"] == urls[3]


# --- the provider's client -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["keycloak", "oidc", "github"])
@pytest.mark.parametrize("text", [CLIENT_SECRET, f"{CLIENT_SECRET}\n", f" {CLIENT_SECRET}\r\n"], ids=repr)
@pytest.mark.parametrize("place", ["file", "standard input"])
def test_with_a_provider_there_is_its_clients_secret_and_no_password(
    method: str, text: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret.txt"
    path.write_text(text, encoding="utf-8", newline="")
    where, given = (str(path), None) if place == "file" else ("-", text)
    result = run("--method", method, "--client-secret", where, given=given)
    data = yaml.safe_load(result.stdout)["stringData"]
    assert tuple(data) == ("proxyToken", "cookieSecret", "cryptKey", "clientSecret")
    assert data["clientSecret"] == CLIENT_SECRET
    assert "assword" not in result.stdout.replace("# Passwords and keys", "")


@pytest.mark.parametrize("method", ["keycloak", "oidc"])
def test_a_public_client_has_an_empty_secret(method: str) -> None:
    assert printed("--method", method, "--public-client")["stringData"]["clientSecret"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--method", "oidc"], "--client-secret is missing", id="none"),
        pytest.param(["--method", "github", "--public-client"], "GitHub knows no public client", id="public GitHub"),
        pytest.param(["--method", "oidc", "--public-client", "--client-secret", "-"], "no public client", id="both"),
        pytest.param(["--client-secret", "-"], "goes with --method keycloak", id="without a provider"),
        pytest.param(["--public-client"], "goes with --method keycloak", id="public without a provider"),
        pytest.param(["--method", "saml"], "'saml' is not one of", id="no method"),
        pytest.param(["--method", "oidc", "--client-secret", "/"], "no such text file", id="a folder"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], words: str) -> None:
    result = run(*arguments, given="x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


@pytest.mark.parametrize(
    "given", ["", "\n", "two\nlines", "a\x1b[2Jb", "s" * 4097, CLIENT_SECRET * 400], ids=lambda text: repr(text)[:9]
)
def test_what_can_be_no_secret_is_refused_and_not_shown(given: str) -> None:
    result = run("--method", "oidc", "--client-secret", "-", given=given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the file must hold one line" in result.stderr
    assert CLIENT_SECRET not in result.stderr


def test_a_secret_that_is_given_instead_of_a_file_is_not_shown() -> None:
    result = run("--method", "oidc", "--client-secret", CLIENT_SECRET)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "give a file's name" in result.stderr
    assert CLIENT_SECRET not in result.stderr


# --- names and values ------------------------------------------------------------------------------------------------


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
