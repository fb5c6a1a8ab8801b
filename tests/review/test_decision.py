"""What stands for one sample: conflicts, disputes, and what is taken back and done again."""

from __future__ import annotations

from oga_core.review.decision import Decision, Event, Word, after, in_force


class Log:
    """Events of one sample, each based on what its reviewer has seen of those before."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, reviewer: str, action: str, seen: int = 0, undoes: int | None = None, new_label: str = "") -> int:
        seq = len(self.events) + 1
        self.events.append(
            Event(seq, "s0", reviewer, reviewer, action, "cat", new_label, seen, undoes, "2026-01-01T00:00:00+00:00")
        )
        return seq

    def stands(self) -> Decision | None:
        found = None
        for event in in_force(self.events):
            found = after(event, found)
        return found

    def disputed(self) -> bool:
        stands = self.stands()
        return stands is not None and stands.disputed


def test_reviewers_who_say_different_things_dispute_a_sample_whether_they_have_seen_it_or_not() -> None:
    for seen in (0, 1):
        log = Log()
        log.add("ann", "keep")
        assert not log.disputed()
        log.add("bob", "remove", seen)
        stands = log.stands()
        assert stands is not None
        assert (stands.disputed, stands.conflict) == (True, not seen)
        assert stands.others == (Word("ann", "keep", "", "ann"),)


def test_another_new_label_is_a_dispute_and_the_same_is_none() -> None:
    log = Log()
    log.add("ann", "relabel", new_label="dog")
    first = log.add("bob", "relabel", new_label="dog")
    assert not log.disputed()
    log.add("bob", "relabel", first, new_label="owl")
    assert log.disputed()


def test_a_dispute_ends_when_all_say_the_same() -> None:
    log = Log()
    log.add("ann", "keep")
    second = log.add("bob", "remove", 1)
    log.add("ann", "remove", second)
    assert not log.disputed()


def test_a_dispute_is_not_ended_by_a_party_that_insists() -> None:
    log = Log()
    log.add("ann", "keep")
    second = log.add("bob", "remove", 1)
    third = log.add("ann", "keep", second)
    assert log.disputed()
    log.add("bob", "unsure", third)
    assert log.disputed()


def test_a_third_reviewer_settles_a_dispute_that_they_have_seen_and_only_then() -> None:
    log = Log()
    log.add("ann", "keep")
    second = log.add("bob", "remove", 1)
    log.add("cid", "remove")
    assert log.disputed()
    log.events.pop()
    third = log.add("cid", "remove", second)
    stands = log.stands()
    assert stands is not None
    assert (stands.disputed, stands.others) == (False, ())
    log.add("ann", "keep", third)
    assert log.disputed()


def test_what_a_reviewer_has_taken_back_is_not_their_word() -> None:
    log = Log()
    first = log.add("ann", "keep")
    log.add("bob", "remove", first)
    undo = log.add("ann", "undo", undoes=first)
    assert not log.disputed()
    log.add("ann", "redo", undoes=undo)
    assert log.disputed()


def test_undo_and_redo_can_follow_each_other_for_ever() -> None:
    log = Log()
    first = log.add("ann", "keep")
    for _ in range(3):
        undo = log.add("ann", "undo", undoes=first)
        assert log.stands() is None
        log.add("ann", "redo", undoes=undo)
        stands = log.stands()
        assert stands is not None
        assert stands.seq == first


def test_what_is_done_again_stands_where_it_stood_and_overtakes_nothing() -> None:
    log = Log()
    first = log.add("ann", "keep")
    undo = log.add("ann", "undo", undoes=first)
    log.add("bob", "remove")
    log.add("ann", "redo", undoes=undo)
    stands = log.stands()
    assert stands is not None
    assert (stands.reviewer, stands.action, stands.disputed) == ("bob", "remove", True)
