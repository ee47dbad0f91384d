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
    "clientSecret",
    "hubDatabaseUrl",
    "databaseUrl",
)
"""The keys of the Secret, as the chart reads them.

Passwords belong to the method sharedPassword, clientSecret to the others; the last two are there with such a database.
"""

SHARED_PASSWORD = "sharedPassword"  # noqa: S105  # a method, no password
METHODS = (SHARED_PASSWORD, "keycloak", "oidc", "github")

_LONGEST = 4096

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


def _client_secret(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The content of the file `value`. Whoever gives the secret itself does not read it again."""
    if value is None:
        return None
    try:
        with click.open_file(value, encoding="utf-8") as file:
            secret = str(file.read(_LONGEST + 1)).strip()
    except (OSError, ValueError):
        raise click.BadParameter(
            "no such text file: give a file's name, or - and the secret on standard input"
        ) from None
    if not secret or len(secret) > _LONGEST or not secret.isprintable():
        raise click.BadParameter(f"the file must hold one line of up to {_LONGEST} characters: the secret")
    return secret


@click.command()
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default=SHARED_PASSWORD,
    show_default=True,
    help="How people sign in: signIn.method of the policy file.",
)
@click.option(
    "--client-secret",
    metavar="FILE",
    callback=_client_secret,
    help="File that holds the secret of the provider's client, and nothing else; - is standard input.",
)
@click.option("--public-client", is_flag=True, help="The provider's client has no secret.")
@click.option("--name", default="aihub-secrets", show_default=True, callback=_name, help="Name of the Secret.")
@click.option("--namespace", callback=_name, help="Namespace of the Secret; absent: the one that kubectl is set to.")
@click.option("--hub-database-url", callback=_address, help="PostgreSQL for JupyterHub's own tables.")
@click.option("--database-url", callback=_address, help="PostgreSQL for AIHub's tables.")
def secrets(
    method: str,
    client_secret: str | None,
    public_client: bool,
    name: str,
    namespace: str | None,
    hub_database_url: str | None,
    database_url: str | None,
) -> None:
    """Print a Kubernetes Secret with fresh passwords and keys for the Helm chart.

    Nothing is kept: a second run prints others. `kubectl create` refuses to replace a Secret that exists; new keys
    end all sessions. Passwords are made for --method sharedPassword only; the other methods need the secret that the
    provider gave their client.

    \b
    Examples:
      aihub secrets --namespace aihub | kubectl create -f -
      aihub secrets --name course-secrets --namespace course > secret.yaml
      aihub secrets --method keycloak --client-secret client.txt | kubectl create -f -
      pass show hub/client | aihub secrets --method github --client-secret - | kubectl create -f -
    """  # noqa: D301 - click reads the character \b
    data = new_secrets(method)
    if method != SHARED_PASSWORD:
        data["clientSecret"] = _of_client(method, client_secret, public=public_client)
    elif client_secret is not None or public_client:
        raise click.UsageError("a provider's client goes with --method keycloak, oidc or github")
    addresses = {"hubDatabaseUrl": hub_database_url, "databaseUrl": database_url}
    data.update({key: value for key, value in addresses.items() if value is not None})
    click.echo(manifest(name, namespace, data), nl=False)


def _of_client(method: str, secret: str | None, *, public: bool) -> str:
    if public:
        if secret is not None or method == "github":
            raise click.UsageError(f"{'GitHub knows no' if secret is None else 'a secret makes no'} public client")
        return ""
    if secret is None:
        raise click.UsageError("--client-secret is missing; --public-client if the provider's client has none")
    return secret


def new_secrets(method: str = SHARED_PASSWORD) -> dict[str, str]:
    """Fresh values for the keys that every release of a sign-in method needs, from the system's source of randomness.

    Cookie secret and crypt key are 32 bytes in hex, as JPY_COOKIE_SECRET and JUPYTERHUB_CRYPT_KEY want them.
    """
    keys = {key: random.token_hex(32) for key in ("proxyToken", "cookieSecret", "cryptKey")}
    if method != SHARED_PASSWORD:
        return keys
    words = ("".join(random.choice(ALPHABET) for _ in range(4)) for _ in range(4))
    return {**keys, "userPassword": "-".join(words), "adminPassword": random.token_urlsafe(32)}


def manifest(name: str, namespace: str | None, data: Mapping[str, str]) -> str:
    """The Secret as YAML. Every value is quoted, so that none is taken for a number."""
    passwords = "userPassword" in data
    read = f"kubectl get secret {name}{f' --namespace {namespace}' if namespace else ''}"
    lines = [
        "# Passwords and keys of AIHub. Whoever reads them is an admin: keep this out of version control.",
        "# Make it once, before the release:  kubectl create -f FILE",
        *([f"# Read a password later:  {read} -o go-template='{{{{.data.userPassword | base64decode}}}}'"] * passwords),
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
