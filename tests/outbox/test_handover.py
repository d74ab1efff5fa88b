"""Promises about handing a session over to its next one on the server: all of it, or nothing."""

from __future__ import absolute_import, division

import pytest
from tools.outboxes import CAP, Warnings

from datacat.outbox import handover, upkeep
from datacat.outbox.handover import hand_over, last_kinds
from datacat.outbox.outbox import Outbox
from datacat.outbox.refusals import NumberTaken
from datacat.outbox.store import Store
from datacat.records import kinds

LAST_WORDS = [(kinds.EVENT, b"event"), (kinds.END, b"{}")]
COUNTS = ("server_id", "restoring", "events", "metrics", "shared")
OLD = (u"old", 0, 7, 5, 1)
NEW = (u"new", 1, 0, 0, 0)


@pytest.fixture
def known_box(box):
    """A box whose session the server knows as "old", with two records waiting."""
    box.append(b"1", b"2")
    box.outbox.update(box.entry, **dict(zip(COUNTS, OLD)))
    return box


def columns(entry):
    return tuple(getattr(entry, name) for name in COUNTS)


def found_in(outbox):
    """Return [(columns, goodbye, (kind, body) of what waits)] of each session of an outbox."""
    found = []
    for entry in outbox.entries():
        waiting = outbox.front(entry, 10)
        assert entry.waiting == len(waiting)
        assert [record.number for record in waiting] == list(range(1, len(waiting) + 1))
        there = [(record.kind, record.body) for record in waiting]
        found.append((columns(entry), entry.goodbye, there))
    return found


def left_at(path):
    outbox = Outbox(Store(path), CAP, Warnings())
    try:
        return [each for each in found_in(outbox) if each[1] is None or each[2]]
    finally:
        outbox.close()


WAITING = [(kinds.EVENT, b"1"), (kinds.EVENT, b"2")]
BEFORE = [(OLD, None, WAITING)]
AFTER = [(NEW, None, WAITING), (OLD[:1] + (0,) + OLD[2:], u"ended", LAST_WORDS)]


def test_the_old_id_keeps_its_counts_and_gets_its_last_words(known_box):
    box = known_box
    newly_waiting = len(box.outbox.newly_waiting)
    assert hand_over(box.outbox, box.entry, u"new", LAST_WORDS)
    assert found_in(box.outbox) == AFTER
    (past,) = box.entry.past
    assert past.is_past and not box.entry.is_past
    assert [entry for entry, _ in box.outbox.newly_waiting][newly_waiting:] == [past]
    times = [record.captured for entry in box.outbox.entries() for record in box.drain(entry)]
    assert times == sorted(set(times))


def test_a_kill_anywhere_leaves_all_of_it_or_nothing(known_box, tmp_path, monkeypatch):
    box, kills = known_box, []
    together = box.store._together

    def copied(doing, statements):
        kills.append(box.copy_as_killed_into(tmp_path / ("%d" % len(kills))))
        together(doing, statements)
        kills.append(box.copy_as_killed_into(tmp_path / ("%d" % len(kills))))

    monkeypatch.setattr(box.store, "_together", copied)
    hand_over(box.outbox, box.entry, u"new", LAST_WORDS)
    assert [left_at(path) for path in kills] == [BEFORE] * 3 + [AFTER]


def test_the_log_is_synced_after_it(known_box, monkeypatch):
    seen = []
    monkeypatch.setattr(
        upkeep, "_sync_file", lambda path: seen.append((path, columns(known_box.entry)))
    )
    hand_over(known_box.outbox, known_box.entry, u"new", LAST_WORDS)
    assert seen == [(known_box.path + "-wal", NEW)]


def test_without_a_log_to_sync_it_is_done_all_the_same(known_box, monkeypatch):
    def fail(path):
        raise OSError("no such file")

    monkeypatch.setattr(upkeep, "_sync_file", fail)
    assert hand_over(known_box.outbox, known_box.entry, u"new", LAST_WORDS)


def test_on_a_disk_that_refuses_nothing_changes(known_box):
    known_box.store.full = True
    known_box.append(b"3")
    assert not hand_over(known_box.outbox, known_box.entry, u"new", LAST_WORDS)
    assert columns(known_box.entry) == OLD
    assert known_box.outbox.entries() == [known_box.entry]


@pytest.mark.parametrize("trouble", ["full", "full_for_inserts"])
def test_a_disk_that_refuses_right_then_loses_nothing(known_box, trouble):
    box = known_box
    setattr(box.store, trouble, True)
    is_done = hand_over(box.outbox, box.entry, u"new", LAST_WORDS)
    setattr(box.store, trouble, False)
    assert box.outbox.upkeep.heal(None)
    assert found_in(box.outbox) == (AFTER if is_done else BEFORE)


def test_a_number_that_is_taken_changes_nothing(known_box, monkeypatch):
    def taken(*arguments, **options):
        raise NumberTaken("taken")

    monkeypatch.setattr(known_box.outbox.disk, "insert_all", taken)
    assert not hand_over(known_box.outbox, known_box.entry, u"new", LAST_WORDS)
    assert found_in(known_box.outbox) == BEFORE


def test_a_session_that_was_forgotten_is_not_handed_over(known_box):
    known_box.outbox.forget(known_box.entry)
    assert not hand_over(known_box.outbox, known_box.entry, u"new", LAST_WORDS)
    assert known_box.outbox.entries() == []


def test_a_session_is_delivered_once_its_past_is(known_box):
    box = known_box
    hand_over(box.outbox, box.entry, u"new", LAST_WORDS)
    hand_over(box.outbox, box.entry, u"newer", LAST_WORDS)
    first, second = box.entry.past
    box.drain()
    box.outbox.update(box.entry, restoring=0)
    assert not box.entry.is_delivered
    box.drain(first)
    assert not box.entry.is_delivered
    box.drain(second)
    assert box.entry.is_delivered
    hand_over(box.outbox, box.entry, u"newest", LAST_WORDS)
    assert len(box.entry.past) == 1, "what is delivered is kept for ever"


def test_the_last_kinds_are_those_of_the_last_records_that_wait(known_box):
    box = known_box
    assert last_kinds(box.outbox, box.entry) == [kinds.EVENT] * 2
    box.outbox.say_goodbye(box.entry, u"ended", kinds.END, b"{}")
    box.append(b"late")
    assert last_kinds(box.outbox, box.entry) == [kinds.EVENT] * 2 + [kinds.END, kinds.EVENT]
    box.outbox.settle_all(box.entry, box.outbox.front(box.entry, 3))
    assert last_kinds(box.outbox, box.entry) == [kinds.EVENT]
    box.append(*[b"later"] * handover._LAST_FEW)
    assert len(last_kinds(box.outbox, box.entry)) == handover._LAST_FEW
