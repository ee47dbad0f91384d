"""Reasons become sentences: the same ones in pages, REST answers, the command line and the log.

A sentence has parts (design.md §8): what happened, why (limit, use, whose limit it is), the way on, and whom to ask.
They are plain text; whoever puts them into a page escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from aihub.capacity import Availability
from aihub.errors import Parameter, Reason, Refusal
from aihub.language import Language
from aihub.policy import ProjectChoices, Rule, Verdict
from aihub.resources import CPU, MEMORY, SERVERS, STORAGE

__all__ = [
    "Message",
    "Names",
    "amount",
    "card_sentence",
    "cause_of_death",
    "names_of",
    "new_machine",
    "plain",
    "resource_name",
    "room_text",
    "rule_name",
    "sentence",
    "stage",
    "status_of",
]

Ids = Mapping[str, str]


def _none() -> Ids:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called in one language, and whom to ask in which project. An id without a name stands for itself.

    It holds what one person may see and nothing else, so that a sentence never names what they may not know.
    """

    projects: Ids = field(default_factory=_none)
    images: Ids = field(default_factory=_none)
    profiles: Ids = field(default_factory=_none)
    contacts: Ids = field(default_factory=_none)


def names_of(choices: Iterable[ProjectChoices], language: Language) -> Names:
    """The names of all that a person may choose from; an image is called "PyTorch 2.9"."""
    projects, images, profiles, contacts = {}, {}, {}, {}
    for choice in choices:
        project = choice.project
        projects[project.name] = language.text(project.display_name, project.name)
        contacts[project.name] = language.text(project.contact)
        for image in choice.images:
            images[image.reference] = f"{language.text(image.stream.display_name, image.stream.name)} {image.tag.name}"
        for profile in choice.profiles:
            profiles[profile.profile.name] = language.text(profile.profile.display_name, profile.profile.name)
    return Names(projects, images, profiles, contacts)


@dataclass(frozen=True, slots=True)
class Message:
    """A refusal in words: `what` happened, `why`, the `way` on, and the `contact` to ask (empty if nobody is named).

    `field` is the user option at fault ("project", "image", "profile", "acceleratorCount", "server-name"), empty where
    none is; `lines` are the last lines of a log; `text` is what, why and way in one line.
    """

    what: str
    why: str
    way: str = ""
    contact: str = ""
    field: str = ""
    lines: tuple[str, ...] = ()
    text: str = ""


_STATUS = {
    Reason.INVALID_OPTIONS: 400,
    Reason.SERVER_BUSY: 409,
    Reason.NAME_COLLISION: 409,
    Reason.VOLUME_BUSY: 409,
    Reason.STORE_UNAVAILABLE: 503,
    Reason.IDENTITY_STALE: 503,
    Reason.QUOTA_UNKNOWN: 503,
    Reason.API_UNAVAILABLE: 503,
}


def cause_of_death(refusal: Refusal, language: Language) -> str:
    """Why a server ended by itself, for others than its person."""
    voice = _Voice(refusal, language, Names())
    limit, node = voice.word("limit"), voice.word("node")
    match refusal.reason:
        case Reason.OUT_OF_MEMORY:
            return (
                voice.say("It ran out of memory ({limit}).", limit=limit)
                if limit
                else voice.say("It ran out of memory.")
            )
        case Reason.EVICTED:
            return language.sentences(voice.say("The cluster stopped it."), voice.reported)
        case Reason.NODE_LOST:
            return voice.say("Its machine {node} was lost.", node=node) if node else voice.say("Its machine was lost.")
        case Reason.PROJECT_LEFT:
            return voice.say("Its person is no longer in the project.")
        case _:
            return voice.say("Its process ended.")


def status_of(reason: Reason) -> int:
    """The HTTP status of an answer that refuses for `reason`: 4xx, or 503 where nothing but waiting helps.

    JupyterHub counts a 5xx of its own spawn as a failure of the hub; it counts none that arrives as a SpawnException.
    """
    return _STATUS.get(reason, 403)


