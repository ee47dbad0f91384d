"""Keycloak as it is released: fetched by Maven, checked, built once for each version and set of options, kept.

`python -m tests.sso.distribution` does it ahead. Needs Java 17 and, the first time, `mvn`; no other Python packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from tests.cluster.rig.toolbox import CACHE

VERSION = "26.4.0"
SHA256 = "1b6a11a2726ac8a8dc9c91d5fafe989a75ce4f1622d7f7b45c21d5bc16629c0a"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"

BUILD = ("--db=dev-file",)
"""Options that Keycloak wants to know when it is built: the database is a file, as in its development mode."""

PARTS = ("conf", "lib", "providers", "themes")
"""What Keycloak reads of its own folder; it writes to `data` only."""

# As bin/kc.sh has it, but for a compiler and a collector that start faster, and with the process being Java itself,
# which can be stopped and killed.
_THREADS = "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"
_JVM = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:MaxMetaspaceSize=256m",
    "-Xms64m",
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dfile.encoding=UTF-8",
    "-Djava.security.egd=file:/dev/urandom",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "-Duser.language=en",
    "-Duser.country=US",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    f"-Djava.util.concurrent.ForkJoinPool.common.threadFactory={_THREADS}",
    "-Dpicocli.disable.closures=true",
    "-Dquarkus-log-max-startup-records=10000",
)


class CannotBuildError(Exception):
    """Keycloak could not be had."""


def command(home: Path, *arguments: str) -> list[str]:
    """What `bin/kc.sh` with these arguments runs for the Keycloak in `home`."""
    paths = (f"-Dkc.home.dir={home}", f"-Djboss.server.config.dir={home / 'conf'}")
    library = str(home / "lib" / "quarkus-run.jar")
    return ["java", *_JVM, *paths, "-cp", library, "io.quarkus.bootstrap.runner.QuarkusEntryPoint", *arguments]


def ensure() -> Path:
    """The folder of the built Keycloak, which nobody may write to.

    Raises:
        CannotBuildError: Java or Maven is missing or failed, or the file is not the one that was released.
    """
    key = hashlib.sha256("\0".join((SHA256, *BUILD)).encode()).hexdigest()[:12]
    folder = CACHE / "keycloak" / f"{VERSION}-{key}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    begin = time.monotonic()
    print(f"Building Keycloak {VERSION} …", file=sys.stderr, flush=True)
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _run(["mvn", "-q", "-B", "-ntp", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={unfinished}"], unfinished)
    archive = unfinished / f"keycloak-quarkus-dist-{VERSION}.zip"
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise CannotBuildError(f"{archive.name} is not the file that Keycloak {VERSION} was released as")
    with zipfile.ZipFile(archive) as released:
        released.extractall(unfinished)
    archive.unlink()
    home = unfinished / f"keycloak-{VERSION}"
    _run(command(home, "build", *BUILD), unfinished)
    home.rename(folder)
    shutil.rmtree(unfinished)
    print(f"Built Keycloak {VERSION} in {time.monotonic() - begin:.0f} s.", file=sys.stderr, flush=True)


def _run(program: list[str], folder: Path) -> None:
    if shutil.which(program[0]) is None:
        raise CannotBuildError(f"there is no {program[0]} on PATH: Keycloak needs Java 17 or newer, and Maven to come")
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotBuildError(f"{program[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def main() -> None:
    """Build it if it is not there."""
    try:
        ensure()
    except CannotBuildError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
