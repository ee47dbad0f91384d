"""One machine: every user server is a process of the account that runs the hub.

    <state>/servers/<name>/process.json    which process it is (pid, creation time, command)
    <state>/servers/<name>/admission.json  what it holds and was started from
    <state>/servers/<name>/jupyter/        its one kernel
    <state>/servers/<name>/server.log      what it said

The two records are what a hub that was killed leaves for the next one: JupyterHub saves a spawner's state only after
the start, so a process without a record would be nobody's.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Float

from aihub import accelerators
from aihub.app import Admission, AIHub, Seen
from aihub.config import Loaded, MachineSettings
from aihub.environments import BuildError, Environment, Environments, FolderError
from aihub.errors import Reason, Refusal, RefusedError
from aihub.folders import Folders, refusing
from aihub.idle import activity_interval
from aihub.kernels import DROPPED, server_settings, write_kernel
from aihub.ledger import Entry, Room, ServerKey
from aihub.names import safe_name
from aihub.plan import Plan
from aihub.policy import Policy
from aihub.preflight import port_is_free
from aihub.processes import ProcessRecord, kill_all, read_record, started_with
from aihub.resources import CPU, MEMORY, Resources
from aihub.serverconfig import server_arguments
from aihub.spawner import LaunchMixin, Progress

__all__ = ["LocalSite", "LocalSpawner"]

log = logging.getLogger(__name__)

LOG_LINES = 20

PORTS = range(12_000, 20_000)
"""Below the ports that the system hands out by itself: it gives none of these away before a server listens there."""

RUNTIME = "JUPYTER_RUNTIME_DIR"
"""The variable by which a process is known as one that a server started, directly or not: its value is the server's."""

_ENDING = ThreadPoolExecutor(32, thread_name_prefix="ending")
"""Threads that wait for servers to end: a class that stops at once must not keep other starts from theirs."""


class LocalSite:
    """This machine as a place where servers run (`aihub.app.Site`)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers = root / "servers"
        self.folders = Folders(root)
        self.environments = Environments(root / "environments")
        self._found = accelerators.detect()
        self._settings = MachineSettings()
        self._keys: set[str] = set()
        self._ports: set[int] = set()

    def configure(self, loaded: Loaded) -> None:
        """What the policy file says of the machine counts, over what is found; its environments are kept."""
        self._settings = loaded.machine or MachineSettings()
        lists = {tag.requirements for stream in loaded.policy.catalog.streams.values() for tag in stream.tags}
        self._keys = {self.environments.key(requirements) for requirements in lists if requirements is not None}

    def object_name(self, plan: Plan, server: str) -> str:  # noqa: ARG002  # the signature of every place
        """None: a process is known by what its folder says of it."""
        return ""

    def machines(self) -> tuple[None, None]:
        """The ledger's to know, from `room`."""
        return None, None

    def room(self) -> Room:
        """CPU cores, memory and accelerators that servers may use in all."""
        cpu = self._settings.cpu if self._settings.cpu is not None else Decimal(os.cpu_count() or 1)
        memory = self._settings.memory if self._settings.memory is not None else Decimal(psutil.virtual_memory().total)
        devices = self._settings.accelerators if self._settings.accelerators is not None else self._found
        return Room("this machine", Resources({CPU: cpu, MEMORY: memory}), devices)

    def unresolved(self, policy: Policy) -> Mapping[str, bool]:
        """Images without a requirement list: here a tag is a kernel environment, and nothing will make one of them."""
        catalog = policy.catalog
        tags = {reference: pair[1] for reference in catalog.references() if (pair := catalog.find(reference))}
        return {reference: False for reference, tag in tags.items() if tag.requirements is None}

    def readiness(self, requirements: tuple[str, ...] | None) -> tuple[bool, float | None] | None:
        """Whether the environment is built, and the seconds its last build took; None for images not of this place."""
        if requirements is None:
            return None
        return self.environments.ready(requirements) is not None, self.environments.usual_seconds(requirements)

    async def look(self, rows: Collection[Entry], adopted: Collection[str]) -> Seen:
        """Find the servers that outlived the last hub; stop those that it had not finished starting."""
        seen = await asyncio.to_thread(self._look, rows, adopted)
        await self.environments.prune(self._keys | await asyncio.to_thread(self._keys_in_use, seen))
        return seen

    def _keys_in_use(self, seen: Seen) -> set[str]:
        folders = (self.folder(entry.server) for entry in seen.entries)
        return {(folder / "environment").read_text(encoding="utf-8") for folder in folders}

    def _look(self, rows: Collection[Entry], adopted: Collection[str]) -> Seen:
        alive, started = [], started_with(RUNTIME)
        for folder in sorted(self.servers.iterdir()) if self.servers.is_dir() else ():
            record = read_record(folder / "process.json")
            process = record.find() if record else None
            admission = _read_admission(folder) if process else None
            if admission is not None and admission.entry.id in adopted:
                alive.append(admission.entry)
            elif process is not None:
                end_server(process, folder, patience=5)
            else:
                kill_all(started.get(_runtime(folder), ()))
        running = {entry.id for entry in alive}
        return Seen(tuple(alive), self.folders.claims(), {row.id for row in rows} - running)

    @contextmanager
    def port(self, among: range = PORTS) -> Iterator[int]:
        """A free port that no other start is given for as long as this one has it: until its server listens there.

        Raises OSError when none is free.
        """
        first = secrets.randbelow(len(among))
        candidates = (each for part in (among[first:], among[:first]) for each in part if each not in self._ports)
        free = (each for each in candidates if port_is_free("127.0.0.1", each))
        port = next(free, None)
        if port is None:
            raise OSError(errno.EADDRINUSE, "no port is free for another server")
        self._ports.add(port)
        try:
            yield port
        finally:
            self._ports.discard(port)

    def folder(self, server: ServerKey) -> Path:
        """Where the records and the log of a server are."""
        return self.servers / safe_name(f"{server.person}/{server.name}")

    async def gone(self, entry: Entry) -> Collection[str] | None:
        """A local process either runs or does not."""
        record = await asyncio.to_thread(read_record, self.folder(entry.server) / "process.json")
        if record is not None and record.find() is not None:
            return None
        claims = await asyncio.to_thread(self.folders.claims)
        return {held.claim.id for held in claims}


