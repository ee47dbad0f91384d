"""The state of sign-in, for admins: what the hub knows already of its provider, and of whose identity is how old."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tornado import web

from aihub.handlers.base import PageHandler
from aihub.signinstatus import CheckFacts, PersonFacts, StatusFacts, sign_in_status

__all__ = ["routes"]


class StatusPage(PageHandler):
    """The page. It asks nobody: a provider that is silent does not keep admins from reading so."""

    @web.authenticated
    async def get(self) -> None:
        """Show it to admins."""
        if not self.reader.admin:
            raise web.HTTPError(403, self.language.say("This page is for admins."))
        page = sign_in_status(self._facts(), self.language, now=datetime.now(UTC))
        await self.show("aihub/sign_in_status.html", page)

    def _facts(self) -> StatusFacts:
        sign_in, state, file = self.aihub.sign_in, self.aihub.provider, self.aihub.policy_file.loaded
        identities = self.aihub.identities
        without = identities.no_groups_claim
        people = tuple(
            PersonFacts(name, _time(each.confirmed_at), each.kept, name in without) for name, each in identities.items()
        )
        return StatusFacts(
            provider=sign_in.provider,
            public_url=sign_in.public_url,
            max_age=sign_in.rules.max_age,
            last_answer=_known_time(state.last_answer) if state else None,
            down_since=_known_time(state.down_since) if state else None,
            checks=tuple(CheckFacts(each.name, each.state.value, each.detail, each.help) for each in self.aihub.checks),
            people=people,
            patterns=bool(file.group_patterns),
            projects=tuple(
                each for name, each in self.aihub.policy.projects.items() if name not in file.policy.projects
            ),
            warnings=self.aihub.group_warnings,
        )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _known_time(at: float | None) -> datetime | None:
    return None if at is None else _time(at)


def routes() -> list[tuple[str, Any]]:
    """Under `aihub/`."""
    return [(r"/aihub/sign-in", StatusPage)]