def sentence(refusal: Refusal, language: Language, names: Names | None = None) -> Message:
    """`refusal` in words. Never raises, whatever parameters are missing: a refusal must reach its reader."""
    voice = _Voice(refusal, language, names or Names())
    message = _SENTENCES[refusal.reason](voice)
    text = language.sentences(message.what, message.why, message.way)
    return replace(message, contact=message.contact or voice.contact, lines=voice.lines, text=text)


def card_sentence(refusal: Refusal, language: Language, names: Names | None = None) -> str:
    """The reason alone, for a choice's card, where what and way on are in sight already."""
    return sentence(refusal, language, names).why


def plain(refusal: Refusal, language: Language | None = None, names: Names | None = None) -> str:
    """One line for the command line, REST answers and the log."""
    language = language or Language()
    message = sentence(refusal, language, names)
    return language.sentences(message.text, _ask(language, message.contact))


def _ask(language: Language, contact: str) -> str:
    return language.say("Ask {contact}.", contact=contact) if contact else ""


def resource_name(key: str, language: Language) -> str:
    """What a resource is called; an accelerator keeps its Kubernetes name."""
    names = {
        SERVERS: language.say("Servers"),
        CPU: language.say("CPU"),
        MEMORY: language.say("Memory"),
        STORAGE: language.say("Storage"),
    }
    return names.get(key, key)


def amount(key: str, formatted: str, language: Language) -> str:
    """A formatted amount with its resource: "2 servers", "4 CPU", "8 GiB memory", "1 nvidia.com/gpu"."""
    if key == SERVERS:
        # A number that is no whole one ("≈ 2") takes the plural.
        number = int(formatted) if formatted.isdecimal() else 2
        return language.ngettext("{n} server", "{n} servers", number).format(n=formatted)
    if key == CPU:
        return language.say("{n} CPU", n=formatted)
    if key == MEMORY:
        return language.say("{n} memory", n=formatted)
    if key == STORAGE:
        return language.say("{n} storage", n=formatted)
    return f"{formatted} {key}"


def room_text(room: Availability, now: datetime, language: Language) -> str:
    """How many servers of a size fit, and how long ago that was read: "2 of 4 free · 12 s ago".

    Empty where there is no such number: for a size that asks for nothing, and where none ever fits. Where nothing is
    known of the machines it says so.
    """
    if room.as_of is None:
        return language.say("free machines unknown")
    if not room.total:
        return ""
    parts = [language.say("{free} of {total} free", free=room.free, total=room.total)]
    pieces = (room.accelerators_free, room.accelerators_total)
    if room.accelerators_total is not None and pieces != (room.free, room.total):
        parts.append(language.say("accelerators: {free} of {total} free", free=pieces[0], total=pieces[1]))
    age = (now - room.as_of).total_seconds()
    if age >= 1:
        parts.append(language.say("{time} ago", time=language.duration(age)))
    return " · ".join(parts)


def new_machine(verdict: Verdict, language: Language) -> str:
    """That a machine is started for the server, and how long that takes; empty where one is there already."""
    if not verdict.pool:
        return ""
    if verdict.seconds is None:
        return language.say("A new machine is started for it; that takes some minutes.")
    time = language.duration(verdict.seconds)
    return language.say("A new machine is started for it; that takes up to {time}.", time=time)


