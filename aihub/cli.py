"""The command `aihub`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aihub import __version__
from aihub.cli_images import images
from aihub.cli_people import people
from aihub.cli_policy import check, print_findings, schema, why
from aihub.cli_secrets import secrets

# Imports of what a command needs stand inside it: `aihub version` must not wait for JupyterHub to load.
# ruff: noqa: PLC0415


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The JupyterHub for AI courses and labs."""


main.add_command(check)
main.add_command(images)
main.add_command(people)
main.add_command(schema)
main.add_command(secrets)
main.add_command(why)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port of the pages.")
@click.option("--ip", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".aihub"),
    show_default=True,
    help="Folder for everything the hub keeps: databases, homes, environments, log.",
)
@click.option(
    "--config",
    "policy",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    envvar="AIHUB_CONFIG",
    help="Policy file or folder; may be given several times. Without it: the demo policy.",
)
def run(port: int, ip: str, state_dir: Path, policy: tuple[Path, ...]) -> None:
    """Run a hub on this machine, for evaluation, demonstration and development.

    Every user server is a process under your own account, so the hub listens on loopback only.

    \b
    Examples:
      aihub run
      aihub run --port 8080 --state-dir ~/aihub
      aihub run --config course.yaml
    """  # noqa: D301 - click reads the character \b
    from aihub.errors import PolicyFileError
    from aihub.imports import skip_iri_grammar
    from aihub.preflight import CannotRun

    skip_iri_grammar()
    from aihub.run import run as run_hub
    from aihub.serve import HubFailed

    try:
        run_hub(ip=ip, port=port, state_dir=state_dir, policy=policy, say=click.echo)
    except PolicyFileError as error:
        print_findings(error.findings, err=True)
        click.echo("aihub run: the policy cannot be used, nothing was started", err=True)
        sys.exit(2)
    except CannotRun as error:
        click.echo(f"aihub run: {error}", err=True)
        sys.exit(2)
    except HubFailed as error:
        click.echo(f"aihub run: {error}", err=True)
        sys.exit(1)


@main.command()
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=Path("/etc/aihub/settings/settings.yaml"),
    show_default=True,
    envvar="AIHUB_SETTINGS",
    help="What the Helm chart tells the hub.",
)
@click.option(
    "--policy",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    default=[Path("/etc/aihub/policy")],
    show_default=True,
    envvar="AIHUB_CONFIG",
    help="Policy file or folder; may be given several times.",
)
@click.option(
    "--config",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    default=[Path("/etc/aihub/config.d")],
    show_default=True,
    help="Python file for JupyterHub, or a folder of them, read after AIHub's own settings.",
)
def hub(settings: Path, policy: tuple[Path, ...], files: tuple[Path, ...]) -> None:
    """Run the hub in a pod of a cluster. The Helm chart does this.

    \b
    Example:
      aihub hub --settings settings.yaml --policy policy.yaml
    """  # noqa: D301 - click reads the character \b
    import yaml
    from pydantic import ValidationError

    from aihub.chart import Settings
    from aihub.clusterhub import configured, serve
    from aihub.config import load
    from aihub.errors import PolicyFileError

    try:
        told = Settings.read(settings)
        load(policy)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        click.echo(f"aihub hub: {settings} cannot be used: {error}", err=True)
        sys.exit(2)
    except PolicyFileError as error:
        print_findings(error.findings, err=True)
        click.echo("aihub hub: the policy cannot be used, the hub was not started", err=True)
        sys.exit(2)
    scripts = [script for path in files for script in ([path] if path.is_file() else sorted(path.glob("*.py")))]
    serve(told, configured(told, policy, tuple(scripts)))


if __name__ == "__main__":
    main()
