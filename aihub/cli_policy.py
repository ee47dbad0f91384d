"""The commands on the policy file: `aihub check`, `aihub schema`, `aihub why`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aihub.config import Loaded
    from aihub.findings import Finding
    from aihub.live import Check
    from aihub.policy import Judgement, Policy
    from aihub.projects import Person

# Imports of what a command needs stand inside it: `aihub version` must not wait for pydantic to load.
# ruff: noqa: PLC0415

__all__ = ["check", "print_findings", "schema", "why"]

FINE, FOUND, UNREADABLE = 0, 1, 2


@click.command()
@click.argument("files", metavar="FILE…", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="What to print; github makes annotations of a workflow run.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Ask the provider of signIn too: is it there, does it accept this hub, does it send groups?",
)
@click.option("--base-url", default="/", show_default=True, help="With --live: the hub's path below signIn.publicUrl.")
def check(files: tuple[Path, ...], form: str, base_url: str, *, live: bool) -> None:
    """Check a policy file or folder; several are merged into one policy.

    Everything that is wrong is printed at once, with its place and what to do. Exit status: 0 when the policy can be
    used (warnings allowed), 1 when it cannot or a live check failed, 2 when a file cannot be read.

    With --live the environment has to be the hub's: AIHUB_CLIENT_SECRET_FILE (or AIHUB_CLIENT_SECRET) and
    JUPYTERHUB_CRYPT_KEY. AIHUB_TEST_USER and AIHUB_TEST_PASSWORD_FILE name a test user, whose groups are looked at.

    \b
    Examples:
      aihub check policy.yaml
      aihub check config/base config/term.yaml
      aihub check --live policy.yaml
      aihub check --format json policy.yaml | jq -r '.findings[].message'
    """  # noqa: D301 - click reads the character \b
    from aihub.config import attempt

    loaded = attempt(files)
    asked = _ask_provider(loaded, base_url) if live and loaded.usable else None
    printers = {"text": _print_text, "json": _print_json, "github": _print_github}
    printers[form](loaded, asked)
    sys.exit(_status(loaded) or (FOUND if any(each.state == "failed" for each in asked or ()) else FINE))


def _ask_provider(loaded: Loaded, base_url: str) -> tuple[Check, ...]:
    import asyncio
    import time

    from aihub.live import checks
    from aihub.provider import secret_from

    public, base = loaded.sign_in.public_url, base_url.strip("/")
    redirect_uri = f"{public}{f'/{base}' if base else ''}/hub/oauth_callback" if public else ""
    return asyncio.run(checks(loaded.sign_in, secret_from(), redirect_uri, time.time()))


def _status(loaded: Loaded) -> int:
    from aihub.config import UNREADABLE as UNREADABLE_CODE

    if any(finding.code == UNREADABLE_CODE for finding in loaded.findings):
        return UNREADABLE
    return FINE if loaded.usable else FOUND


def _print_text(loaded: Loaded, asked: tuple[Check, ...] | None) -> None:
    print_findings(loaded.findings)
    for each in asked or ():
        _print_check(each)
    if asked == ():
        _say(f"signIn.method is {loaded.sign_in.method}: there is no provider to ask.")
    errors, warnings = _counts(loaded)
    policy = loaded.policy
    if errors or warnings:
        _say(f"{_number(errors, 'error')}, {_number(warnings, 'warning')}")
    else:
        contents = (
            _number(len(policy.projects), "project"),
            _number(len(policy.catalog.streams), "image stream"),
            _number(len(policy.profiles), "profile"),
        )
        _say(f"{click.style('The policy is fine', fg='green')}: {', '.join(contents)}.")


_COLOURS = {"passed": "green", "failed": "red", "warning": "yellow", "notChecked": None}


def _print_check(check: Check) -> None:
    words = "not checked" if check.state == "notChecked" else check.state.value
    detail = (
        f", {_inert(check.detail)}" if check.state == "notChecked" else f": {_inert(check.detail)}" * bool(check.detail)
    )
    _say(f"{check.name}: {click.style(words, fg=_COLOURS[check.state.value], bold=True)}{detail}")
    if check.help:
        _say(f"  {_inert(check.help)}")


def print_findings(findings: Iterable[Finding], *, err: bool = False) -> None:
    """Print every finding with its place, its value and what to do, to standard error if `err`."""
    for finding in findings:
        for line in _finding_lines(finding):
            _say(line, err=err)


def _finding_lines(finding: Finding) -> Iterator[str]:
    colour = "red" if finding.severity == "error" else "yellow"
    message = _inert(finding.message)
    yield f"{_inert(finding.where)}: {click.style(finding.severity.value, fg=colour, bold=True)}: {message}"
    if finding.path or finding.value:
        yield f"  {_inert(' = '.join(part for part in (finding.path, finding.value) if part))}"
    if finding.suggestion:
        yield f"  Did you mean {click.style(_inert(finding.suggestion), fg='green')}?"
    if finding.help:
        yield f"  {_inert(finding.help)}"


def _print_json(loaded: Loaded, asked: tuple[Check, ...] | None) -> None:
    errors, warnings = _counts(loaded)
    findings = [finding.as_dict() for finding in loaded.findings]
    document: dict[str, object] = {"errors": errors, "warnings": warnings, "findings": findings}
    if asked is not None:
        document["checks"] = [each.as_dict() for each in asked]
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_github(loaded: Loaded, asked: tuple[Check, ...] | None) -> None:
    """Workflow commands, https://docs.github.com/actions/reference/workflow-commands-for-github-actions."""
    for finding in loaded.findings:
        place = {"file": finding.file, "line": finding.line, "col": finding.column, "title": finding.code}
        properties = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in place.items() if value)
        meant = f" Did you mean {finding.suggestion}?" if finding.suggestion else ""
        text = f"{finding.message}.{meant} {finding.help}".rstrip()
        click.echo(f"::{finding.severity.value} {properties}::{_escaped(_inert(text))}")
    for each in asked or ():
        level = {"failed": "error", "warning": "warning"}.get(each.state.value, "notice")
        text = _inert(f"{each.name}: {each.state.value} {each.detail}. {each.help}".rstrip())
        click.echo(f"::{level} title=live::{_escaped(text)}")


