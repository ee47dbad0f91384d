"""A small web server for tests, in a thread of its own, whose endpoints can be told to fail."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Fault", "RigEndpoint", "Sent", "WebRig"]


@dataclass
class Fault:
    """What an endpoint does instead of its work, `times` times (None: until it is taken away).

    Without a status the right answer comes, only later (`delay`, seconds). `size`: so many bytes of JSON; `chunked`:
    without saying how many. `hang_up`: the connection ends without an answer, or after the bytes of `raw`. `drip`:
    seconds between single bytes.
    """

    status: int | None = None
    body: bytes | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    size: int = 0
    chunked: bool = False
    hang_up: bool = False
    raw: bytes = b""
    drip: float = 0.0
    times: int | None = None


@dataclass(frozen=True)
class Sent:
    """A request that reached the provider."""

    endpoint: str
    method: str
    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]


class Authority:
    """A certificate authority in a folder; `file` is its certificate, which ends in `days` (negative: ended)."""

    def __init__(self, folder: Path, days: float = 365) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AIHub test authority")])
        certificate = self._signed(self._name, self._key.public_key(), days, authority=True)
        self.file = str(folder / "ca.pem")
        Path(self.file).write_bytes(certificate.public_bytes(Encoding.PEM))

    def certificate(self, days: float = 90) -> tuple[str, str]:
        """Files of a certificate for 127.0.0.1 that ends in `days`, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        certificate = self._signed(subject, key.public_key(), days, authority=False)
        files = self._folder / f"server-{days}.pem", self._folder / f"server-{days}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(files[0]), str(files[1])

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float, *, authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        if not authority:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class WebRig:
    """The server; a context manager that starts and stops it. `tls` is a certificate file and its key."""

    def __init__(self, *, tls: tuple[str, str] | None = None) -> None:
        self._tls = tls
        self._sockets = tornado.netutil.bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
        self._port = self._sockets[0].getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}"
        self.sent: list[Sent] = []
        self.faults: dict[str, Fault] = {}

    def application(self) -> tornado.web.Application:
        """What is served."""
        raise NotImplementedError

    def count(self, endpoint: str) -> int:
        """How many requests reached an endpoint."""
        return Counter(each.endpoint for each in self.sent)[endpoint]

    def start(self) -> None:
        """Listen, on the same port as before."""
        if not self._sockets:
            self._sockets = tornado.netutil.bind_sockets(self._port, "127.0.0.1", family=socket.AF_INET)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        """Refuse connections; nothing that is known is lost."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop = self._thread = None
            self._sockets = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        ssl_options = {"certfile": self._tls[0], "keyfile": self._tls[1]} if self._tls else None
        server = tornado.httpserver.HTTPServer(self.application(), ssl_options=ssl_options)

        async def listen() -> None:
            server.add_sockets(self._sockets)

        self._loop = loop
        loop.run_until_complete(listen())
        loop.call_soon(ready.set)
        loop.run_forever()
        server.stop()

        async def leave() -> None:
            await server.close_all_connections()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        loop.run_until_complete(leave())
        loop.close()


class RigEndpoint(tornado.web.RequestHandler):
    """Takes down what came, and does what a fault says instead of its work."""

    endpoint = ""
    rig: WebRig

    def initialize(self, rig: WebRig) -> None:
        self.rig = rig

    async def prepare(self) -> None:
        form = dict(parse_qsl(self.request.body.decode(), keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.request.headers.items()}
        asked = Sent(self.endpoint, self.request.method or "", self.request.uri or "", form, headers)
        self.rig.sent.append(asked)
        fault = self.rig.faults.get(self.endpoint)
        if fault is not None:
            await self._do(fault)

    async def _do(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.rig.faults.pop(self.endpoint, None)
        await asyncio.sleep(fault.delay)
        if fault.hang_up:
            assert self.request.connection is not None
            stream: tornado.iostream.IOStream = self.request.connection.detach()  # type: ignore[attr-defined]
            if fault.raw:
                await stream.write(fault.raw)
            stream.close()
            raise tornado.web.Finish
        if fault.status is not None or fault.size or fault.body is not None or fault.drip:
            await self._answer(fault)
            raise tornado.web.Finish

    async def _answer(self, fault: Fault) -> None:
        self.set_status(fault.status or 200)
        self.set_header("Content-Type", "application/json")
        for name, value in fault.headers.items():
            self.set_header(name, value)
        body = fault.body.encode() if isinstance(fault.body, str) else fault.body
        body = b"{}" if body is None else body
        if fault.size:
            body = b'{"padding": "' + b"x" * fault.size + b'"}'
        if not fault.chunked and not fault.drip:
            self.finish(body)
            return
        step = 1 if fault.drip else 65536
        try:
            for start in range(0, len(body), step):
                self.write(body[start : start + step])
                await self.flush()
                await asyncio.sleep(fault.drip)
            self.finish()
        except tornado.iostream.StreamClosedError:
            pass  # the caller has had enough, which is what it is tested for

    def json(self, document: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))
