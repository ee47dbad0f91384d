"""What the parts of the policy file say of each other: references, defaults, sizes against quotas, names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from aihub.catalog import ImageTag, TagState
from aihub.checker import Body, Checker
from aihub.findings import Finding, nearest
from aihub.groupprojects import MARK, Frame
from aihub.policy import Policy
from aihub.policyfile import PolicyDocument
from aihub.positions import Document, Path
from aihub.profiles import Profile
from aihub.projects import Project, normalised_user, project_slug
from aihub.quota import Quota
from aihub.resources import SERVERS, STORAGE, format_amount, is_accelerator
from aihub.signinchecks import check_sign_in
from aihub.storage import HomeScope

__all__ = ["check_references"]


def check_references(
    document: Document,
    model: PolicyDocument,
    policy: Policy,
    templates: Mapping[str, Project],
    *,
    whole: bool,
    streams_known: bool,
) -> list[Finding]:
    """Every reference in the policy that does not hold.

    `model`, `policy` and `templates`, the projectTemplates, are what could be read of `document`. `whole` tells that
    nothing was left out on the way: only then is something that is empty said to be. `streams_known` is false where a
    file of image streams could not be read: then a stream may be in it.
    """
    checker = Checker(document, model, policy, templates, whole, streams_known)
    for check in _CHECKS:
        check(checker)
    return checker.findings


# --- images ----------------------------------------------------------------------------------------------------------


def _tags(checker: Checker) -> None:
    for name, stream in checker.model.image_streams.items():
        for key in stream.tags:
            path: Path = ("imageStreams", name, "tags", key)
            tag = stream.tags[key].tag(key)
            _tag_successor(checker, (*path, "successor"), name, tag)
            if checker.whole and tag.image is None and tag.requirements is None:
                checker.warn(
                    path,
                    "nothing-to-run",
                    f"{name}:{key} has neither an image nor requirements: nothing can be started from it",
                    "Give it `image` for Kubernetes, `requirements` for one machine.",
                )


def _tag_successor(checker: Checker, path: Path, stream: str, tag: ImageTag) -> None:
    if tag.successor is None:
        return
    reference = tag.successor if ":" in tag.successor else f"{stream}:{tag.successor}"
    if reference == f"{stream}:{tag.name}":
        checker.error(path, "own-successor", f"{reference} cannot follow itself", "Name the tag that replaces it.")
    elif problem := checker.image_problem(reference):
        checker.error(path, "unknown-image", problem[0], "Name a tag that exists.", problem[1])
    elif tag.state is not TagState.RETIRED:
        message = f"{stream}:{tag.name} has a successor but is not retired"
        checker.warn(path, "unused-successor", message, "Set `state: retired`, or remove the successor.")


def _image_offers(checker: Checker) -> None:
    for body in checker.bodies:
        project = body.project
        path = (*body.path, "images")
        for index, reference in _entries(checker, (*path, "offer"), project.images.ids):
            _image_offer(checker, (*path, "offer", index), reference)
        if project.images.default is not None:
            _image_default(checker, (*path, "default"), project, project.images.default)
        if checker.whole and not project.images.ids and not project.archived:
            _offers_nothing(checker, path, body.called, "image")


def _entries(checker: Checker, path: Path, read: Collection[str]) -> Iterator[tuple[int, str]]:
    """The texts of a list that could be `read`, with their positions there."""
    value = checker.document.at(path)
    if isinstance(value, list):
        yield from ((index, each) for index, each in enumerate(value) if each in read)


def _image_offer(checker: Checker, path: Path, reference: str) -> None:
    if problem := checker.image_problem(reference):
        checker.error(path, "unknown-image", problem[0], "Offer a stream or stream:tag that exists.", problem[1])
        return
    stream = checker.catalog.streams.get(reference.partition(":")[0])
    if stream is not None and not stream.offered:
        checker.warn(
            path,
            "not-listed",
            f"the image stream {stream.name} is not offered by its document: nobody will see it",
            'Set `offered: true`, in an ImageStream the label opendatahub.io/notebook-image: "true".',
        )


def _image_default(checker: Checker, path: Path, project: Project, default: str) -> None:
    if problem := checker.image_problem(default):
        checker.error(path, "unknown-image", problem[0], "Name an image that exists.", problem[1])
        return
    name, _, tag_name = default.partition(":")
    stream = checker.catalog.streams.get(name)
    if stream is None:
        return
    offered = [each for each in project.images.ids if each.partition(":")[0] == name]
    if not project.images.includes_image(default):
        message = f"the default image {default} is not among the images that {project.name} offers"
        suggestion = offered[0] if offered else nearest(default, project.images.ids)
        checker.error(path, "default-not-offered", message, f"Add {default} to `offer`, or choose another.", suggestion)
    tag = stream.tag(tag_name)
    if tag is not None and tag.state is not TagState.OFFERED:
        successor = tag.successor or ""
        meant = successor if ":" in successor or not successor else f"{name}:{successor}"
        meant = meant if checker.catalog.find(meant) else ""
        message = f"the default image {default} is {tag.state}: nobody can start it"
        checker.error(path, "default-not-usable", message, "Choose a tag that is offered.", meant)


def _offers_nothing(checker: Checker, path: Path, called: str, kind: str) -> None:
    checker.warn(
        (*path, "offer"),
        "offers-nothing",
        f"{called} offers no {kind}: nothing can be started in it",
        f"List what it may use under `offer` of `{kind}s`.",
    )


# --- profiles --------------------------------------------------------------------------------------------------------


def _profiles(checker: Checker) -> None:
    for name, profile in checker.policy.profiles.items():
        path: Path = ("profiles", name)
        for key in profile.requests:
            if key in profile.limits and profile.limits[key] < profile.requests[key]:
                message = f"the limit of {key} is below the request"
                checker.error((*path, key, "limit"), "limit-below-request", message, "Raise the limit.")
        request, limit = profile.ephemeral_request, profile.ephemeral_limit
        if request is not None and limit is not None and limit < request:
            message = "the limit of ephemeralStorage is below the request"
            checker.error((*path, "ephemeralStorage", "limit"), "limit-below-request", message, "Raise the limit.")
        if profile.successor is not None:
            _profile_successor(checker, (*path, "successor"), profile, profile.successor)
        if checker.whole and profile.groups == ():
            message = f"nobody may use the profile {name}: its list of groups is empty"
            checker.warn(
                (*path, "groups"), "nobody", message, "List groups, or remove the key to open it to everybody."
            )


def _profile_successor(checker: Checker, path: Path, profile: Profile, successor: str) -> None:
    if successor == profile.name:
        checker.error(path, "own-successor", f"{successor} cannot follow itself", "Name the profile that replaces it.")
    elif problem := checker.profile_problem(successor):
        checker.error(path, "unknown-profile", problem[0], "Name a profile that exists.", problem[1])
    elif not profile.retired:
        message = f"{profile.name} has a successor but is not retired"
        checker.warn(path, "unused-successor", message, "Set `retired: true`, or remove the successor.")


def _profile_offers(checker: Checker) -> None:
    for body in checker.bodies:
        project = body.project
        path = (*body.path, "profiles")
        for index, offered in _entries(checker, (*path, "offer"), project.profiles.ids):
            if problem := checker.profile_problem(offered):
                checker.error(
                    (*path, "offer", index), "unknown-profile", problem[0], "Offer a profile that exists.", problem[1]
                )
        if project.profiles.default is not None:
            _profile_default(checker, (*path, "default"), project, project.profiles.default)
        if checker.whole and not project.profiles.ids and not project.archived:
            _offers_nothing(checker, path, body.called, "profile")


def _profile_default(checker: Checker, path: Path, project: Project, default: str) -> None:
    if problem := checker.profile_problem(default):
        checker.error(path, "unknown-profile", problem[0], "Name a profile that exists.", problem[1])
        return
    if default not in project.profiles.ids:
        message = f"the default profile {default} is not among the profiles that {project.name} offers"
        suggestion = nearest(default, project.profiles.ids)
        checker.error(path, "default-not-offered", message, f"Add {default} to `offer`, or choose another.", suggestion)
    profile = checker.policy.profiles.get(default)
    if profile is not None and (profile.retired or profile.hidden):
        state = "retired" if profile.retired else "hidden"
        message = f"the default profile {default} is {state}: nobody can start it"
        checker.error(path, "default-not-usable", message, "Choose another profile.", profile.successor or "")


# --- sizes and quotas ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Level:
    """One quota that a start in a project meets, where it stands and whose it is."""

    path: Path
    quota: Quota
    whose: str
    own: bool


def _levels(policy: Policy, body: Body) -> tuple[_Level, ...]:
    project = body.project
    base = (*body.path, "quota")
    return (
        _Level((*base, "project"), project.quota, f"the quota of {project.name}", own=True),
        _Level((*base, "perMember"), project.member_quota, f"the quota of each member of {project.name}", own=True),
        _Level(("quota", "perUser"), policy.user_quota, "the quota of each user", own=False),
    )


def _sizes(checker: Checker) -> None:
    for body in checker.bodies:
        path = (*body.path, "profiles", "offer")
        for index, offered in _entries(checker, path, body.project.profiles.ids):
            profile = checker.policy.profiles.get(offered)
            if profile is not None and not profile.retired and not body.project.archived:
                for level in _levels(checker.policy, body):
                    _size(checker, (*path, index), profile, level)


def _size(checker: Checker, path: Path, profile: Profile, level: _Level) -> None:
    """A profile against one quota: error where no start of it can ever fit the project's own, warning else."""
    counts = profile.counts()
    for count in dict.fromkeys((min(counts), max(counts))):
        charge = profile.charge(count)
        key = next((key for key in charge if charge[key] > level.quota.get(key, charge[key])), None)
        if key is None:
            continue
        message = (
            f"the profile {profile.name} needs {format_amount(key, charge[key])} of {key}"
            f"{f' for {count} accelerators' if count > 1 else ''}, more than {level.whose} allows "
            f"({format_amount(key, level.quota[key])}, {_where(checker, (*level.path, key))})"
        )
        report = checker.error if level.own and count == min(counts) else checker.warn
        report(path, "profile-exceeds-quota", message, "Raise the quota, or do not offer the profile here.")
        return


