"""The registry of the tests: pushing small images to it, and reading from it slowly."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.rig.archives import write_archive

BUSYBOX = "aihub/busybox"
"""A shell, a web server and the rest of busybox, run by uid 1000."""

CHUNK = 16 * 1024


def push_busybox(registry: str) -> str:
    """Push the small image; its reference."""
    program = Path(shutil.which("busybox") or "busybox")
    # A node keeps what it pulled under a tag: other contents need another tag.
    reference = f"{registry}/{BUSYBOX}:{hashlib.sha256(program.read_bytes()).hexdigest()[:12]}"
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "busybox.tar")
        write_archive(archive, reference, program, [name for name in applets if name != program.name])
        push_archive(archive, reference)
    return reference


def push_archive(archive: Path, reference: str) -> None:
    """Push the image in a `docker save` archive."""
    subprocess.run(
        [
            *("skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"),
            *(f"docker-archive:{archive}", f"docker://{reference}"),
        ],
        check=True,
        capture_output=True,
    )


@dataclass
class SlowRegistry:
    """The registry behind a line of `rate` bytes per second, all connections together; None lets everything through.

    The rate may be changed at any time.
    """

    target: tuple[str, int]
    rate: float | None
    port: int = 0
    served: int = 0
    """Bytes that went through so far."""

    line: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def address(self) -> str:
        """What stands before the repository in image references."""
        return f"localhost:{self.port}"

    async def serve(self, started: threading.Event, end: asyncio.Event) -> None:
        """Listen until the end."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await end.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self.target)
        with suppress(ConnectionError):
            await asyncio.gather(self._copy(reader, up_writer, slow=False), self._copy(up_reader, writer, slow=True))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        try:
            while data := await reader.read(CHUNK):
                if slow:
                    await self._wait_for(len(data))
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def _wait_for(self, size: int) -> None:
        """Take as long as `size` bytes take on the line. A new rate counts from the next tenth of a second."""
        async with self.line:
            left = float(size)
            while (rate := self.rate) is not None and left > 0:
                await asyncio.sleep(min(0.1, left / rate))
                left -= 0.1 * rate
            self.served += size


@contextmanager
def slow_registry(registry: str, rate: float | None) -> Iterator[SlowRegistry]:
    """A second address of the registry `host:port`, through which images come at `rate` bytes per second."""
    host, _, port = registry.partition(":")
    slow = SlowRegistry((host, int(port)), rate)
    started, loop, end = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=_run, args=(loop, slow.serve(started, end)), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield slow
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


def _run(loop: asyncio.AbstractEventLoop, serving: Coroutine[Any, Any, None]) -> None:
    """Serve, then end what is left, all in the loop's own thread: another's may have a loop that runs."""
    loop.run_until_complete(serving)
    loop.run_until_complete(_cancel_all())
    loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
