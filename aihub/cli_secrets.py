"""The command `aihub secrets`."""

from __future__ import annotations

import json
import re
import secrets as random
from collections.abc import Mapping

import click

__all__ = ["SECRET_KEYS", "secrets"]

SECRET_KEYS = (
    "proxyToken",
    "cookieSecret",
    "cryptKey",
    "userPassword",
    "adminPassword",
    "hubDatabaseUrl",
    "databaseUrl",
)
"""The keys of the Secret, as the chart reads them; the last two only where there is such a database."""

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_NAMES = {"--name": (re.compile(rf"{_LABEL}(\.{_LABEL})*"), 253), "--namespace": (re.compile(_LABEL), 63)}

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1: people read the password of everybody from a board and type it."""


def _name(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    option = parameter.opts[0]
    pattern, longest = _NAMES[option]
    if value is not None and (len(value) > longest or not pattern.fullmatch(value)):
        raise click.BadParameter(f"{value!r} is no name in Kubernetes")
    return value


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value.isprintable() and re.match(r"[a-z0-9+]+://", value)):
        raise click.BadParameter("write it as postgresql+psycopg://user:password@host/database")
    return value


@click.command()
@click.option("--name", default="aihub-secrets", show_default=True, callback=_name, help="Name of the Secret.")
@click.option("--namespace", callback=_name, help="Namespace of the Secret; absent: the one that kubectl is set to.")
@click.option("--hub-database-url", callback=_address, help="PostgreSQL for JupyterHub's own tables.")
@click.option("--database-url", callback=_address, help="PostgreSQL for AIHub's tables.")
def secrets(name: str, namespace: str | None, hub_database_url: str | None, database_url: str | None) -> None:
    """Print a Kubernetes Secret with fresh passwords and keys for the Helm chart.

    Nothing is kept: a second run prints others. `kubectl create` refuses to replace a Secret that exists; new keys
    end all sessions.

    \b
    Examples:
      aihub secrets --namespace aihub | kubectl create -f -
      aihub secrets --name course-secrets --namespace course > secret.yaml
    """  # noqa: D301 - click reads the character \b
    data = new_secrets()
    addresses = {"hubDatabaseUrl": hub_database_url, "databaseUrl": database_url}
    data.update({key: value for key, value in addresses.items() if value is not None})
    click.echo(manifest(name, namespace, data), nl=False)


def new_secrets() -> dict[str, str]:
    """Fresh values for the keys that every release needs, from the system's source of randomness.

    Cookie secret and crypt key are 32 bytes in hex, as JPY_COOKIE_SECRET and JUPYTERHUB_CRYPT_KEY want them.
    """
    words = ("".join(random.choice(ALPHABET) for _ in range(4)) for _ in range(4))
    return {
        "proxyToken": random.token_hex(32),
        "cookieSecret": random.token_hex(32),
        "cryptKey": random.token_hex(32),
        "userPassword": "-".join(words),
        "adminPassword": random.token_urlsafe(32),
    }


def manifest(name: str, namespace: str | None, data: Mapping[str, str]) -> str:
    """The Secret as YAML. Every value is quoted, so that none is taken for a number."""
    read = f"kubectl get secret {name}{f' --namespace {namespace}' if namespace else ''}"
    lines = [
        "# Passwords and keys of AIHub. Whoever reads them is an admin: keep this out of version control.",
        "# Make it once, before the release:  kubectl create -f FILE",
        f"# Read a password later:  {read} -o go-template='{{{{.data.userPassword | base64decode}}}}'",
        "apiVersion: v1",
        "kind: Secret",
        "metadata:",
        f"  name: {_quoted(name)}",
        *([f"  namespace: {_quoted(namespace)}"] if namespace else []),
        "type: Opaque",
        "stringData:",
        *(f"  {key}: {_quoted(value)}" for key, value in data.items()),
    ]
    return "".join(f"{line}\n" for line in lines)


def _quoted(value: str) -> str:
    # A string of JSON is one of YAML too, as long as it is printable.
    return json.dumps(value, ensure_ascii=False)
