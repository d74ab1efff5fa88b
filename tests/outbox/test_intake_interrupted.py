"""A way in that is interrupted anywhere, by Ctrl-C or want of memory, leaves nothing undone."""

from __future__ import absolute_import, division

import functools
import itertools

import pytest
from tools.interruption import Interrupted, each_step, interrupt
from tools.outboxes import (
    Box,
    Holder,
    in_another_thread,
    queue_some,
)

from datacat.outbox import intake
from datacat.records import kinds


def interrupt_between_row_and_count(box):
    insert = box.store.insert

    def insert_and_be_interrupted(*arguments):
        box.store.insert = insert
        insert(*arguments)
        raise Interrupted()

    box.store.insert = insert_and_be_interrupted
    with pytest.raises(Interrupted):
        box.append(b"interrupted")


@pytest.mark.parametrize(
    "before, is_full",
    [
        (lambda box: None, False),
        (interrupt_between_row_and_count, False),
        (lambda box: None, True),
    ],
    ids=["first", "second in a row", "disk full"],
)
@pytest.mark.parametrize("call", ["append", "give_up"])
def test_a_call_interrupted_anywhere_holds_nothing_and_keeps_what_was_queued(
    box, before, call, is_full
):
    """Ctrl-C that the application outlives, by turns at each step of the way in."""
    calls = {
        "append": lambda: box.append(b"interrupted"),
        "give_up": lambda: box.outbox.give_up(box.entry, kinds.EVENT),
    }

    def between():
        dropped = box.entry.dropped
        before(box)
        queue_some(box)
        box.store.full_for_inserts = is_full

        def check():
            in_another_thread(box.append, b"4")
            box.store.full_for_inserts = False
            assert box.outbox.in_memory == len(box.outbox.disk.memory)
            assert [body for body in box.bodies() if body != b"interrupted"] == [b"1", b"3", b"4"]
            assert box.entry.waiting == 0
            # The one that was queued; that of the interrupted call may be counted or not.
            assert 1 <= box.entry.dropped - dropped <= (2 if call == "give_up" else 1)
            assert box.outbox.upkeep.heal(None)

        return check

    assert each_step(calls[call], between) > 60 and bool(box.store.refused) == is_full


def test_an_end_or_a_report_interrupted_anywhere_is_written_once_with_what_it_says(box):
    """The record and the session's row change together, however often it is repeated."""
    entries = []

    def between():
        entry = box.outbox.add_session(u"local-%d" % (len(entries) + 2), b"{}")
        entries.append(entry)
        box.outbox.append(entry, kinds.EVENT, b"1")
        entry.unreported = entry.dropped = 2

        def check():
            box.outbox.take_in()
            box.outbox.append(entry, kinds.EVENT, b"2")
            box.outbox.say_goodbye(entry, "ended", kinds.END, b"{}")
            assert (entry.goodbye, entry.unreported) == ("ended", 0)
            kept = [record.kind for record in box.drain(entry)]
            assert (kept.count(kinds.EVENT), kept.count(kinds.REPORT)) == (2, 1)
            assert kept[-1] == kinds.END
            assert entry.waiting == 0 and box.entry.dropped == 0

        return check

    steps = each_step(
        lambda: box.outbox.say_goodbye(entries[-1], "ended", kinds.END, b"{}"), between
    )
    assert steps > 60


@pytest.mark.parametrize("call", ["forget_if_over", "forget"])
@pytest.mark.parametrize("is_over", [True, False])
def test_a_session_whose_removal_is_interrupted_is_gone_or_takes_records(box, call, is_over):
    """A log call looks for another outbox only if this one no longer has the session."""
    entries = []

    def between():
        entries.append(box.outbox.add_session(u"local-%d" % (len(entries) + 2), b"{}"))
        if is_over:
            box.outbox.say_goodbye(entries[-1], "ended")

        def check():
            entry = entries[-1]
            assert box.outbox.append(entry, kinds.EVENT, b"1") == box.outbox.has(entry)

        return check

    assert each_step(lambda: getattr(box.outbox, call)(entries[-1]), between) > 10


def test_making_room_interrupted_anywhere_loses_no_count(make_box):
    """Accepted = delivered + dropped + merged, also where Ctrl-C strikes a log call at the cap."""
    box = make_box(max_bytes=60000)
    accepted = []

    def between():
        for number in range(30):
            box.append(b'{"n":%d,"p":"%s"}' % (number, b"x" * 900))
        return lambda: None

    each_step(lambda: box.append(b"at the cap" + b"x" * 900), between)
    delivered = len(box.drain())
    assert box.entry.dropped > 100 and delivered > 10
    assert delivered + box.entry.dropped == box.entry.accepted and box.entry.waiting == 0
    assert not accepted


def test_a_call_interrupted_while_it_waits_leaves_nothing_behind(box):
    """Or its thread would never wait again."""

    def between():
        holder = Holder(box)

        def check():
            holder.release()
            assert not box.outbox.lock._is_owned()
            in_another_thread(box.append, b"next")
            assert box.outbox.in_memory == 0

        return check

    assert each_step(lambda: box.append(b"interrupted"), between) > 15
    waits = []
    holder = Holder(box)
    try:
        acquire = intake.locks.acquire_within
        intake.locks.acquire_within = lambda lock, seconds: waits.append(seconds)
        box.append(b"waits again")
    finally:
        intake.locks.acquire_within = acquire
        holder.release()
    assert len(waits) == 1


