"""How records get in: one queue, within its bounds, each with its own capture time."""

from __future__ import absolute_import, division

import itertools
import os
import sys
import threading

import pytest
from tools.outboxes import (
    Box,
    Clock,
    Holder,
    in_another_thread,
    losses_told_in,
    queue_some,
    sql,
)
from tools.waiting import PATIENCE, wait_until

from datacat.outbox import intake, tables
from datacat.records import kinds


def test_a_report_includes_what_was_dropped_while_it_waited(box):
    """It is made when it is written: what it leaves out would never be told."""
    box.entry.unreported = box.entry.dropped = 1
    box.outbox.disk.is_slow = True
    for _ in range(intake.WRITTEN_AT_ONCE + 1):
        box.append(b"{}")
    assert box.outbox.give_up(box.entry, kinds.EVENT)
    box.outbox.disk.is_slow = False
    box.outbox.report_drops()
    box.outbox.report_drops()
    assert (
        sum(losses_told_in(box.bodies())) == box.entry.dropped == 2 and box.entry.unreported == 0
    )


def test_a_number_that_is_taken_shows_and_nothing_is_replaced(box):
    """A first attempt is a plain INSERT; by this alone two records of one number are noticed."""
    box.append(b"1")
    box.store.insert(tables.record_row(kinds.Record(box.number, 2, kinds.EVENT, b"taken", 1)))
    box.append(b"2")
    box.store.insert(
        tables.record_row(kinds.Record(box.number, 4, kinds.EVENT, b"taken as well", 1))
    )
    queue_some(box)
    box.outbox.take_in()
    assert box.warnings.topics.count("clash") == 2
    assert box.bodies() == [b"1", b"taken", b"2", b"taken as well", b"1", b"3"]
    assert box.entry.waiting == 0


def test_what_is_written_from_the_queue_is_counted_as_waiting_at_every_moment(box):
    """A flush that looks in between must not take it for delivered."""
    queue_some(box)
    seen = []

    def look(frame, *_):
        if os.path.basename(frame.f_code.co_filename).startswith("writer."):
            seen.append(box.entry.waiting)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        box.outbox.take_in()
    finally:
        sys.settrace(before)
    assert len(seen) > 50 and min(seen) == box.entry.waiting == 2


def test_a_record_written_while_another_thread_counts_is_not_missed(box):
    queue_some(box)
    counts = []

    def take_in_after(frame, event, _):
        if event == "return" and frame.f_code.co_name == "queued":
            counts.append(frame.f_code.co_name)
            sys.setprofile(None)
            box.outbox.take_in()

    sys.setprofile(take_in_after)
    try:
        seen = box.entry.waiting
    finally:
        sys.setprofile(None)
    assert len(counts) == 1 and box.entry.queued == 0
    assert seen >= 2


@pytest.mark.skipif(sys.version_info < (3, 7), reason="needs a trace of each opcode")
def test_records_that_come_and_go_while_another_thread_counts_hide_none_that_waits(box):
    """Two come and two go, one after the other: at every moment something waits."""

    def come_and_go():
        box.append(b"next", b"next")
        for _ in range(2):
            box.outbox.settle(box.entry, box.outbox.head(box.entry))

    def each_opcode(frame, event, _):
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                come_and_go()
        return each_opcode

    def trace(frame, *_):
        return each_opcode if frame.f_code.co_name == "waiting" else None

    box.append(b"first")
    before = sys.gettrace()
    for step in range(1, 30):
        left = [step]
        sys.settrace(trace)
        try:
            seen = box.entry.waiting
        finally:
            sys.settrace(before)
        assert seen >= 1
    assert left[0] > 0, "each step was struck"


def test_an_append_that_finds_it_busy_waits_within_the_bound_and_is_kept(box, monkeypatch):
    """Who comes while the queue has others' records waits for a fraction of that."""
    acquire, waits = intake.locks.acquire_within, []
    monkeypatch.setattr(
        intake.locks,
        "acquire_within",
        lambda lock, seconds: waits.append(seconds) or acquire(lock, seconds),
    )
    box.append(b"1")
    assert waits == []
    with Holder(box):
        box.append(*[b"%d" % number for number in range(2, 100)])
        assert box.outbox.in_memory == 98 and box.entry.waiting == 99
    assert waits == [intake.BUSY_SECONDS] * 2 + [intake.CROWDED_SECONDS] * 96
    assert intake.BUSY_SECONDS < 0.05, "a log call may take 50 ms"
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"%d" % number for number in range(1, 100)]


