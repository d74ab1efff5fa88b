"""How records get in: kept at once, interrupted anywhere, never in the way."""

from __future__ import absolute_import, division

import functools
import gc
import itertools
import os
import signal
import sys
import threading

import pytest
from tools.interruption import Interrupted, each_step, interrupt
from tools.outboxes import (
    Box,
    Clock,
    Holder,
    in_another_thread,
    losses_told_in,
    queue_some,
)
from tools.waiting import PATIENCE, wait_until

from datacat._compat import monotonic
from datacat.outbox import intake, tables
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


def test_two_ends_in_handlers_report_each_loss_once(box):
    box.entry.unreported = box.entry.dropped = 3

    def handler():
        for _ in range(2):
            assert box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")

    interrupting(box.store, handler)
    box.append(b"{}")
    assert losses_told_in(box.bodies()) == [3] and box.entry.unreported == 0


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


def test_a_number_that_is_taken_shows_and_nothing_is_replaced(box):
    """A first attempt is a plain INSERT; by this alone two records of one number are noticed."""
    box.append(b"1")
    box.store.insert(tables.row(box.number, 2, kinds.EVENT, b"taken", 1))
    box.append(b"2")
    box.store.insert(tables.row(box.number, 4, kinds.EVENT, b"taken as well", 1))
    queue_some(box)
    box.outbox.take_in()
    assert box.warnings.topics.count("clash") == 2
    assert box.bodies() == [b"1", b"taken", b"2", b"taken as well", b"1", b"3"]
    assert box.entry.waiting == 0


def test_a_row_that_was_settled_does_not_come_back_by_a_repeated_attempt(box):
    """Whatever reads or removes rows first finishes the attempt that was interrupted."""
    interrupt_between_row_and_count(box)
    in_another_thread(lambda: box.outbox.settle(box.entry, box.outbox.head(box.entry)))
    box.append(b"2")
    assert box.bodies() == [b"2"] and box.entry.accepted == box.entry.gone == 2


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


def interrupting(store, action, method="insert"):
    """Have `action` run in the middle of the next insert, as a handler or a finalizer would."""
    insert, pending = getattr(store, method), [action]

    def interrupted(*arguments):
        while pending:
            pending.pop()()
        insert(*arguments)

    setattr(store, method, interrupted)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGALRM")
def test_a_signal_handler_that_interrupts_an_append_is_kept(box):
    before = signal.signal(signal.SIGALRM, lambda *_: box.append(b"handler"))
    try:
        interrupting(box.store, lambda: os.kill(os.getpid(), signal.SIGALRM))
        box.append(b"interrupted")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert box.outbox.in_memory == 0
    assert sorted(box.bodies()) == [b"handler", b"interrupted"]


@pytest.mark.parametrize("batch", [False, True])
def test_an_end_in_a_handler_that_interrupts_a_log_call_is_written_after_it(box, batch):
    """SIGTERM's handler calls end(); the call that it interrupts is inside the outbox."""
    if batch:
        queue_some(box)
    ended = []

    def handler():
        ended.append(box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}"))
        assert not box.outbox.close(), "the interrupted call still uses the file"

    interrupting(box.store, handler, "insert_all" if batch else "insert")
    box.append(b"interrupted")
    box.append(b"after")
    assert ended == [True] and box.entry.goodbye == "ended"
    last = [record.kind if record.kind == kinds.END else record.body for record in box.drain()]
    assert last == ([b"1", b"3"] if batch else []) + [b"interrupted", kinds.END, b"after"]
    assert box.outbox.refusal is None and box.outbox.close()