def _where(checker: Checker, path: Path) -> str:
    place = checker.document.key_place(path)
    return f"{place.file}:{place.line}"


def _quota_keys(checker: Checker) -> None:
    everything = list(checker.policy.profiles.values())
    _unused_keys(checker, ("quota", "perUser"), checker.policy.user_quota, everything, "")
    for body in checker.bodies:
        ids, profiles = body.project.profiles.ids, checker.policy.profiles
        offered = [profiles[each] for each in ids if each in profiles]
        for level in _levels(checker.policy, body):
            if level.own:
                _unused_keys(checker, level.path, level.quota, offered, f" that {body.project.name} offers")


def _unused_keys(checker: Checker, path: Path, quota: Quota, profiles: Iterable[Profile], of: str) -> None:
    used = {profile.accelerator.resource for profile in profiles if profile.accelerator}
    for key, limit in quota.items():
        if (is_accelerator(key) or key == SERVERS) and limit != limit.to_integral_value():
            message = f"{key} are counted in whole numbers"
            checker.error((*path, key), "not-whole", message, "Write a whole number.", str(int(limit)))
        if checker.whole and is_accelerator(key) and key not in used:
            message = f"no profile{of} uses {key}: this quota limits nothing"
            checker.warn((*path, key), "unused-quota", message, "Remove the key, or correct it.", nearest(key, used))


