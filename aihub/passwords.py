"""Shared passwords: which are good enough, and a brake on guessing them.

Nothing here reads a clock or waits: `Brake` is told the time and says how long to wait.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ADMIN_PASSWORD",
    "USER_PASSWORD",
    "Brake",
    "PasswordError",
    "Passwords",
    "TooManyAttemptsError",
    "door",
    "same",
]

USER_PASSWORD, ADMIN_PASSWORD = "AIHUB_USER_PASSWORD", "AIHUB_ADMIN_PASSWORD"
"""Variables that hold the passwords; in the Secret of the chart they are the keys `userPassword`, `adminPassword`."""

MAX_NAME = 255

_KEYS = {USER_PASSWORD: ("userPassword", 8), ADMIN_PASSWORD: ("adminPassword", 32)}


class PasswordError(Exception):
    """A shared password cannot be used; the text names its variable and its key in the Secret, never itself."""


class TooManyAttemptsError(Exception):
    """Somebody guesses: this attempt was not looked at. `wait` is in whole seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"too many attempts: wait {wait} s")
        self.wait = wait


@dataclass(frozen=True, slots=True, repr=False)
class Passwords:
    """The password of everybody and the one of admins. Raises PasswordError for what is missing, short or the same."""

    user: str
    admin: str

    def __post_init__(self) -> None:
        """Check both."""
        _check(USER_PASSWORD, self.user)
        _check(ADMIN_PASSWORD, self.admin)
        if same(self.user, self.admin):
            raise PasswordError(
                f"{USER_PASSWORD} and {ADMIN_PASSWORD} (the keys userPassword and adminPassword of the Secret) are "
                "the same: everybody would be an admin. `aihub secrets` makes a Secret with good ones"
            )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Passwords:
        """The passwords in the environment. Raises PasswordError."""
        return cls(environ.get(USER_PASSWORD, ""), environ.get(ADMIN_PASSWORD, ""))


def _check(variable: str, value: str) -> None:
    key, least = _KEYS[variable]
    if len(value) < least:
        wrong = f"has {len(value)} characters" if value else "is missing"
        raise PasswordError(
            f"{variable} (the key {key} of the Secret) {wrong}, and at least {least} are needed: "
            "`aihub secrets` makes a Secret with good ones"
        )


def same(one: str, other: str) -> bool:
    """Whether two passwords are equal, in a time that does not tell how near they are; any text may be one."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def door(name: str, address: str | None) -> str:
    """What somebody guesses at, and from where: the user name with the IPv4 address or the /64 network of IPv6."""
    return f"{name[:MAX_NAME]} {_network(address or '')}"


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Address(parsed.packed[:8] + bytes(8)))
    return str(parsed)


@dataclass(slots=True)
class _Door:
    tried: int = 0
    free_at: float = 0.0


class Brake:
    """Slows down whoever guesses at one door, without shutting the door.

    A door is what is guessed at, and from where. `free` wrong attempts cost nothing; each further one makes the next,
    right or wrong, wait twice as long, `first` to `longest` seconds. Attempts at one door wait in a row, so that asking
    many times at once does not help; when the row is longer than `row` seconds, further ones are turned away. A right
    password, or `forget` seconds of rest, clears the door. At most `doors` are remembered.
    """

    def __init__(
        self,
        *,
        free: int = 5,
        first: float = 0.5,
        longest: float = 4.0,
        row: float = 10.0,
        forget: float = 300.0,
        doors: int = 10_000,
    ) -> None:
        self.free, self.first, self.longest = free, first, longest
        self.row, self.forget, self.doors = row, forget, doors
        self._doors: OrderedDict[str, _Door] = OrderedDict()

    def __len__(self) -> int:
        """How many doors are remembered."""
        return len(self._doors)

    def attempt(self, door: str, now: float) -> float:
        """The seconds that an attempt made at `now` waits before it is looked at; it is wrong unless `right` follows.

        Raises TooManyAttemptsError when too many wait already.
        """
        found = self._doors.pop(door, None)
        if found is None or now - found.free_at > self.forget:
            found = _Door(free_at=now)
        self._doors[door] = found
        while len(self._doors) > self.doors:
            self._doors.popitem(last=False)
        wait = max(0.0, found.free_at - now)
        if wait > self.row:
            raise TooManyAttemptsError(math.ceil(wait - self.row))
        found.tried += 1
        found.free_at = now + wait + self._pause(found.tried)
        return wait

    def right(self, door: str) -> None:
        """The attempt was right."""
        self._doors.pop(door, None)

    def _pause(self, tried: int) -> float:
        over = tried - self.free - 1
        # 2 to a large power is no float.
        return 0.0 if over < 0 else min(self.longest, self.first * 2.0 ** min(over, 30))
