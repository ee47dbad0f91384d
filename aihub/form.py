"""Choices become page data; form fields become user options.

Every page of ours is one frozen dataclass and one template, which finds it as `page`. All texts in page data are in
the reader's language already and plain text: Jinja escapes them. Functions here take what the core decided and what
the handlers know; they read no clock, file or network.

| template               | `page`                         | made by                                           |
|------------------------|--------------------------------|---------------------------------------------------|
| aihub/sign_in.html     | SignInPage                     | the dataclass itself                              |
| aihub/home.html        | HomePage                       | home_page                                         |
| aihub/spawn.html       | SpawnPage                      | spawn_page (launch links too; also the empty states) |
| aihub/progress.html    | ProgressPage                   | progress_page                                     |
| aihub/stopped.html     | StoppedPage                    | stopped_page (failed, refused, stopped, not running) |
| aihub/stopping.html    | StoppingPage                   | the dataclass itself                              |
| aihub/project.html     | ProjectPage                    | project_page                                      |
| aihub/projects.html    | ProjectsPage                   | the dataclass itself                              |
| aihub/error.html       | ErrorPage                      | the dataclass itself (also the hub's error.html, 404.html, 503.html) |
| aihub/help.html        | none                           |                                                   |
| aihub/accessibility.html | none                         |                                                   |

Around every page stands `Chrome`, which the template finds as `chrome`.

POST forms (all carry `_xsrf`; addresses begin with the hub's base URL):

| address                               | fields                                                                  |
|---------------------------------------|-------------------------------------------------------------------------|
| login                                 | persona, next                                                           |
| spawn (as `SpawnPage.action` says)    | project, image (stream), tag-<stream>, profile, accelerator-count, server-name, path |
| aihub/stop                            | server ("" is the default server), user (only if it is not the reader)  |
| aihub/cancel                          | server, user                                                            |
| aihub/language                        | lang, next                                                              |
| aihub/projects/<project>/images       | do ("offer", "hide", "default", "retire", a space, "stream:tag"), version, confirmed ("yes"), successor, message |
| aihub/projects/<project>/stop         | server ("user/server")                                                  |
| aihub/projects/<project>/undo         | change (its id), version                                                |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from aihub.errors import Refusal
from aihub.policy import ImageChoice, ProfileChoice, ProjectChoices, State
from aihub.projects import Role
from aihub.text import Text

# --- around every page -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chrome:
    """What stands around every page for one reader: `template_vars["chrome"]` is a function of the hub's user.

    `projects` shows the link to the project pages (instructors and admins), `admin` the one to the hub's admin page.
    `findings` are those of a policy file that is not in force, for admins only; `in_force_since` when the good one
    was read.
    """

    projects: bool = False
    admin: bool = False
    findings: tuple[str, ...] = ()
    in_force_since: datetime | None = None
    announcements: tuple[Text, ...] = ()


# --- sign-in ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persona:
    """A local persona's card. `role` is "student", "instructor" or "admin" (its picture and title)."""

    name: str
    role: str
    about: Text = Text()


@dataclass(frozen=True, slots=True)
class SignInPage:
    """`next` is where the sign-in leads; `error` is shown above the cards; `action` is the form's address."""

    personas: tuple[Persona, ...]
    action: str
    next: str = ""
    error: str = ""


# --- spawn: what comes in --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selection:
    """What stands in the form: ids as submitted, remembered, linked or default. May name what is not offered."""

    project: str = ""
    image: str = ""
    profile: str = ""
    accelerator_count: int | None = None
    server_name: str = ""
    path: str = ""


class NoteKind(StrEnum):
    """Why something stands in the form."""

    FROM_LINK = "from-link"
    FROM_LAST_START = "from-last-start"
    IMAGE_RETIRED = "image-retired"
    IMAGE_GONE = "image-gone"
    PROFILE_GONE = "profile-gone"
    COUNT_GONE = "count-gone"
    PROJECT_GONE = "project-gone"


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on the selection: `asked` is the id that was asked for, `chosen` the id that stands there now."""

    kind: NoteKind
    asked: str = ""
    chosen: str = ""
    at: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How soon an image can run. `seconds` is the usual wait, None when nobody knows."""

    ready: bool
    seconds: int | None = None


# --- spawn: what the template shows ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pill:
    """A state: icon and word. `tone` is ok, wait, no, bad or info."""

    tone: str
    icon: str
    word: str


@dataclass(frozen=True, slots=True)
class Meter:
    """One line of a quota. `value` and `maximum` are None where there is no bar (no limit, or not known)."""

    id: str
    label: str
    text: str
    value: str | None = None
    maximum: str | None = None
    full_from: str | None = None


@dataclass(frozen=True, slots=True)
class MeterGroup:
    """Quota lines of one level."""

    id: str
    title: str
    meters: tuple[Meter, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change after a refused submit. `target` is the id of the field to go to, empty for none."""

    code: str
    target: str
    title: str
    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to ask. `href` is a mailto: or https: address, empty where the text is neither."""

    text: str
    href: str = ""