# --- one sentence for each reason ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Voice:
    """A refusal on its way to a sentence: its parameters as words."""

    refusal: Refusal
    language: Language
    names: Names

    def raw(self, key: str) -> Parameter:
        return self.refusal.parameters.get(key)

    def word(self, key: str) -> str:
        value = self.raw(key)
        return "" if value is None or isinstance(value, tuple) else str(value)

    def say(self, message: str, /, **values: object) -> str:
        return self.language.say(message, **values)

    @property
    def project(self) -> str:
        return self.names.projects.get(self.word("project"), self.word("project"))

    @property
    def image(self) -> str:
        return self.names.images.get(self.word("image"), self.word("image"))

    @property
    def profile(self) -> str:
        return self.names.profiles.get(self.word("profile"), self.word("profile"))

    @property
    def contact(self) -> str:
        return self.word("contact") or self.names.contacts.get(self.word("project"), "")

    @property
    def server(self) -> str:
        name = self.word("server")
        return self.say("Server “{name}”", name=name) if name else self.say("Your default server")

    @property
    def lines(self) -> tuple[str, ...]:
        value = self.raw("lines")
        return value if isinstance(value, tuple) else ()

    @property
    def reported(self) -> str:
        """What the cluster itself says, in its own words; empty where it says nothing."""
        problem = self.word("problem").rstrip(".")
        return self.say("The cluster says: {problem}.", problem=problem) if problem else ""

    def amount(self, name: str) -> str:
        return amount(self.word("key"), self.word(name), self.language)

    def successor(self, names: Ids) -> str:
        following = self.word("successor")
        return self.say("Choose {successor} instead.", successor=names.get(following, following)) if following else ""


def _field_name(voice: _Voice) -> str:
    names = {
        "project": voice.say("Project"),
        "image": voice.say("Image"),
        "profile": voice.say("Profile"),
        "acceleratorCount": voice.say("Accelerator count"),
    }
    return names.get(voice.word("field"), voice.word("field"))


def _invalid_options(voice: _Voice) -> Message:
    field, value, problem = voice.word("field"), voice.word("value"), voice.word("problem")
    if problem == "missing":
        return Message(
            voice.say("No project was named."),
            voice.say("You belong to more than one project, so there is no default."),
            voice.say("Choose a project."),
            field="project",
        )
    if field == "server-name":
        return _bad_server_name(voice)
    reasons = {
        "not-json": voice.say("The request is not a JSON document."),
        "not-an-object": voice.say("They are not a set of named values."),
        "unknown-key": voice.say("There is no option called “{name}”.", name=field),
        "not-text": voice.say("An id is text, not {value}.", value=value),
        "empty": voice.say("The value is empty."),
        "too-long": voice.say("The value is longer than any id."),
        "unprintable": voice.say("The value has characters that cannot be printed."),
        "not-a-count": voice.say("“{value}” is not a whole number from 0 to 1024.", value=value),
        "not-open": voice.say("This profile does not open {value} accelerators.", value=value),
    }
    known = field in ("project", "image", "profile", "acceleratorCount")
    what = (
        voice.say("The choice under “{field}” is not valid.", field=_field_name(voice))
        if known
        else voice.say("Your choices could not be read.")
    )
    why = reasons.get(problem, voice.say("The value does not belong there."))
    return Message(what, why, voice.say("Choose again on the start page."), field=field if known else "")


def _bad_server_name(voice: _Voice) -> Message:
    suggestion = voice.word("suggestion")
    return Message(
        voice.say("“{name}” cannot name a server.", name=voice.word("value")),
        voice.say(
            "A name has 1 to 30 small letters, digits and single hyphens, "
            "begins with a letter and ends with a letter or digit."
        ),
        voice.say("For example “{name}”.", name=suggestion) if suggestion else voice.say("Choose another name."),
        field="server-name",
    )


def _unknown_project(voice: _Voice) -> Message:
    # The id as it was submitted: to an outsider a project does not exist, its name included.
    project = voice.word("project")
    return Message(
        voice.say("There is no project “{id}” for you.", id=project)
        if project
        else voice.say("You are in no project yet."),
        voice.say("Only members of a project can start servers in it."),
        voice.say("Ask your instructor to add you, then sign in again."),
        field="project",
    )


def _not_member(voice: _Voice) -> Message:
    return Message(
        voice.say("You are not a member of {project}.", project=voice.project),
        voice.say("Admins see every project, and start servers of their own only where they are members."),
        voice.say("Choose a project of yours."),
        field="project",
    )