def _storage(checker: Checker) -> None:
    scope, user_size = checker.policy.home.scope, checker.policy.home.size
    if scope is HomeScope.USER:
        limits = checker.policy.user_quota
        _fits_storage(checker, ("home", "size"), user_size, limits, "the storage quota of each user")
    for body in checker.bodies:
        project, name = body.project, body.project.name
        path = (*body.path, "storage")
        if project.storage.home_size is not None and scope is HomeScope.USER:
            message = "homes have one size for all projects while home.scope is user"
            checker.error(
                (*path, "home", "size"), "home-scope", message, "Remove this size, or set `home: {scope: project}`."
            )
        elif project.storage.home_size is not None:
            for level in _levels(checker.policy, body):
                _fits_storage(checker, (*path, "home", "size"), project.storage.home_size, level.quota, level.whose)
        if project.storage.shared is not None:
            size = project.storage.shared.size
            _fits_storage(checker, (*path, "shared", "size"), size, project.quota, f"the quota of {name}")
        for dataset in project.storage.datasets.values():
            written = checker.written(*path, "datasets", dataset.name)
            if "path" not in written and "claim" not in written:
                message = f"the dataset {dataset.name} has neither a path nor a claim"
                checker.error(
                    (*path, "datasets", dataset.name),
                    "no-source",
                    message,
                    "Give it `path` for one machine, `claim` for Kubernetes.",
                )


def _fits_storage(checker: Checker, path: Path, size: Decimal | None, quota: Quota, whose: str) -> None:
    limit = quota.get(STORAGE)
    if size is not None and limit is not None and size > limit:
        wanted, allowed = format_amount(STORAGE, size), format_amount(STORAGE, limit)
        message = f"{wanted} is more than {whose} allows ({allowed}): nothing could be started"
        checker.error(path, "storage-exceeds-quota", message, "Raise the quota, or make it smaller.")


# --- names and people ------------------------------------------------------------------------------------------------


def _slugs(checker: Checker) -> None:
    _namesakes(checker, ("projects",), checker.model.projects, project_slug, "project", "folder and address")
    sign_in = checker.model.sign_in
    _namesakes(checker, ("signIn", "personas"), sign_in.personas, normalised_user, "persona", "user name")
    _namesakes(checker, ("signIn", "people"), sign_in.people, normalised_user, "name", "user name")