def _escaped(text: str, more: str = "") -> str:
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _counts(loaded: Loaded) -> tuple[int, int]:
    errors = sum(finding.severity == "error" for finding in loaded.findings)
    return errors, len(loaded.findings) - errors


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


@click.command()
def schema() -> None:
    """Print the JSON Schema of the policy file, for editors and other tools.

    \b
    Examples:
      aihub schema > policy.schema.json
      (then, as the file's first line: # yaml-language-server: $schema=policy.schema.json)
    """  # noqa: D301 - click reads the character \b
    from aihub.config import schema as policy_schema

    click.echo(json.dumps(policy_schema(), indent=2, ensure_ascii=False))


@click.command()
@click.argument("person", metavar="PERSON")
@click.option("--group", "groups", multiple=True, help="A group of the person; may be given several times.")
@click.option("--admin", is_flag=True, help="The person is an admin of the hub.")
@click.option("--project", help="Project; absent: the person's only one.")
@click.option("--image", help="Image as stream:tag; absent: the project's default.")
@click.option("--profile", help="Profile; absent: the project's default.")
@click.option("--accelerator-count", type=int, help="How many accelerators; absent: the profile's first count.")
@click.option(
    "--config",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    envvar="AIHUB_CONFIG",
    help="Policy file or folder; may be given several times. Without it: the demo policy.",
)
def why(
    person: str,
    groups: tuple[str, ...],
    admin: bool,
    files: tuple[Path, ...],
    **asked: str | int | None,
) -> None:
    """Explain what PERSON may start: every rule, passed or failed.

    Only the policy is asked: nothing counts as in use, and every machine as large enough. A person whom the policy
    file lists has their own groups unless --group gives others. Exit status: 0 when the start is admitted, 1 when it is
    refused, 2 when the policy cannot be used.

    \b
    Examples:
      aihub why student --project ml101 --profile gpu
      aihub why ada --group /courses/ml101/students --project ml101 --image pytorch:2.9 --config policy.yaml
    """  # noqa: D301 - click reads the character \b
    from aihub.config import load
    from aihub.errors import PolicyFileError
    from aihub.facts import Facts
    from aihub.groupprojects import with_group_projects
    from aihub.machine import demo_policy
    from aihub.policy import why as judgements_on

    try:
        loaded = load(files or (demo_policy(),))
    except PolicyFileError as error:
        print_findings(error.findings, err=True)
        sys.exit(UNREADABLE)
    somebody = _person(loaded, person, groups, admin=admin)
    options = {_KEYS[key]: value for key, value in asked.items() if value is not None}
    policy, _ = with_group_projects(loaded.policy, loaded.group_patterns, somebody.groups)
    judgements = judgements_on(policy, somebody, options, Facts(as_of=datetime.now(UTC)))
    _print_judgements(policy, somebody, judgements)
    sys.exit(FOUND if any(judgement.failed for judgement in judgements) else FINE)


_KEYS = {"project": "project", "image": "image", "profile": "profile", "accelerator_count": "acceleratorCount"}


def _person(loaded: Loaded, name: str, groups: tuple[str, ...], *, admin: bool) -> Person:
    from aihub.projects import Person, normalised_user

    normalised = normalised_user(name)
    listed = loaded.sign_in.listed.get(normalised)
    own = listed.groups if listed is not None and not groups else frozenset(groups)
    admin = admin or (listed is not None and listed.admin) or loaded.sign_in.admins.includes(Person(normalised, own))
    return Person(normalised, own, admin)


def _print_judgements(policy: Policy, person: Person, judgements: Iterable[Judgement]) -> None:
    from aihub.facts import Facts
    from aihub.language import Language
    from aihub.messages import names_of, plain, rule_name
    from aihub.policy import choices_for

    language = Language()
    names = names_of(choices_for(policy, person, Facts(as_of=datetime.now(UTC))), language)
    for judgement in judgements:
        mark, colour = (
            ("–", None) if judgement.verdict is None else ("✗", "red") if judgement.failed else ("✓", "green")
        )
        _say(f"{click.style(mark, fg=colour)} {rule_name(judgement.rule, language)}")
        if judgement.verdict is not None and judgement.verdict.refusal is not None:
            refusal, state = judgement.verdict.refusal, judgement.verdict.state.value
            _say(f"    {state}, {refusal.reason.value}: {_inert(plain(refusal, language, names))}")
    first = next((each for each in judgements if each.failed), None)
    _say(f"{person.name}: {'admitted' if first is None else 'refused'}")


def _say(text: str, *, err: bool = False) -> None:
    """One line, in colour on a terminal unless NO_COLOR is set (https://no-color.org)."""
    click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)


def _inert(text: str) -> str:
    """`text` without what a terminal would act on: control and bidirectional characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