def _project_archived(voice: _Voice) -> Message:
    return Message(
        voice.say("{project} is archived.", project=voice.project),
        voice.say("An archived project starts no servers. Its files are kept."),
        voice.say("Choose another project."),
        field="project",
    )


def _unknown_image(voice: _Voice) -> Message:
    if not voice.word("image"):
        return Message(
            voice.say("{project} offers no image.", project=voice.project),
            voice.say("Without an image there is nothing to start."),
            voice.say("Choose another project."),
            field="image",
        )
    return Message(
        voice.say("There is no image “{image}”.", image=voice.word("image")),
        voice.say("{project} does not offer it.", project=voice.project),
        voice.say("Choose another image."),
        field="image",
    )


def _image_not_offered(voice: _Voice) -> Message:
    return Message(
        voice.say("The image {image} is not offered.", image=voice.image),
        voice.say("{project} does not offer it.", project=voice.project),
        voice.say("Choose another image."),
        field="image",
    )


def _image_retired(voice: _Voice) -> Message:
    return Message(
        voice.say("The image {image} has been retired.", image=voice.image),
        voice.say("Retired images are not started any more."),
        voice.successor(voice.names.images) or voice.say("Choose another image."),
        field="image",
    )


def _image_unresolved(voice: _Voice) -> Message:
    if voice.raw("waiting"):
        why = voice.say("It is still being looked up.")
        way = voice.say("Try again in a minute, or choose another image.")
    else:
        why = voice.say("It cannot be started on this hub.")
        way = voice.say("Choose another image.")
    return Message(voice.say("The image {image} is not ready.", image=voice.image), why, way, field="image")


def _unknown_profile(voice: _Voice) -> Message:
    if not voice.word("profile"):
        return Message(
            voice.say("{project} offers you no profile.", project=voice.project),
            voice.say("Without a profile nothing says how large the server is."),
            voice.say("Choose another project."),
            field="profile",
        )
    return Message(
        voice.say("There is no profile “{profile}”.", profile=voice.word("profile")),
        voice.say("{project} does not offer it.", project=voice.project),
        voice.say("Choose another profile."),
        field="profile",
    )


def _profile_not_offered(voice: _Voice) -> Message:
    return Message(
        voice.say("The profile {profile} is not offered.", profile=voice.profile),
        voice.say("{project} does not offer it.", project=voice.project),
        voice.say("Choose another profile."),
        field="profile",
    )


def _profile_retired(voice: _Voice) -> Message:
    return Message(
        voice.say("The profile {profile} has been retired.", profile=voice.profile),
        voice.say("Retired profiles are not started any more."),
        voice.successor(voice.names.profiles) or voice.say("Choose another profile."),
        field="profile",
    )


def _profile_not_open(voice: _Voice) -> Message:
    return Message(
        voice.say("The profile {profile} is not open to you.", profile=voice.profile),
        voice.say("It is for certain groups, and you are in none of them."),
        voice.say("Choose another profile."),
        field="profile",
    )


def _profile_unfit(voice: _Voice) -> Message:
    suits = voice.raw("suits")
    made_for = voice.language.listed(suits) if isinstance(suits, tuple) else ""
    return Message(
        voice.say("{profile} does not suit {image}.", profile=voice.profile, image=voice.image),
        voice.say("The image is made for {suits}, not for {key}.", suits=made_for, key=voice.word("key")),
        voice.say("Choose another profile or another image."),
        field="profile",
    )


def _identity_stale(voice: _Voice) -> Message:
    return Message(
        voice.say("{profile} cannot be started right now.", profile=voice.profile),
        voice.say(
            "The sign-in provider does not answer, and a start with an accelerator needs to know who you are now."
        ),
        voice.say("Try again in a few minutes, or choose a profile without an accelerator."),
        field="profile",
    )


def _never_fits(voice: _Voice) -> Message:
    return Message(
        voice.say("{profile} does not fit.", profile=voice.profile),
        _too_small(voice),
        voice.say("Choose another profile."),
        field="profile",
    )