def _namesakes(
    checker: Checker, path: Path, names: Iterable[str], slug: Callable[[str], str], kind: str, of: str
) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(slug(name).casefold(), name)
        if first != name:
            message = f"the {kind}s {first} and {name} would have the same {of}"
            checker.error((*path, name), "same-name", message, "Rename one of them.")


def _namespaces(checker: Checker) -> None:
    if checker.model.cluster.namespaces == "shared":
        for name, project in checker.policy.projects.items():
            if project.namespace is not None:
                message = f"the project {name} has a namespace, but all servers share one"
                what_to_do = "Set `namespaces: perProject` under `cluster`, or remove the key."
                checker.error(("projects", name, "namespace"), "shared-namespace", message, what_to_do)
        return
    if checker.policy.home.scope is HomeScope.USER:
        written = checker.document.at(("home", "scope")) is not None
        message = "a namespace for each project needs a home in each: a claim cannot be used in two namespaces"
        path: Path = ("home", "scope") if written else ("cluster", "namespaces")
        checker.error(path, "home-scope", message, "Set `home: {scope: project}`, or `namespaces: shared`.")
    _own_namespaces(checker)


def _own_namespaces(checker: Checker) -> None:
    taken: dict[str, str] = {}
    for name, project in checker.policy.projects.items():
        path: Path = ("projects", name, "namespace")
        if project.namespace is None:
            if checker.document.at(path) is None:
                message = f"the project {name} has no namespace, and cluster.namespaces is perProject"
                checker.error(path[:-1], "no-namespace", message, "Give it a `namespace` of its own.")
            continue
        first = taken.setdefault(project.namespace, name)
        if first != name:
            message = f"the projects {first} and {name} have the same namespace {project.namespace}"
            checker.error(path, "same-namespace", message, "Give each project a `namespace` of its own.")


def _members(checker: Checker) -> None:
    if not checker.whole:
        return
    for name, project in checker.policy.projects.items():
        membership = (project.members, project.instructors)
        nobody = not any(each.everybody or each.groups or each.users for each in membership)
        if nobody and not project.archived:
            message = f"the project {name} has no members: nobody can use it"
            what_to_do = "List groups or users under `members`, or set `open: true`."
            checker.warn(("projects", name), "nobody", message, what_to_do)


def _group_projects(checker: Checker) -> None:
    patterns = checker.model.group_projects
    frames: dict[str, Frame] = {}
    for key, each in patterns.items():
        path: Path = ("groupProjects", key)
        if each.template not in checker.written("projectTemplates"):
            near = nearest(each.template, checker.written("projectTemplates"))
            message = f"there is no template {each.template}"
            checker.error((*path, "template"), "unknown-template", message, "Name one of projectTemplates.", near)
        if each.instructors is not None and Frame.of(each.members).meets(Frame.of(each.instructors)):
            message = "one group could be that of the members and that of the instructors"
            checker.error((*path, "instructors"), "same-group", message, "Name groups that can be told apart.")
        own = Frame.of(each.name)
        twin = next((other for other, frame in frames.items() if frame.meets(own)), None)
        if twin is not None:
            message = f"{twin} and {key} could make projects of the same name"
            what_to_do = f"Give them `name`s that can be told apart, as in {key}-{MARK}."
            checker.error((*path, "name") if each.name != MARK else path, "same-name", message, what_to_do)
        frames[key] = own
    used = {each.template for each in patterns.values()}
    for name in checker.templates:
        if checker.whole and name not in used and used <= checker.templates.keys():
            message = f"nothing is made with the template {name}"
            checker.warn(("projectTemplates", name), "no-effect", message, "Name it in groupProjects, or remove it.")


def _idle(checker: Checker) -> None:
    for body in checker.bodies:
        project = body.project
        stop_after, max_age = project.idle.stop_after, project.idle.max_age
        if stop_after is not None and max_age is not None and max_age <= stop_after:
            message = "a server reaches maxAge before stopAfter can count: stopAfter has no effect"
            what_to_do = "Make maxAge longer than stopAfter, or remove stopAfter."
            checker.warn((*body.path, "idle", "maxAge"), "idle-order", message, what_to_do)


_CHECKS: tuple[Callable[[Checker], None], ...] = (
    _tags,
    _image_offers,
    _profiles,
    _profile_offers,
    _sizes,
    _quota_keys,
    _storage,
    _slugs,
    _namespaces,
    _members,
    check_sign_in,
    _group_projects,
    _idle,
)