def test_the_holder_gives_way_to_a_log_call_that_waited(box, monkeypatch):
    """Or else the call has the outbox and waits for the interpreter; nobody else is held up."""
    pauses, gave_way, acquire = [], threading.Event(), intake.locks.acquire_within

    def sleep(seconds):
        pauses.append(seconds)
        if seconds == intake.GIVE_WAY_SECONDS:
            gave_way.set()

    def acquire_and_go_on_later(lock, seconds):
        """As where the thread has the lock and waits for the interpreter."""
        is_ours = acquire(lock, seconds)
        gave_way.wait(PATIENCE)
        return is_ours

    monkeypatch.setattr(intake, "BUSY_SECONDS", PATIENCE)
    monkeypatch.setattr(intake.time, "sleep", sleep)
    monkeypatch.setattr(intake.locks, "acquire_within", acquire_and_go_on_later)
    box.append(b"1")
    box.outbox.head(box.entry)
    assert intake.GIVE_WAY_SECONDS not in pauses
    thread = threading.Thread(target=box.append, args=(b"2",))

    def hold():
        thread.start()
        wait_until(lambda: box.outbox.intake.waiters)

    try:
        box.outbox.intake.run(hold)
        assert intake.GIVE_WAY_SECONDS in pauses
    finally:
        gave_way.set()
        thread.join(PATIENCE)
    assert not box.outbox.intake.waiters
    assert box.bodies() == [b"1", b"2"]


def crowd(box, threads, calls):
    """Have threads append, all at once, and wait for them."""

    def append(writer):
        for number in range(calls):
            box.append(b"%d.%d" % (writer, number))

    writers = [threading.Thread(target=append, args=(writer,)) for writer in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)


@pytest.mark.parametrize("threads, calls", [(4, 500), (24, 100)])
def test_what_a_crowd_logs_is_kept_in_each_threads_order(box, threads, calls):
    crowd(box, threads, calls)
    bodies = [body.split(b".") for body in box.bodies()]
    assert len(bodies) == threads * calls
    for writer in range(threads):
        assert [int(number) for of, number in bodies if int(of) == writer] == list(range(calls))


def test_a_call_that_tries_just_before_the_lock_is_released_is_kept_at_once(box):
    """The holder looks at the queue again after the release."""
    insert, late = box.store.insert, [b"late"]

    def meanwhile(row):
        insert(row)
        if late:
            in_another_thread(box.append, late.pop())

    box.store.insert = meanwhile
    box.append(b"early")
    box.store.insert = insert
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"early", b"late"]


def test_the_queue_is_bounded_and_its_losses_are_counted(box, monkeypatch):
    monkeypatch.setattr(intake, "MEMORY_BYTES", 10000)
    holder = Holder(box)
    try:
        for _number in range(200):
            box.append(b"x" * 100)
        box.outbox.append(box.entry, kinds.END, b"{}")
    finally:
        holder.release()
    assert box.entry.accepted + box.entry.dropped == 201
    assert 100 < box.entry.dropped < 150 and "dropped" in box.warnings.topics
    drained = box.drain()
    assert len(drained) == 201 - box.entry.dropped and drained[-1].kind == kinds.END


def test_a_queue_that_is_never_empty_but_always_short_drops_nothing(box, monkeypatch):
    """Only what is in the queue counts, not what went through it."""
    monkeypatch.setattr(intake, "MEMORY_BYTES", 10000)
    monkeypatch.setattr("datacat.outbox.writer.WRITTEN_AT_ONCE", 5)
    box.outbox.disk.is_slow = True
    for _ in range(50):
        for _ in range(20):
            box.append(b"x" * 100)
        while box.outbox.in_memory > 16:
            box.outbox.intake.run(int)
        assert box.outbox.in_memory > 1
    box.outbox.take_in()
    assert box.entry.dropped == 0 and len(box.bodies()) == 1000


def test_an_append_to_a_closed_outbox_is_refused_not_lost(box):
    box.append(b"1")
    box.outbox.close()
    assert box.outbox.append(box.entry, kinds.EVENT, b"2") is False
    assert box.outbox.in_memory == 0


class ClockThatInterrupts(Clock):
    """Does something when it is asked for the time of a log call."""

    action = None

    def __call__(self):
        action, self.action = self.action, None
        if action is not None:
            action()
        return self.now


@pytest.mark.parametrize("end", ["forget_if_over", "close"])
def test_a_log_call_that_meets_the_end_of_its_session_or_outbox_returns_false(make_box, end):
    """The caller keeps it elsewhere; it is neither here nor counted."""
    clock = ClockThatInterrupts()
    box = make_box(wall=clock)
    box.outbox.say_goodbye(box.entry, "ended")
    ends = {
        "close": box.outbox.close,
        "forget_if_over": lambda: box.outbox.forget_if_over(box.entry),
    }
    clock.action = lambda: in_another_thread(ends[end])
    assert box.outbox.append(box.entry, kinds.EVENT, b"1") is False
    assert box.outbox.in_memory == 0 and box.entry.waiting == 0


def test_a_queue_that_was_full_once_drops_nothing_when_it_is_empty_again(box, monkeypatch):
    """Each loss has its reason at that moment: what was dropped takes no room."""
    monkeypatch.setattr(intake, "MEMORY_BYTES", 10000)
    holder = Holder(box)
    try:
        for _number in range(400):
            box.append(b"x" * 100)
    finally:
        holder.release()
    box.outbox.take_in()
    dropped = box.entry.dropped
    assert dropped > 0 and box.outbox.in_memory == 0
    box.outbox.disk.is_slow = True
    for _number in range(10):
        box.append(b"y" * 100)
    box.outbox.take_in()
    assert box.entry.dropped == dropped
    assert box.bodies()[-10:] == [b"y" * 100] * 10