def _too_small(voice: _Voice) -> str:
    """Which machines lack what: the one there is, all of them, or those that the profile's placement leaves."""
    nothing, eligible = voice.word("total") in ("", "0", "0 B"), voice.raw("eligible")
    amounts = {"requested": voice.amount("requested"), "total": voice.amount("total")}
    key = resource_name(voice.word("key"), voice.language)
    if eligible == 0:
        return voice.say("Never fits: no machine is of the kind it asks for.")
    if eligible is not None and nothing:
        return voice.say("Never fits: no machine of the kind it asks for has {key}.", key=key)
    if eligible is not None:
        return voice.say("Never fits: it needs {requested}, the largest machine of its kind has {total}.", **amounts)
    several = isinstance(voice.raw("machines"), int) and voice.raw("machines") != 1
    if nothing and several:
        return voice.say("Never fits: no machine has {key}.", key=key)
    if nothing:
        return voice.say("Never fits: this machine has no {key}.", key=key)
    if several:
        return voice.say("Never fits: it needs {requested}, the largest machine has {total}.", **amounts)
    return voice.say("Never fits: it needs {requested}, this machine has {total}.", **amounts)


def _quota(why: str, voice: _Voice, way: str) -> Message:
    if voice.raw("ever") is False:
        way = voice.say("Choose a smaller profile.")
    return Message(voice.say("The quota does not allow this start."), why, way, field="profile")


def _quota_project(voice: _Voice) -> Message:
    why = voice.say(
        "Limit of {project}: {limit}, in use {used}, this start asks for {requested}.",
        project=voice.project,
        limit=voice.amount("limit"),
        used=voice.word("used"),
        requested=voice.word("requested"),
    )
    holders = voice.raw("holders")
    if isinstance(holders, tuple) and holders:
        why = voice.language.sentences(why, voice.say("Held by: {people}.", people=_few(holders, voice)))
    return _quota(why, voice, voice.say("Try again when somebody has stopped a server."))


_FEW = 5


def _few(names: tuple[str, ...], voice: _Voice) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - _FEW
    listed = voice.language.listed(names[:_FEW])
    return (
        voice.language.say_n("{names} and {n} more", "{names} and {n} more", more, names=listed) if more > 0 else listed
    )


def _quota_member(voice: _Voice) -> Message:
    why = voice.say(
        "Your limit in {project}: {limit}, you use {used}, this start asks for {requested}.",
        project=voice.project,
        limit=voice.amount("limit"),
        used=voice.word("used"),
        requested=voice.word("requested"),
    )
    return _quota(why, voice, voice.say("Stop one of your servers in this project first."))


def _quota_user(voice: _Voice) -> Message:
    why = voice.say(
        "Your limit over all projects: {limit}, you use {used}, this start asks for {requested}.",
        limit=voice.amount("limit"),
        used=voice.word("used"),
        requested=voice.word("requested"),
    )
    return _quota(why, voice, voice.say("Stop one of your servers first."))


def _quota_unknown(voice: _Voice) -> Message:
    return Message(
        voice.say("{profile} cannot be started right now.", profile=voice.profile),
        voice.say("What is in use cannot be counted at the moment."),
        voice.say("Try again in a minute."),
        field="profile",
    )


def _no_capacity(voice: _Voice) -> Message:
    return Message(
        voice.say("{profile} is not free right now.", profile=voice.profile),
        voice.say(
            "It needs {requested}; {free} of {total} are free.",
            requested=voice.amount("requested"),
            free=voice.word("free"),
            total=voice.word("total"),
        ),
        voice.say("Choose a smaller profile, or try again when somebody has stopped a server."),
        field="profile",
    )