def _read_admission(folder: Path) -> Admission | None:
    try:
        return Admission.from_state(json.loads((folder / "admission.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        log.warning("%s: what its server was admitted as cannot be read: %r", folder, error)
        return None


def _write_server_folder(folder: Path, admission: Admission, environment: Environment) -> None:
    """A fresh folder for a new run of the server; the log of the last run goes."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    (folder / "admission.json").write_text(json.dumps(admission.as_state()), encoding="utf-8")
    (folder / "environment").write_text(environment.key, encoding="utf-8")
    write_kernel(environment, folder / "jupyter")


def _runtime(folder: Path) -> str:
    return str(folder / "runtime")


def end_server(process: psutil.Process | None, folder: Path, patience: float) -> None:
    """End the server of `folder` and all that came from it; `process` is None when it has ended already.

    SIGTERM to the server, which then ends its kernels; at the latest `patience` seconds later SIGKILL to whoever is
    left, also to what a cell or a terminal left running by itself.
    """
    family: list[psutil.Process] = []
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            process.terminate()
        psutil.wait_procs([process], timeout=patience)
    kill_all([*family, *started_with(RUNTIME).get(_runtime(folder), ())], patience)


class LocalSpawner(LaunchMixin, SimpleLocalProcessSpawner):
    """Carries out plans on this machine, on JupyterHub's own simple local process spawner."""

    answer_deadline = Float(
        120.0, min=1, config=True, help="Seconds that a started server may take until it answers its first request."
    )
    stop_patience = Float(
        10.0, min=0, config=True, help="Seconds that a server gets to end its kernels by itself before it is killed."
    )

    record: ProcessRecord | None = None
    environment_variables: Mapping[str, str] = {}

    @property
    def site(self) -> LocalSite:
        """This machine."""
        site = AIHub.instance().site
        assert isinstance(site, LocalSite)
        return site

    async def carry_out(self, admission: Admission, progress: Progress) -> str:
        """Storage, kernel environment, process; each stage with its own kind of failure."""
        plan = admission.plan
        assert plan is not None, "an admission made in this process has its plan"
        progress.enter("storage")
        self._check_home_is_free(plan)
        home = await asyncio.to_thread(self.site.folders.prepare, plan)
        progress.enter("image")
        environment = await self._environment(plan, progress)
        progress.enter("start")
        with self.site.port() as self.port:
            await self._start_process(admission, plan, home, environment)
            await self._answering()
        return f"http://127.0.0.1:{self.port}"

    def _check_home_is_free(self, plan: Plan) -> None:
        """One home has one `~/project`: while a server of another project uses it, the link may not be turned round."""
        for name, other in self.user.spawners.items():
            held = other.launched.entry if other is not self and other.launched else None
            if held and held.project != plan.project and plan.home.id in {claim.id for claim in held.claims}:
                raise RefusedError(Refusal(Reason.VOLUME_BUSY, {"server": name, "project": held.project}))

    async def _environment(self, plan: Plan, progress: Progress) -> Environment:
        label = f"{plan.image_name.plain or plan.stream} {plan.tag}"
        try:
            return await self.site.environments.ensure(plan.requirements or (), label=label, on_line=progress.say)
        except BuildError as error:
            refusal = Refusal(Reason.BUILD_FAILED, {"image": plan.reference, "lines": error.tail})
            raise RefusedError(refusal) from error
        except FolderError as error:
            refusal = Refusal(Reason.STORAGE_UNUSABLE, {"path": str(error.path), "problem": error.problem})
            raise RefusedError(refusal) from error

    async def _start_process(self, admission: Admission, plan: Plan, home: Path, environment: Environment) -> None:
        folder = self._folder(admission)
        with refusing(folder):
            await asyncio.to_thread(_write_server_folder, folder, admission, environment)
        settings = server_settings(environment, folder / "jupyter", path=os.environ.get("PATH", os.defpath))
        self.home_dir = self.notebook_dir = str(home)
        self.environment_variables = {
            **settings.variables,
            RUNTIME: _runtime(folder),
            "JUPYTERHUB_ACTIVITY_INTERVAL": str(activity_interval(plan.idle.stop_after)),
            **accelerators.visible(plan.accelerator, admission.entry.devices),
        }
        root = ["--allow-root"] if os.geteuid() == 0 else []
        self.args = [*settings.arguments, *server_arguments(), *root]
        with (folder / "server.log").open("ab") as log:
            self.popen_kwargs = {"cwd": str(home), "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            await SimpleLocalProcessSpawner.start(self)
        self.record = ProcessRecord.of(self.pid)
        with refusing(folder):
            self.record.write(folder / "process.json")

    async def _answering(self) -> None:
        """Wait until the server listens. Raises RefusedError when it ends before that, or takes too long."""
        until = time.monotonic() + self.answer_deadline
        while time.monotonic() < until:
            if (status := self.proc.poll()) is not None:
                lines = await asyncio.to_thread(self.last_lines)
                raise RefusedError(Refusal(Reason.START_FAILED, {"status": status, "lines": lines}))
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
        raise RefusedError(Refusal(Reason.START_TIMEOUT, {"seconds": int(self.answer_deadline)}))

    def make_preexec_fn(self, name: str) -> None:  # the hub's signature
        """Nothing between fork and exec: the working directory is an argument of Popen."""

    def get_env(self) -> dict[str, str]:
        """The project's environment below the hub's, the kernel environment's above both (upstream.md 10)."""
        project = self.launched.plan.environment if self.launched and self.launched.plan else {}
        hub = {name: value for name, value in super().get_env().items() if name not in DROPPED}
        return {**project, **hub, **self.environment_variables}

    def server_uid(self) -> str:
        """The process, by pid and creation time."""
        return f"{self.record.pid}@{self.record.created}" if self.record else ""

    async def poll(self) -> int | None:
        """None while the server's process runs; a stranger that was given its pid later does not count."""
        status = self._status()
        if status is not None and self.record is not None:
            refusal = Refusal(Reason.SERVER_DIED, {"server": self.name, "status": status})
            self.died(refusal, await asyncio.to_thread(self.last_lines))
            await self._end(None)
            self.record = None
        return status

    def _status(self) -> int | None:
        if self.record is None:
            return 0
        if self.proc is not None and self.proc.pid == self.record.pid:
            status: int | None = self.proc.poll()
            return status
        return None if self.record.find() is not None else 0

    async def take_down(self) -> bool:
        """End the server and its kernels; when it returns none is left."""
        record, self.record = self.record, None
        process = record.find() if record else None
        if process is not None or self.proc is not None:
            await self._end(process)
        if self.proc is not None:
            self.proc.poll()
        return True

    async def _end(self, process: psutil.Process | None) -> None:
        server = self.launched.entry.server if self.launched else ServerKey(self.user.name, self.name)
        end = partial(end_server, process, self.site.folder(server), self.stop_patience)
        await asyncio.get_running_loop().run_in_executor(_ENDING, end)

    async def made(self, admission: Admission) -> Collection[str]:
        """Which of the folders exist."""
        return await asyncio.to_thread(self.site.folders.existing, admission.entry.claims)

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of the server's log."""
        if self.launched is None:
            return ()
        log = self._folder(self.launched) / "server.log"
        if not log.exists():
            return ()
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            return tuple(file.read().decode(errors="replace").splitlines()[-LOG_LINES:])

    def _folder(self, admission: Admission) -> Path:
        return self.site.folder(admission.entry.server)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a server of the last hub: its process record says whether it still runs."""
        super().load_state(state)
        if self.launched is not None:
            self.record = read_record(self._folder(self.launched) / "process.json")
