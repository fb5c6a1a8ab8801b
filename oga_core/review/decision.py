"""The decision in force for one sample, computed event by event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from sys import intern
from typing import NamedTuple


class Event(NamedTuple):
    """A line of the log. ``undoes`` is the decision that an undo takes back, or the undo that a redo takes back."""

    seq: int
    sample_id: str
    identity: str
    reviewer: str
    action: str
    old_label: str
    new_label: str
    base_seq: int
    undoes: int | None
    time: str


class Word(NamedTuple):
    """The last decision of another reviewer on a sample, by name and identity."""

    reviewer: str
    action: str
    new_label: str
    identity: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision in force for a sample.

    Attributes
    ----------
    conflict
        Whether another reviewer's decision was overtaken without having been seen; until somebody who has seen it decides.
    others
        The last words of other reviewers, until a dispute is settled.
    """

    seq: int
    sample_id: str
    identity: str
    reviewer: str
    action: str
    old_label: str
    new_label: str
    time: str
    conflict: bool
    others: tuple[Word, ...] = ()

    def __str__(self) -> str:
        return f"{self.action} to {self.new_label}" if self.new_label else self.action

    @property
    def disputed(self) -> bool:
        """Whether reviewers disagree: until they say the same, or one who has said nothing yet and has seen it decides."""
        return self.conflict or any((word.action, word.new_label) != (self.action, self.new_label) for word in self.others)


def after(event: Event, before: Decision | None) -> Decision:
    """Return the decision in force after an event that decides, from the decision before it."""
    conflict = False
    others: tuple[Word, ...] = ()
    if before is not None:
        seen = before.seq <= event.base_seq
        differs = (before.action, before.new_label) != (event.action, event.new_label)
        conflict = not seen and (before.conflict or (differs and before.identity != event.identity))
        words = (*before.others, Word(before.reviewer, before.action, before.new_label, before.identity))
        others = tuple(word for word in words if word.identity != event.identity)
        if seen and before.disputed and others == words:
            others = ()
    # Kept once each: there may be a million decisions.
    identity, reviewer, action, old_label, new_label, time = map(
        intern, (event.identity, event.reviewer, event.action, event.old_label, event.new_label, event.time)
    )
    return Decision(event.seq, event.sample_id, identity, reviewer, action, old_label, new_label, time, conflict, others)


def in_force(events: Iterable[Event]) -> list[Event]:
    """The decisions among all events of some samples that are not taken back, in their order.

    A decision that is done again after an undo is where it was: it overtakes nothing that was decided meanwhile.
    """
    events = list(events)
    redone = {event.undoes for event in events if event.action == "redo"}
    undone = {event.undoes for event in events if event.action == "undo" and event.seq not in redone}
    return [event for event in events if event.undoes is None and event.seq not in undone]