def _volume_busy(voice: _Voice) -> Message:
    if voice.project:
        return Message(
            voice.say("Your home folder is still in use."),
            voice.say(
                "{server} runs in {project}, and a home has one project folder at a time.",
                server=voice.server,
                project=voice.project,
            ),
            voice.say("Stop that server first."),
        )
    return Message(
        voice.say("A folder of this server is still in use."),
        voice.say("{path} is attached to another server.", path=voice.word("path") or voice.say("Your home folder")),
        voice.say("Stop the other server first, or try again in a minute."),
    )


def _storage_quota(voice: _Voice) -> Message:
    return Message(
        voice.say("There is no quota left for storage."),
        voice.say(
            "Limit: {limit}, in use {used}, this start asks for {requested}.",
            limit=voice.word("limit"),
            used=voice.word("used"),
            requested=voice.word("requested"),
        ),
    )


def _storage_full(voice: _Voice) -> Message:
    return Message(
        voice.say("The disk is full."),
        voice.say("Nothing can be written to {path}.", path=voice.word("path")),
        voice.say("Delete files you do not need, or ask for more space."),
    )


def _storage_unusable(voice: _Voice) -> Message:
    path = voice.word("path")
    return Message(
        voice.say("A folder of this server cannot be used."),
        voice.say("{path} cannot be read or written.", path=path) if path or not voice.reported else voice.reported,
    )


def _dataset_missing(voice: _Voice) -> Message:
    claim = voice.word("claim")
    return Message(
        voice.say("A dataset of this project is missing."),
        voice.say("There is no claim {claim}.", claim=claim)
        if claim
        else voice.say("There is no folder {path}.", path=voice.word("path")),
    )


def _server_busy(voice: _Voice) -> Message:
    return Message(
        voice.say("{server} is busy.", server=voice.server),
        voice.say("It is starting, running or stopping already."),
        voice.say("Wait a moment, then look at your servers."),
    )


def _build_failed(voice: _Voice) -> Message:
    return Message(
        voice.say("The environment of {image} could not be prepared.", image=voice.image),
        voice.say("The installer stopped with an error."),
        voice.say("Choose another image, or try again later."),
        field="image",
    )


def _image_pull_failed(voice: _Voice) -> Message:
    return Message(
        voice.say("The image {image} could not be fetched.", image=voice.image),
        voice.reported or voice.say("The cluster gave up fetching it."),
        voice.say("Choose another image, or ask the admins of this hub."),
        field="image",
    )


def _unschedulable(voice: _Voice) -> Message:
    return Message(
        voice.say("No machine takes {profile} right now.", profile=voice.profile),
        voice.reported or voice.say("The cluster found no machine for it."),
        voice.say("Choose another profile, or try again later."),
        field="profile",
    )


def _start_failed(voice: _Voice) -> Message:
    quoted = voice.word("id")
    return Message(
        voice.say("The server could not start."),
        voice.say("It stopped before it was ready."),
        voice.say("Try again, and quote {id} when you ask.", id=quoted) if quoted else voice.say("Try again."),
    )


def _server_died(voice: _Voice) -> Message:
    return Message(
        voice.say("{server} stopped by itself.", server=voice.server),
        voice.say("Its process ended, and nobody had asked it to. Your files are kept."),
        voice.say("Start it again. If it stops again, it may have used more memory than it has."),
    )


def _out_of_memory(voice: _Voice) -> Message:
    limit = voice.word("limit")
    return Message(
        voice.say("{server} was stopped because it ran out of memory.", server=voice.server),
        voice.say("It may use {limit} and asked for more. Files in your home are safe.", limit=limit)
        if limit
        else voice.say("It asked for more than it may use. Files in your home are safe."),
        voice.say("Start it again with a larger profile, or with the same one and less data at a time."),
    )


def _evicted(voice: _Voice) -> Message:
    return Message(
        voice.say("The cluster stopped {server}.", server=voice.server),
        voice.language.sentences(
            voice.reported or voice.say("The machine needed its place."), voice.say("Files in your home are safe.")
        ),
        voice.say("Start it again, with the same or a larger profile."),
    )