def test_what_a_handler_writes_during_a_transaction_joins_it(box, tmp_path):
    """create_session() in a handler that interrupts a log call which writes several records."""
    added = []
    box.outbox.disk.is_slow = True
    box.append(b"1", b"2")
    box.outbox.disk.is_slow = False
    together = box.store._together
    pending = [lambda: added.append(box.outbox.add_session(u"local-2", b"{}"))]

    def in_the_middle(doing, statements):
        def interrupted():
            for number, statement in enumerate(statements):
                if number == 1:
                    pending.pop()()
                yield statement

        together(doing, interrupted() if pending else statements)

    box.store._together = in_the_middle
    box.outbox.take_in()
    assert len(added) == 1 and box.outbox.refusal is None and box.warnings.told == []
    copy = tmp_path / "copy"
    copy.mkdir()
    box.copy_as_killed(copy)
    heir = Box(copy)
    assert [entry.local_id for entry in heir.outbox.entries()] == [u"local-1", u"local-2"]
    assert heir.bodies() == [b"1", b"2"]
    heir.close()


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_at_one_kilohertz_loses_nothing(box):
    fired, depths, numbers = [], [0], itertools.count(1)

    def arm():
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    def handler(*_):
        depths.append(depths[-1] + 1)
        if depths[-1] < 4:
            arm()  # for one that interrupts this one, where it takes as long
        number = next(numbers)
        fired.append(number)
        box.append(b"h%d" % number)
        depths.pop()
        arm()

    before = signal.signal(signal.SIGALRM, handler)
    arm()
    try:
        count = 0
        until = monotonic() + PATIENCE
        while len(fired) < 100 and monotonic() < until:
            box.append(b"m%d" % count)
            count += 1
            box.outbox.head(box.entry)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    drained = box.bodies()
    assert len(fired) >= 100
    # A handler may itself be interrupted by the next one, so their order is not given.
    assert sorted(body for body in drained if body[:1] == b"h") == sorted(
        b"h%d" % number for number in range(1, len(fired) + 1)
    )
    assert [body for body in drained if body[:1] == b"m"] == [
        b"m%d" % number for number in range(count)
    ]


@pytest.mark.parametrize("where", ["append", "settle"])
def test_a_finalizer_run_by_gc_while_the_outbox_is_held_is_kept(box, where):
    class Logging(object):
        def __del__(self):
            box.append(b"finalizer")

    def collect():
        circle = Logging()
        if sys.version_info[0] > 2:  # 2.7 never finalizes circles
            circle.itself = circle
        del circle
        gc.collect()

    box.append(b"first")
    if where == "append":
        interrupting(box.store, collect)
        box.append(b"second")
    else:
        save = box.store.save
        box.store.save = lambda *a, **k: (collect(), save(*a, **k))
        box.outbox.settle(box.entry, box.outbox.head(box.entry))
        box.store.save = save
        box.append(b"second")
    assert box.outbox.in_memory == 0
    assert b"finalizer" in box.bodies()


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


def test_a_call_that_interrupts_a_waiting_one_does_not_wait(box, monkeypatch):
    """Otherwise signals faster than its wait would keep the other waiting for ever."""
    wait, waits = intake.locks.acquire_within, []

    def wait_interrupted(lock, seconds):
        if seconds:
            waits.append(seconds)
            if len(waits) < 5:
                box.append(b"2")
        return wait(lock, seconds)

    monkeypatch.setattr(intake.locks, "acquire_within", wait_interrupted)
    holder = Holder(box)
    try:
        box.append(b"1")
        assert len(waits) == 1 and box.entry.waiting == 2
    finally:
        holder.release()
    assert box.bodies() == [b"1", b"2"]


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


def test_an_append_to_a_closed_outbox_is_refused_not_lost(box):
    box.append(b"1")
    box.outbox.close()
    assert box.outbox.append(box.entry, kinds.EVENT, b"2") is False
    assert box.outbox.in_memory == 0


def test_a_finalizer_that_logs_while_the_outbox_closes_is_refused_or_kept(box):
    results = []
    checkpoint = box.store.checkpoint

    def interrupted(*is_last):
        results.append(box.outbox.append(box.entry, kinds.EVENT, b"2"))
        checkpoint(*is_last)

    box.store.checkpoint = interrupted
    box.append(b"1")
    box.outbox.close()
    assert results == [False] and box.outbox.in_memory == 0


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


def test_a_record_whose_session_was_forgotten_meanwhile_goes_to_its_next_entry(box):
    kept = []
    box.outbox.say_goodbye(box.entry, "ended")
    box.outbox.forget(box.entry)
    assert not box.outbox.append_once(box.entry, kinds.EVENT, b"1", kept)
    entry = box.outbox.add_session(u"local-2", b"{}")
    assert box.outbox.append_once(entry, kinds.EVENT, b"1", kept) and entry.waiting == 1
