"""A start, as every spawner of AIHub does it: resolve, admit, carry out, and give back what is not used.

`LaunchMixin` decides nothing itself: it asks the policy and the ledger through `AIHub`, hands the plan to the spawner
below it, and makes one kind of exception of whatever goes wrong.
"""

from __future__ import annotations

import asyncio
import html
import secrets
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyterhub.orm import APIToken
from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import maybe_future

from aihub import messages
from aihub.app import Admission, AIHub, Ending
from aihub.errors import Reason, Refusal, RefusedError
from aihub.language import Language
from aihub.messages import Names

__all__ = ["STAGES", "LaunchMixin", "Progress", "SpawnRefused", "adopted"]

STAGES = ("admit", "storage", "image", "start", "ready")
"""The stages of a start on one machine, as the progress page names them."""


def adopted(users: Iterable[Any]) -> set[str]:
    """Ids of the admissions of servers that these users of the hub have from the last hub."""
    spawners = (spawner for user in users for spawner in user.spawners.values())
    return {each.launched.entry.id for each in spawners if each.server and each.launched}


class SpawnRefused(SpawnException):
    """The one exception that leaves a start. Carries what each way out of the hub shows (upstream.md 1, 5)."""

    def __init__(self, refusal: Refusal, language: Language | None = None, names: Names | None = None) -> None:
        """`language` and `names` are the reader's; English and ids without."""
        text = messages.plain(refusal, language, names)
        super().__init__(text, reason=refusal.reason.value, status_code=messages.status_of(refusal.reason))
        self.refusal = refusal
        self.jupyterhub_message = text
        self.jupyterhub_html_message = html.escape(text)
        self.headers = {"AIHub-Reason": refusal.reason.value}


@dataclass(slots=True)
class Progress:
    """How far a start is: when each stage began, and the lines that the page shows under Details."""

    stages: tuple[str, ...] = STAGES
    began: dict[str, datetime] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    said: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    MAX_LINES = 500

    @property
    def stage(self) -> str:
        """The stage that runs now."""
        return next(reversed(self.began), self.stages[0])

    def enter(self, stage: str) -> None:
        """Begin `stage`."""
        self.began[stage] = datetime.now(UTC)
        self._wake()

    def say(self, line: str) -> None:
        """Add a line of detail; the oldest go when there are very many."""
        self.lines.append(line)
        self.said += 1
        del self.lines[: -self.MAX_LINES]
        self._wake()

    def after(self, said: int) -> list[str]:
        """The lines that followed the first `said` ones, as far as they are kept."""
        new = self.said - said
        return self.lines[-new:] if new else []

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