def test_a_row_that_was_settled_does_not_come_back_by_a_repeated_attempt(box):
    """Whatever reads or removes rows first finishes the attempt that was interrupted."""
    interrupt_between_row_and_count(box)
    in_another_thread(lambda: box.outbox.settle(box.entry, box.outbox.head(box.entry)))
    box.append(b"2")
    assert box.bodies() == [b"2"] and box.entry.accepted == box.entry.gone == 2


def test_want_of_memory_for_the_queue_drops_no_kept_record(box):
    """A caller that gets a MemoryError counts the record as dropped."""
    insert_all, struck = box.store.insert_all, []

    def without_memory(*arguments):
        box.store.insert_all = insert_all
        struck.append(arguments)
        raise MemoryError()

    box.store.insert_all = without_memory
    queue_some(box)
    box.append(b"own")
    assert box.outbox.give_up(box.entry, kinds.EVENT)
    assert len(struck) == 1
    assert box.bodies() == [b"1", b"3", b"own"] and box.entry.dropped == 2


def test_want_of_memory_anywhere_in_a_log_call_leaves_no_lock_held(box):
    """Or else every later call of the thread takes itself for one that interrupts the holder."""

    def between():
        queue_some(box)

        def check():
            assert not box.outbox.lock._is_owned()
            in_another_thread(box.append, b"4")
            assert box.outbox.upkeep.heal(None)
            assert box.outbox.in_memory == 0

        return check

    def append():
        box.outbox.append(box.entry, kinds.EVENT, b"2")

    assert each_step(append, between, MemoryError) > 60


@pytest.mark.parametrize("take_out", ["settle", "bury"])
def test_a_settle_cut_short_by_want_of_memory_is_completed_by_the_next(box, take_out):
    """Wherever it strikes: what is not out is asked for again, and each is counted once."""
    out = {
        "settle": lambda record: box.outbox.settle(box.entry, record, b'{"a":1}'),
        "bury": lambda record: box.outbox.bury(box.entry, record, 400, u"no"),
    }[take_out]
    before, seen, steps = None, [], itertools.count()
    while before is not False:
        box.append(b"1", b"2", b"3")
        record = box.outbox.head(box.entry)
        seen.append(record.number)
        before = interrupt(functools.partial(out, record), next(steps), MemoryError)
        seen += [left.number for left in box.drain()]
    numbers = sorted(set(seen))
    assert numbers == list(range(1, len(numbers) + 1)) and next(steps) > 30
    assert seen == sorted(seen) and max(map(seen.count, numbers)) <= 2
    assert box.entry.waiting == 0 and box.entry.dropped == 0
    assert box.entry.sent + box.entry.dead == len(numbers)


def test_a_close_interrupted_anywhere_is_finished_by_the_next(tmp_path):
    """Neither are queued records lost, nor does the file stay locked until the process ends."""
    boxes = []

    def between():
        folder = tmp_path / str(len(boxes))
        folder.mkdir()
        boxes.append(Box(folder))
        queue_some(boxes[-1])

        def check():
            boxes[-1].outbox.close()
            heir = Box(folder)
            assert heir.bodies() == [b"1", b"3"]
            heir.close()

        return check

    assert each_step(lambda: boxes[-1].outbox.close(), between) > 60


class Interrupt(Exception):
    pass


def test_an_append_interrupted_between_its_row_and_its_count_loses_no_other(box):
    """Ctrl-C at the worst moment: the row is there, the count is not."""
    box.append(b"1")
    insert = box.store.insert

    def interrupted(*arguments):
        insert(*arguments)
        raise Interrupt()

    box.store.insert = interrupted
    with pytest.raises(Interrupt):
        box.append(b"2")
    box.store.insert = insert
    box.append(b"3", b"4")
    assert box.entry.accepted == 4 and box.outbox.refusal is None
    assert box.bodies() == [b"1", b"2", b"3", b"4"]
    assert box.entry.dropped == 0


@pytest.mark.parametrize("body", [b"1", None], ids=["a record", "a record without memory"])
def test_a_call_that_is_interrupted_anywhere_and_repeated_keeps_its_record_once(box, body):
    """As where a session's place was out of date, and its call is done again."""
    entries = []

    def between():
        entry = box.outbox.add_session(u"local-%d" % (len(entries) + 2), b"{}")
        kept = []
        entries.append((entry, kept))

        def check():
            assert box.outbox.append_once(entry, kinds.EVENT, body, kept)
            assert box.outbox.append_once(entry, kinds.EVENT, body, kept)
            box.outbox.take_in()
            assert entry.accepted + entry.dropped == 1 and entry.dropped == (body is None)

        return check

    steps = each_step(
        lambda: box.outbox.append_once(entries[-1][0], kinds.EVENT, body, entries[-1][1]), between
    )
    assert steps > 20