def _node_lost(voice: _Voice) -> Message:
    node = voice.word("node")
    return Message(
        voice.say("{server} was lost together with its machine.", server=voice.server),
        voice.say("The machine {node} does not answer any more. Files in your home are safe.", node=node)
        if node
        else voice.say("The machine does not answer any more. Files in your home are safe."),
        voice.say("Start it again, with the same or a larger profile: it gets another machine."),
    )


def _project_left(voice: _Voice) -> Message:
    return Message(
        voice.say("{server} was stopped.", server=voice.server),
        voice.say("You are no longer in {project}. Files in your home are safe.", project=voice.project),
        voice.say("If that is a mistake, ask whoever manages its members; then sign in again."),
    )


def _start_timeout(voice: _Voice) -> Message:
    return Message(
        voice.say("The start took too long."),
        voice.say("It was given up, and nothing is left running."),
        voice.say("Try again."),
    )


def _name_collision(voice: _Voice) -> Message:
    return Message(
        voice.say("This name belongs to somebody else here."),
        voice.say("Two people’s names would lead to the same folder, and files are never shared that way."),
        voice.say("Ask the admins of this hub."),
    )


def _cluster_quota(voice: _Voice) -> Message:
    namespace = voice.word("namespace")
    amounts = {"limit": voice.amount("limit"), "used": voice.word("used"), "requested": voice.word("requested")}
    way = voice.say("Choose a smaller profile, or try again when somebody has stopped a server.")
    if voice.word("key") == STORAGE:
        way = voice.say("Ask the admins of this hub.")
    return Message(
        voice.say("The cluster’s own quota does not allow this start."),
        voice.say(
            "Limit of the cluster in {namespace}: {limit}, in use {used}, this start asks for {requested}.",
            namespace=namespace,
            **amounts,
        )
        if namespace
        else voice.say("Limit of the cluster: {limit}, in use {used}, this start asks for {requested}.", **amounts),
        way,
        field="profile",
    )


def _cluster_denied(voice: _Voice) -> Message:
    return Message(
        voice.say("The cluster does not accept this server."),
        voice.reported or voice.say("A rule of the cluster stands against it."),
        voice.say("Ask the admins of this hub."),
    )


def _namespace_missing(voice: _Voice) -> Message:
    return Message(
        voice.say("This project has no place in the cluster yet."),
        voice.say("There is no namespace {namespace}.", namespace=voice.word("namespace")),
        voice.say("Ask the admins of this hub."),
    )


def _api_unavailable(voice: _Voice) -> Message:
    return Message(
        voice.say("Nothing can be started right now."),
        voice.say("The cluster does not answer right now. Nothing was lost."),
        voice.say("Try again in a minute."),
    )


def _store_unavailable(voice: _Voice) -> Message:
    return Message(
        voice.say("Nothing can be started right now."),
        voice.say("The hub cannot write down what it starts, and starts nothing it could lose track of."),
        voice.say("Try again in a minute."),
    )