# JupyterHub demands `start`, `stop` and `poll` of every subclass of Spawner; a mixin leaves `poll` to the one below.
class LaunchMixin(Spawner if TYPE_CHECKING else object):  # type: ignore[misc]
    """What is the same for a pod and a process. The spawner below implements `carry_out` and `take_down`."""

    stages: tuple[str, ...] = STAGES
    """The stages that a start goes through here; in the first one it is admitted, in the last one it is done."""

    launched: Admission | None = None
    lingering = False
    """Whether the server was told to go and may still be there: then what it holds is not free yet."""
    clearing: asyncio.Future[None] | None = None
    token_id: int | None = None
    """Which token of the hub's database is the server's own: a later hub does not know the token itself."""
    progress_made: Progress | None = None

    @property
    def aihub(self) -> AIHub:
        """The one AIHub of this process."""
        return AIHub.instance()

    async def carry_out(self, admission: Admission, progress: Progress) -> str:
        """Make the plan real and return the server's URL. Raises RefusedError with the reason when that fails."""
        raise NotImplementedError

    def server_uid(self) -> str:
        """Which object or process the server is; it never means another one later."""
        raise NotImplementedError

    async def take_down(self) -> bool:
        """End what `carry_out` made, whole or half made, and nothing else; whether it is certainly gone.

        It takes a bounded time. What is not gone by then goes on counting until `Site.gone` finds that it is.
        """
        raise NotImplementedError

    async def made(self, admission: Admission) -> Collection[str]:
        """The ids of those of its claims that exist: a start that failed may not have come as far as making them."""
        raise NotImplementedError

    async def start(self) -> str:
        """Resolve the saved options against what the person may use now, reserve, and start (design.md §5)."""
        progress = self.progress_made = Progress(self.stages)
        progress.enter(self.stages[0])
        try:
            admission = await self.aihub.admit(self.aihub.person(self.user), self.name, self.user_options)
        except RefusedError as error:
            raise SpawnRefused(error.refusal) from error
        self.launched = admission
        try:
            url = await self.carry_out(admission, progress)
            await self.aihub.running(admission, self.server_uid())
        except BaseException as error:
            # Cancel and deadlines arrive as CancelledError (upstream.md 21): whatever it is, nothing may stay behind.
            self.clearing = asyncio.ensure_future(self._clear_away(admission))
            await asyncio.shield(self.clearing)
            if isinstance(error, Exception):
                refusal = self._refusal(error)
                self.aihub.ended(admission.entry.server, Ending.of(refusal, admission, progress.lines, started=False))
                raise SpawnRefused(refusal) from error
            raise
        progress.enter(self.stages[-1])
        return url

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002  # the hub's signature
        """Stop the server and give back what it held."""
        if self.launched:
            self.aihub.releasing(self.launched)
        self.lingering = not await self.take_down()
        await self._release()

    async def run_post_stop_hook(self) -> None:
        """The hub's last word on every server, also on one that it found dead and did not stop."""
        await self._release()
        await maybe_future(super().run_post_stop_hook())

    async def _release(self) -> None:
        if self.clearing is not None:
            # A start that is cancelled twice ends before it has cleared away, and the hub takes it for stopped.
            await asyncio.wait([self.clearing])
        launched, self.launched = self.launched, None
        if launched and self.lingering:
            self.aihub.lingers(launched.entry)
        elif launched:
            await self.aihub.released(launched)
        self.lingering = False

    async def _clear_away(self, admission: Admission) -> None:
        gone = await self.take_down()
        made = await self.made(admission) if gone else ()
        self.launched = None
        if gone:
            await self.aihub.released(admission, made)
        else:
            self.aihub.lingers(admission.entry)

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, RefusedError):
            return error.refusal
        quote = secrets.token_hex(3)
        self.log.error("Start of %s failed, id %s", self._log_name, quote, exc_info=error)
        return Refusal(Reason.START_FAILED, {"id": quote})

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Events for the progress page: the stage, how far it is, and new lines of detail."""
        made, sent = self.progress_made, 0
        while made is not None:
            changed, lines, sent = made.changed, made.after(sent), made.said
            yield {
                "progress": 100 * made.stages.index(made.stage) // len(made.stages),
                "stage": made.stage,
                "message": messages.stage(made.stage),
                "lines": lines,
            }
            await changed.wait()

    def get_state(self) -> dict[str, Any]:
        """What a new hub needs to take the server over: what it holds, and what it was started from."""
        state: dict[str, Any] = super().get_state()
        if self.launched is None:
            return state
        # A spawner outside a hub (KubeSpawner's `_mock`) has no database.
        token = APIToken.find(self.db, self.api_token) if self.db and self.api_token else None
        self.token_id = self.token_id if token is None else token.id
        return {**state, "aihub": self.launched.as_state(), "tokenId": self.token_id}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a server of the last hub."""
        super().load_state(state)
        kept = state.get("aihub")
        self.token_id = state.get("tokenId")
        self.launched = Admission.from_state(kept) if kept else None

    def died(self, refusal: Refusal, lines: Collection[str]) -> None:
        """The server is gone and nobody stopped it: remember why, for its person."""
        if self.launched and not self._stop_pending:
            self.aihub.ended(self.launched.entry.server, Ending.of(refusal, self.launched, lines, started=True))
