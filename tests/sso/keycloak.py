"""A real Keycloak for tests, as a process of this machine: started, hung, killed and started again on its data.

`python -m tests.sso.keycloak` starts one that stays until Ctrl-C, with the realm of the tests in it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from aihub.preflight import port_is_free
from tests.sso.distribution import PARTS, command, ensure

ADMIN, PASSWORD = "admin", "the admin of this Keycloak"
PORTS = itertools.count(30000 + os.getpid() % 900 * 3)

STALE = 40
"""Seconds after which the admin API's token, good for 60, is renewed."""


def free_port() -> int:
    return next(port for port in PORTS if port_is_free("127.0.0.1", port))


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its key, and whom callers trust for it."""

    certificate: Path
    key: Path
    ca: Path | None = None


@dataclass
class Keycloak:
    """One Keycloak with one folder of data.

    It listens on `host`:`port`. `hostname` is the address that browsers and tokens know it by (scheme, host and port),
    when that is another one. `trust` are CAs that it believes when it calls a hub; `options` are further ones of
    `kc.sh start`.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    hostname: str = ""
    tls: Tls | None = None
    trust: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _admin: httpx.Client | None = None
    _token: tuple[str, float] = ("", 0.0)

    @property
    def local_url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What it calls itself."""
        return self.hostname or self.local_url

    def issuer(self, realm: str) -> str:
        return f"{self.url}/realms/{realm}"

    @property
    def log(self) -> Path:
        return self.folder / "keycloak.log"

    # --- its process -------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process and return at once."""
        built = ensure()
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if not (self.folder / part).exists():
                (self.folder / part).symlink_to(built / part)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command(self.folder, "start", "--optimized", *self._arguments()),
                cwd=self.folder,
                env={**os.environ, "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _arguments(self) -> list[str]:
        given = ["--cache=local", f"--hostname={self.url}", *self.options]
        if self.tls:
            given += [
                f"--https-certificate-file={self.tls.certificate}",
                f"--https-certificate-key-file={self.tls.key}",
            ]
            given += [f"--http-host={self.host}", f"--https-port={self.port}"]
        else:
            given += ["--http-enabled=true", f"--http-host={self.host}", f"--http-port={self.port}"]
        if self.trust:
            given.append(f"--truststore-paths={','.join(map(str, self.trust))}")
        return given

    def start(self, timeout: float = 180) -> float:
        """Start and wait until it answers; the seconds that took."""
        begin = time.monotonic()
        self.launch()
        while time.monotonic() - begin < timeout:
            assert self.process is not None
            assert self.process.poll() is None, f"Keycloak ended:\n{self.said()}"
            if self.answers():
                return time.monotonic() - begin
            time.sleep(0.2)
        raise AssertionError(f"no answer after {timeout} s:\n{self.said()}")

    def answers(self) -> bool:
        """Whether its discovery document is there now."""
        try:
            # Its certificate is for the name that browsers use.
            address = f"{self.local_url}/realms/master/.well-known/openid-configuration"
            return httpx.get(address, verify=False, timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def stop(self, timeout: float = 60) -> None:
        """End it as it wants to be ended. Nothing happens to one that does not run."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """End it as a power cut does; it also ends one that hangs."""
        self._end(signal.SIGKILL, 30)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(timeout)
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def hang(self) -> None:
        """Let it accept connections and answer nobody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End `hang`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it, and forget its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- its admin API -----------------------------------------------------------------------------------------------

    def admin(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A call of the admin API, such as ("GET", "/realms"); fails unless it succeeds."""
        token, at = self._token
        if self._admin is None:
            self._admin = httpx.Client(base_url=self.local_url, verify=False, timeout=60)
            at = 0.0
        if time.monotonic() - at > STALE or not at:
            grant = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": PASSWORD}
            answer = self._admin.post("/realms/master/protocol/openid-connect/token", data=grant)
            token = answer.raise_for_status().json()["access_token"]
            self._token = (token, time.monotonic())
        answer = self._admin.request(method, f"/admin{path}", headers={"Authorization": f"Bearer {token}"}, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer


def main() -> None:
    """Start one that stays."""
    from tests.sso.realm import Realm  # noqa: PLC0415  # it needs this module

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        keycloak = Keycloak(Path(folder), port=8180)
        try:
            print(f"{keycloak.url}/admin/ answers after {keycloak.start():.0f} s: {ADMIN}, {PASSWORD!r}")
            realm = Realm.make(keycloak, "school", "http://127.0.0.1:8000")
            print(f"issuer {realm.issuer}, client aihub, secret {realm.secret()}; people: {', '.join(realm.people)}")
            signal.pause()
        except KeyboardInterrupt:
            print()
        finally:
            keycloak.kill()


if __name__ == "__main__":
    main()