_SENTENCES: Mapping[Reason, Callable[[_Voice], Message]] = {
    Reason.INVALID_OPTIONS: _invalid_options,
    Reason.UNKNOWN_PROJECT: _unknown_project,
    Reason.NOT_MEMBER: _not_member,
    Reason.PROJECT_ARCHIVED: _project_archived,
    Reason.UNKNOWN_IMAGE: _unknown_image,
    Reason.IMAGE_NOT_OFFERED: _image_not_offered,
    Reason.IMAGE_RETIRED: _image_retired,
    Reason.IMAGE_UNRESOLVED: _image_unresolved,
    Reason.UNKNOWN_PROFILE: _unknown_profile,
    Reason.PROFILE_NOT_OFFERED: _profile_not_offered,
    Reason.PROFILE_RETIRED: _profile_retired,
    Reason.PROFILE_NOT_OPEN: _profile_not_open,
    Reason.PROFILE_UNFIT: _profile_unfit,
    Reason.IDENTITY_STALE: _identity_stale,
    Reason.NEVER_FITS: _never_fits,
    Reason.QUOTA_PROJECT: _quota_project,
    Reason.QUOTA_MEMBER: _quota_member,
    Reason.QUOTA_USER: _quota_user,
    Reason.QUOTA_UNKNOWN: _quota_unknown,
    Reason.NO_CAPACITY: _no_capacity,
    Reason.VOLUME_BUSY: _volume_busy,
    Reason.STORAGE_QUOTA: _storage_quota,
    Reason.STORAGE_FULL: _storage_full,
    Reason.STORAGE_UNUSABLE: _storage_unusable,
    Reason.DATASET_MISSING: _dataset_missing,
    Reason.SERVER_BUSY: _server_busy,
    Reason.BUILD_FAILED: _build_failed,
    Reason.START_FAILED: _start_failed,
    Reason.START_TIMEOUT: _start_timeout,
    Reason.SERVER_DIED: _server_died,
    Reason.OUT_OF_MEMORY: _out_of_memory,
    Reason.EVICTED: _evicted,
    Reason.NODE_LOST: _node_lost,
    Reason.PROJECT_LEFT: _project_left,
    Reason.IMAGE_PULL_FAILED: _image_pull_failed,
    Reason.UNSCHEDULABLE: _unschedulable,
    Reason.NAME_COLLISION: _name_collision,
    Reason.CLUSTER_QUOTA: _cluster_quota,
    Reason.CLUSTER_DENIED: _cluster_denied,
    Reason.NAMESPACE_MISSING: _namespace_missing,
    Reason.API_UNAVAILABLE: _api_unavailable,
    Reason.STORE_UNAVAILABLE: _store_unavailable,
}


def stage(name: str, language: Language | None = None) -> str:
    """A stage of a start in words."""
    language = language or Language()
    names = {
        "admit": language.say("Reserve a place"),
        "queue": language.say("Queued"),
        "machine": language.say("Wait for a machine"),
        "storage": language.say("Prepare your folders"),
        "image": language.say("Prepare the image"),
        "start": language.say("Start the server"),
        "ready": language.say("Wait for JupyterLab"),
    }
    return names.get(name, name)


def rule_name(rule: Rule, language: Language) -> str:
    """A rule of the policy in words, for explanations."""
    names = {
        Rule.OPTIONS: language.say("The choices are well-formed"),
        Rule.PROJECT_KNOWN: language.say("The project is known to the person"),
        Rule.PROJECT_MEMBER: language.say("The person is a member of the project"),
        Rule.PROJECT_ACTIVE: language.say("The project is not archived"),
        Rule.IMAGE_KNOWN: language.say("The image is known"),
        Rule.IMAGE_OFFERED: language.say("The project offers the image"),
        Rule.IMAGE_CURRENT: language.say("The image is not retired"),
        Rule.IMAGE_RESOLVED: language.say("The image can be started here"),
        Rule.PROFILE_KNOWN: language.say("The profile is known"),
        Rule.PROFILE_OFFERED: language.say("The project offers the profile"),
        Rule.PROFILE_CURRENT: language.say("The profile is not retired"),
        Rule.PROFILE_OPEN: language.say("The profile is open to the person"),
        Rule.PROFILE_COUNT: language.say("The profile opens that accelerator count"),
        Rule.PROFILE_FITS: language.say("The profile suits the image"),
        Rule.IDENTITY_CONFIRMED: language.say("Who the person is has been confirmed"),
        Rule.MACHINE_FITS: language.say("A machine is large enough"),
        Rule.USAGE_KNOWN: language.say("What is in use is known"),
        Rule.QUOTA_PROJECT: language.say("The project’s quota allows it"),
        Rule.QUOTA_MEMBER: language.say("The member’s quota allows it"),
        Rule.QUOTA_USER: language.say("The user’s quota allows it"),
        Rule.CAPACITY: language.say("A machine has room now"),
    }
    return names[rule]
