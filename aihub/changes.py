"""What an instructor may change of a project's images, and the history of it as the page shows it.

An action is judged against what the admins allow and what stands now; only what is allowed becomes a change that the
store makes. Values in, values out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from aihub.catalog import TagState
from aihub.coursepage import Action, Asked, ChangeFacts, Rejection
from aihub.errors import Reason
from aihub.policy import Policy, ProjectChoices, State
from aihub.projects import ImageDecision
from aihub.store import Action as Kind
from aihub.store import Change, HistoryEntry, SetDefault, SetState

__all__ = ["change_facts", "judge", "judge_undo"]

MAX_MESSAGE = 300
"""Characters of a message to members; the page's field takes no more."""


def judge(policy: Policy, choices: ProjectChoices, asked: Asked) -> Change | Rejection:
    """The change that `asked` means in the project of `choices`, or why it is not made.

    `choices` are those of whoever asks, as of now: they say what is offered, what is the default, and what can start.
    """
    found = policy.catalog.find(asked.image)
    stream, tag = found or (None, None)
    if stream is None or tag is None or not stream.offered or tag.state is not TagState.OFFERED:
        return Rejection.NOT_ALLOWED
    if not choices.project.images.includes_image(asked.image):
        return Rejection.NOT_ALLOWED
    if asked.action is Action.DEFAULT:
        return SetDefault(asked.image) if _startable(choices, asked.image) else Rejection.NOT_STARTABLE
    if asked.action is Action.OFFER:
        return SetState(asked.image, TagState.OFFERED)
    if _is_default(choices, asked.image):
        return Rejection.IS_DEFAULT
    if asked.action is Action.HIDE:
        return SetState(asked.image, TagState.HIDDEN)
    if asked.successor and (asked.successor == asked.image or not _offered(choices, asked.successor)):
        return Rejection.BAD_SUCCESSOR
    return SetState(asked.image, TagState.RETIRED, asked.successor or None, _message(asked.message))


def judge_undo(policy: Policy, choices: ProjectChoices, entry: HistoryEntry) -> Rejection | None:
    """Why the change of `entry` cannot be taken back now: what it would bring back is judged as if asked for anew."""
    if entry.action is Kind.SET_DEFAULT:
        asked = Asked(Action.DEFAULT, entry.before) if isinstance(entry.before, str) else None
    else:
        asked = _asked(entry.reference or "", entry.before)
    judged = judge(policy, choices, asked) if asked is not None else None
    return judged if isinstance(judged, Rejection) else None


_ACTIONS = {TagState.OFFERED: Action.OFFER, TagState.HIDDEN: Action.HIDE, TagState.RETIRED: Action.RETIRE}


def _asked(image: str, decided: object) -> Asked:
    """The action that leads to what was `decided` of `image`; undecided is offered."""
    decision = decided if isinstance(decided, ImageDecision) else ImageDecision()
    return Asked(_ACTIONS[decision.state], image, decision.successor or "", decision.message)


def _is_default(choices: ProjectChoices, image: str) -> bool:
    choice = choices.image(image)
    return choice is not None and choice.default


def _offered(choices: ProjectChoices, image: str) -> bool:
    choice = choices.image(image)
    refusal = choice.verdict.refusal if choice is not None else None
    return choice is not None and (refusal is None or refusal.reason is not Reason.IMAGE_RETIRED)


def _startable(choices: ProjectChoices, image: str) -> bool:
    choice = choices.image(image)
    return choice is not None and choice.verdict.state is not State.NO


_BIDIRECTIONAL = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def _message(text: str) -> str:
    """One line that cannot turn the text around it."""
    kept = (
        " " if unicodedata.category(each) in ("Cc", "Zl", "Zp") else each
        for each in text
        if unicodedata.bidirectional(each) not in _BIDIRECTIONAL
    )
    return " ".join("".join(kept).split())[:MAX_MESSAGE]


def change_facts(history: Iterable[HistoryEntry], default: str) -> tuple[ChangeFacts, ...]:
    """The history, newest first, as the page shows it. `default` is the image that the policy file alone means.

    Only the last change of each thing can be undone: what came before it was changed again since.
    """
    facts, seen = [], set()
    for entry in history:
        thing = (entry.action, entry.reference)
        facts.append(_facts(entry, default, last=thing not in seen))
        seen.add(thing)
    return tuple(facts)


def _facts(entry: HistoryEntry, default: str, *, last: bool) -> ChangeFacts:
    # An undo is shown as the change that it took back: from what it found to what it left, turned around.
    undoes = entry.undo_of is not None
    before, after = (entry.after, entry.before) if undoes else (entry.before, entry.after)
    if entry.action is Kind.SET_DEFAULT:
        asked = Asked(Action.DEFAULT, after if isinstance(after, str) else default)
    else:
        asked = _asked(entry.reference or "", after)
    return ChangeFacts(
        id=str(entry.id),
        at=entry.at,
        by=entry.by,
        action=asked.action,
        image=asked.image,
        before=before if isinstance(before, str) else "",
        successor=asked.successor,
        undoes=undoes,
        may_undo=last,
    )