@pytest.mark.parametrize("step", [0.0, -0.0001, -0.000001])
def test_capture_times_are_unique_whatever_the_clock_does(make_box, step):
    clock = Clock()
    box = make_box(wall=clock)
    for _number in range(200):
        box.append(b"x")
        clock.now += step
    times = [record.captured for record in box.drain()]
    assert len(set(times)) == 200 and times == sorted(times)


def test_capture_times_follow_a_clock_that_is_set_back_by_an_hour(make_box):
    clock = Clock()
    box = make_box(wall=clock)
    box.append(b"1")
    clock.now -= 3600
    box.append(b"2")
    assert [record.captured for record in box.drain()] == [1700000000000000, 1699996400000000]


@pytest.fixture
def draws(monkeypatch):
    """Let every writer draw the next of 1, 2, 3... as its digits."""
    numbers = itertools.count(1)
    monkeypatch.setattr("datacat.outbox.writer._drawn", lambda: next(numbers))


def digits_of(box):
    return [record.digits for record in box.drain()]


def test_each_opening_of_an_outbox_draws_digits_and_keeps_those_of_earlier_ones(draws, tmp_path):
    """A fork, a start, a continuation and an adoption are openings."""
    first = Box(tmp_path)
    first.append(b"1", b"2")
    first.close()
    second = Box(tmp_path)
    second.append(b"3")
    assert digits_of(second) == [1, 1, 2]
    second.close()


def test_a_clock_that_is_set_back_draws_new_digits(draws, make_box):
    """One that only stutters does not: times are made unique then."""
    clock = Clock()
    box = make_box(wall=clock)
    box.append(b"1")
    clock.now -= 0.1
    box.append(b"2")
    clock.now -= 3600
    box.append(b"3")
    with Holder(box):
        box.append(b"4")
        clock.now -= 3600
        box.append(b"5")
    box.outbox.take_in()
    assert digits_of(box) == [1, 1, 2, 2, 3]


def test_a_repeated_attempt_has_the_digits_of_the_first(draws, make_box):
    clock = Clock()
    box = make_box(wall=clock)
    together = box.store._together

    def write_and_be_interrupted(*arguments):
        box.store._together = together
        together(*arguments)
        raise KeyboardInterrupt

    box.outbox.disk.is_slow = True
    for body in (b"1", b"2", b"3"):
        box.append(body)
        clock.now -= 3600
    box.outbox.disk.is_slow = False
    box.store._together = write_and_be_interrupted
    with pytest.raises(KeyboardInterrupt):
        box.outbox.take_in()
    rows = sql(box.store, "SELECT kind >> 8 FROM records")
    box.outbox.take_in()
    assert rows == [(1,), (2,), (3,)] == sql(box.store, "SELECT kind >> 8 FROM records")


def test_digits_are_kept_in_memory_and_with_dead_letters(draws, box):
    box.store.full = True
    box.append(b"1", b"2")
    box.store.full = False
    assert box.outbox.upkeep.heal(None)
    drawn = box.outbox.head(box.entry).digits
    box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, "no")
    (letter,) = box.outbox.dead_letters()
    assert drawn and letter.record.digits == drawn and digits_of(box) == [drawn]


@pytest.mark.parametrize("year", [-3000, 12000])
def test_capture_times_stay_within_what_a_server_understands_and_unique(make_box, year):
    clock = Clock()
    box = make_box(wall=clock)
    clock.now = (year - 1970) * 365.2425 * 86400
    box.append(b"1", b"2")
    box.outbox.give_up(box.entry, kinds.EVENT)
    with Holder(box):
        box.append(b"3", b"4")
    box.outbox.take_in()
    clock.now = 1700000000.0
    box.append(b"5")
    times = [kinds.rfc3339(record.captured) for record in box.drain()]
    assert len(set(times)) == 5 and all(len(time) <= 27 for time in times)
    assert times[-1].startswith("2023-11-14")


def test_a_queued_record_keeps_the_time_of_its_call(make_box):
    clock = Clock()
    box = make_box(wall=clock)
    holder = Holder(box)
    box.append(b"1")
    clock.now += 100
    holder.release()
    assert box.outbox.head(box.entry).captured == 1700000000000000


def test_a_record_whose_session_was_forgotten_meanwhile_goes_to_its_next_entry(box):
    kept = []
    box.outbox.say_goodbye(box.entry, "ended")
    box.outbox.forget(box.entry)
    assert not box.outbox.append_once(box.entry, kinds.EVENT, b"1", kept)
    entry = box.outbox.add_session(u"local-2", b"{}")
    assert box.outbox.append_once(entry, kinds.EVENT, b"1", kept) and entry.waiting == 1
