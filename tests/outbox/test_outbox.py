"""The outbox's promises: kept when accepted, in order, bounded, and never in the way."""

from __future__ import absolute_import, division

import gc
import itertools
import json
import os
import signal
import sys
import textwrap
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.outboxes import NAME, SCOPE, Box, Clock, TroubledStore
from tools.process import ChildProcess, environment
from tools.waiting import wait_until

from datacat._compat import RELEASE_WAKES_WAITERS, monotonic
from datacat.locks import ReentrantLock
from datacat.outbox import bounds, disk, intake, memory, outbox
from datacat.outbox.spool import Spool
from datacat.outbox.store import NoStore, Store, StoreDamaged, StoreRefused
from datacat.records import build, kinds
from datacat.records.merging import merge_updates
from datacat.wire.readback import merge_state

MIB = 1024 * 1024


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_box(tmp_path):
    made = []

    def make(**options):
        made.append(Box(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# Accepted means kept


KILLED = textwrap.dedent("""
    import os, signal, sys
    from tools.outboxes import Box
    box = Box(sys.argv[1])
    for number in range(500):
        box.append(b"%d" % number)
    os.kill(os.getpid(), signal.SIGKILL)
""")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_right_after_append_loses_nothing(tmp_path):
    child = ChildProcess([sys.executable, "-c", KILLED, str(tmp_path)], environment())
    try:
        assert child.wait(60) == -signal.SIGKILL, child.output
    finally:
        child.close()
    box = Box(tmp_path)
    assert box.entry.waiting == 500
    assert box.bodies() == [b"%d" % number for number in range(500)]
    box.close()


def test_what_was_settled_before_a_kill_does_not_come_back(box, tmp_path):
    box.append(b"1", b"2", b"3")
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    other = tmp_path / "copy"
    other.mkdir()
    box.copy_as_killed(other)
    heir = Box(other)
    assert (heir.entry.sent, heir.entry.waiting) == (1, 2)
    assert heir.bodies() == [b"2", b"3"]
    heir.close()


def test_each_sessions_records_come_out_in_the_order_they_went_in(box):
    other = box.outbox.add_session(u"local-2", b"{}")
    for number in range(200):
        box.outbox.append(box.entry, kinds.EVENT, b"a%d" % number)
        box.outbox.append(other, kinds.METRIC, b"b%d" % number)
    assert [record.body for record in box.drain(other)] == [b"b%d" % n for n in range(200)]
    assert box.bodies() == [b"a%d" % number for number in range(200)]


def test_eight_threads_lose_nothing_and_keep_their_own_order(box):
    def log(name):
        for number in range(100):
            box.append(("%s %03d" % (name, number)).encode("ascii"))

    threads = [threading.Thread(target=log, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drained = box.bodies()
    assert len(drained) == 800
    for name in "abcdefgh":
        own = [body for body in drained if body.startswith(name.encode("ascii"))]
        assert own == sorted(own) and len(own) == 100


# Interrupted, or busy


@pytest.mark.skipif(os.name != "posix", reason="needs SIGALRM")
def test_a_handler_between_any_two_lines_of_the_lock_leaves_it_whole():
    """2.7's own RLock is released twice by such a handler; ours is traced line by line."""
    lock = ReentrantLock()
    codes = [getattr(ReentrantLock, name) for name in ("acquire", "release")]
    codes = set(getattr(method, "__func__", method).__code__ for method in codes)
    interrupted = []

    def trace(frame, event, _):
        if frame.f_code not in codes:
            return None
        if event == "line":
            interrupted.append(frame.f_lineno)
            sys.settrace(None)
            if lock.acquire(False):
                lock.release()
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for _ in range(3):
            lock.acquire()
            lock.acquire()
            lock.release()
            lock.release()
    finally:
        sys.settrace(before)
    assert len(interrupted) > 20
    assert lock._depth == 0 and not lock._is_owned() and lock.acquire(False)


STRUCK = ("intake", "disk", "store", "tables", "memory", "locks")


class BrokenOff(BaseException):
    """What a signal handler raises in the middle of a call."""


def break_off(call, step):
    """Raise BrokenOff where the outbox's code is called or returned to for the step-th time.

    That is where Python calls signal handlers. Returns whether there were so many.
    """
    left = [step]

    def profile(frame, event, _):
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in STRUCK:
            left[0] -= 1
            if left[0] == -1:
                raise BrokenOff("%s in line %d of %s" % (event, frame.f_lineno, frame.f_code))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
        return False
    except BrokenOff as error:
        print(error)
        return True
    finally:
        sys.setprofile(before)


def set_some_aside(box):
    box.outbox._disk.is_slow = True
    box.append(b"1")
    assert box.outbox.give_up(box.entry, kinds.EVENT)
    box.append(b"3")
    box.outbox._disk.is_slow = False


def break_off_between_row_and_count(box):
    insert = box.store.insert

    def insert_and_be_broken_off(*arguments):
        box.store.insert = insert
        insert(*arguments)
        raise BrokenOff()

    box.store.insert = insert_and_be_broken_off
    with pytest.raises(BrokenOff):
        box.append(b"broken off")


def check_nothing_is_held(box):
    assert not box.outbox.lock._is_owned() and not box.outbox._foremost._is_owned()
    assert not box.outbox._inside and not box.outbox._waiters


@pytest.mark.parametrize(
    "before, is_full",
    [
        (lambda box: None, False),
        (break_off_between_row_and_count, False),
        (lambda box: None, True),
    ],
    ids=["first", "second in a row", "disk full"],
)
@pytest.mark.parametrize("call", ["append", "give_up"])
def test_a_call_broken_off_anywhere_holds_nothing_and_keeps_what_others_had_set_aside(
    box, before, call, is_full
):
    """Ctrl-C that the application outlives, by turns at each step of the way in."""
    calls = {
        "append": lambda box: box.append(b"broken off"),
        "give_up": lambda box: box.outbox.give_up(box.entry, kinds.EVENT),
    }
    steps = itertools.count()
    is_broken_off = True
    while is_broken_off:
        dropped = box.entry.dropped
        before(box)
        set_some_aside(box)
        box.store.full_for_inserts = is_full
        is_broken_off = break_off(lambda: calls[call](box), next(steps))
        check_nothing_is_held(box)
        other = threading.Thread(target=box.append, args=(b"4",))
        other.start()
        other.join()
        box.store.full_for_inserts = False
        assert box.entry.unnumbered == 0 and not box.outbox._broken_off
        assert [body for body in box.bodies() if body != b"broken off"] == [b"1", b"3", b"4"]
        assert box.entry.waiting == 0
        # The one among those set aside; what is broken off itself may be counted or not.
        assert 1 <= box.entry.dropped - dropped <= (2 if call == "give_up" else 1)
    assert next(steps) > 100 and bool(box.store.refused) == is_full


def test_a_call_broken_off_while_it_waits_stands_in_no_line_any_more(box):
    """Or else its thread would never wait again, and others would wait for it."""
    steps = itertools.count()
    is_broken_off = True
    while is_broken_off:
        holder = Holder(box)
        box.outbox._pace = 0
        box.outbox._waiters.append("another")
        try:
            is_broken_off = break_off(lambda: box.append(b"broken off"), next(steps))
        finally:
            box.outbox._waiters.remove("another")
            holder.let_go()
        check_nothing_is_held(box)
    assert next(steps) > 20


def test_what_is_taken_in_is_counted_as_waiting_at_every_moment(box):
    """A flush that looks in between must not take it for delivered."""
    set_some_aside(box)
    seen = []

    def look(frame, *_):
        if os.path.basename(frame.f_code.co_filename).startswith("intake."):
            seen.append(box.entry.waiting)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        box.outbox.take_in()
    finally:
        sys.settrace(before)
    assert len(seen) > 50 and min(seen) == box.entry.waiting == 2


def test_what_is_taken_in_while_another_counts_what_waits_is_not_overlooked(box):
    set_some_aside(box)
    counts = []

    def take_in_between(frame, event, _):
        if event == "call" and frame.f_code.co_name in ("numbered", "unnumbered"):
            counts.append(frame.f_code.co_name)
            if len(counts) == 2:
                sys.setprofile(None)
                box.outbox.take_in()

    sys.setprofile(take_in_between)
    try:
        seen = box.entry.waiting
    finally:
        sys.setprofile(None)
    assert len(counts) == 2 and box.entry.unnumbered == 0
    assert seen >= 2


def test_for_want_of_memory_for_what_others_set_aside_a_kept_record_is_not_given_up(box):
    """Who is told of a MemoryError counts the record as dropped."""
    insert_all, struck = box.store.insert_all, []

    def without_memory(*arguments):
        box.store.insert_all = insert_all
        struck.append(arguments)
        raise MemoryError()

    def others_come_meanwhile(*arguments):
        insert(*arguments)
        set_some_aside(box)
        box.store.insert_all = without_memory

    insert, box.store.insert = box.store.insert, others_come_meanwhile
    box.append(b"own")
    assert len(struck) == 1
    box.store.insert = insert
    assert box.bodies() == [b"own", b"1", b"3"] and box.entry.dropped == 1


def test_for_want_of_memory_for_what_others_set_aside_giving_up_raises_nothing(box):
    """It is what a log call does last, where there was no memory for its own record."""
    set_some_aside(box)
    insert_all, struck = box.store.insert_all, []

    def without_memory(*arguments):
        box.store.insert_all = insert_all
        struck.append(arguments)
        raise MemoryError()

    box.store.insert_all = without_memory
    assert box.outbox.give_up(box.entry, kinds.EVENT)
    assert len(struck) == 1
    assert box.bodies() == [b"1", b"3"] and box.entry.dropped == 2


def interrupting(store, action):
    """Have `action` run in the middle of the next insert, as a handler or a finalizer would."""
    insert, pending = store.insert, [action]

    def interrupted(*arguments):
        while pending:
            pending.pop()()
        insert(*arguments)

    store.insert = interrupted


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


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_at_one_kilohertz_loses_nothing(box):
    fired, numbers = [], itertools.count(1)

    def handler(*_):
        number = next(numbers)
        fired.append(number)
        box.append(b"h%d" % number)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        count = 0
        until = monotonic() + 20
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
    box.outbox.take_in()  # a slow machine passes for a slow disk
    assert box.outbox.in_memory == 0
    assert b"finalizer" in box.bodies()


class Holder(object):
    """A thread that holds the outbox until it is let go."""

    def __init__(self, box):
        self._held, self._done = threading.Event(), threading.Event()

        def hold():
            with box.outbox._held():
                self._held.set()
                self._done.wait(30)

        self._thread = threading.Thread(target=hold)
        self._thread.start()
        assert self._held.wait(30)

    def let_go(self):
        self._done.set()
        self._thread.join(30)


def test_an_append_that_finds_it_busy_returns_within_the_bound_and_is_kept(box):
    box.append(b"1")
    holder = Holder(box)
    try:
        began = monotonic()
        box.append(b"2")
        first = monotonic() - began
        began = monotonic()
        for number in range(3, 100):
            box.append(b"%d" % number)
        others = monotonic() - began
        assert box.outbox.in_memory == 98 and box.entry.waiting == 99
    finally:
        holder.let_go()
    # Generous, for the machine may be busy: a lock call without a bound would take 30 s.
    assert intake.BUSY_SECONDS * 0.9 <= first < 2
    # Who comes while somebody waits already does not wait as well: 97 times the bound is 4.8 s.
    assert others < 2
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"%d" % number for number in range(1, 100)]


def test_a_call_that_interrupts_one_that_waits_does_not_wait_as_well(box, monkeypatch):
    """Or else signals that come faster than it waits would keep the other waiting for ever."""
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
        holder.let_go()
    assert box.bodies() == [b"2", b"1"]


def test_whoever_holds_it_gives_way_to_a_log_call_that_waited(box, monkeypatch):
    """Or else the call has the outbox and waits for the interpreter; nobody else is held up."""
    pauses = []
    monkeypatch.setattr(intake.time, "sleep", pauses.append)
    box.append(b"1")
    box.outbox.head(box.entry)
    assert intake.GIVE_WAY_SECONDS not in pauses
    with box.outbox._held():
        thread = threading.Thread(target=box.append, args=(b"2",))
        thread.start()
        wait_until(lambda: box.outbox._waiters)
    assert intake.GIVE_WAY_SECONDS in pauses
    thread.join(30)
    assert not box.outbox._waiters
    assert box.bodies() == [b"1", b"2"]


# Seconds between records that follow each other as those of threads that never pause do, or not.
HASTY_PAUSE, LEISURELY_PAUSE = 0.00002, 0.0002


def paced(box, clock, pause, count=400):
    for _ in range(count):
        clock.now += pause
        box.append(b"paced")


def crowd(box, threads, calls=1):
    """Return threads that append, started."""

    def append(writer):
        # A crowd whose every line is traced for coverage is in no haste.
        sys.settrace(None)
        for number in range(calls):
            box.append(b"%d.%d" % (writer, number))

    writers = [threading.Thread(target=append, args=(writer,)) for writer in range(threads)]
    for writer in writers:
        writer.start()
    return writers


def most_that_wait_for_the_lock(box, monkeypatch, threads):
    """Have a crowd find the outbox busy; return how many of it waited for its lock at once."""
    acquire, waiting, most = intake.locks.acquire_within, [], []

    def acquire_noted(lock, seconds):
        if lock is not box.outbox.lock:
            return acquire(lock, seconds)
        waiting.append(lock)
        most.append(len(waiting))
        try:
            return acquire(lock, seconds)
        finally:
            waiting.pop()

    monkeypatch.setattr(intake, "BUSY_SECONDS", 20)
    monkeypatch.setattr(intake.locks, "acquire_within", acquire_noted)
    holder = Holder(box)
    # The first comes alone, as the first of a crowd does.
    writers = crowd(box, 1)
    wait_until(lambda: most)
    writers += crowd(box, threads - 1)
    wait_until(lambda: len(box.outbox._waiters) == threads)
    holder.let_go()
    for writer in writers:
        writer.join(30)
    assert not box.outbox._waiters and box.outbox._foremost.acquire(False)
    assert box.entry.accepted == len(box.bodies())
    return max(most)


in_line = pytest.mark.skipif(
    not RELEASE_WAKES_WAITERS, reason="Python 2 has no timed acquire, and wakes nobody"
)


def in_haste(make_box):
    clock = Clock()
    box = make_box(wall=clock)
    paced(box, clock, HASTY_PAUSE)
    return box


@in_line
def test_of_a_crowd_in_haste_one_at_a_time_waits_for_the_lock_besides_who_waited_already(
    make_box, monkeypatch
):
    """Each release wakes a thread that waits for it, and whoever calls most pays for that."""
    box = in_haste(make_box)
    assert most_that_wait_for_the_lock(box, monkeypatch, intake.LONGEST_LINE) <= 2


@in_line
def test_who_comes_to_a_long_line_does_not_stand_in_it(make_box, monkeypatch):
    """Each in it has a nap before his turn: the last of twenty would come too late."""
    box = in_haste(make_box)
    assert most_that_wait_for_the_lock(box, monkeypatch, 20) >= 20 - intake.LONGEST_LINE


@in_line
def test_where_calls_are_set_aside_already_nobody_stands_in_line(make_box, monkeypatch):
    """What is set aside is waited for a little; in a line that little would be over, and so on."""
    box = in_haste(make_box)
    holder = Holder(box)
    try:
        box.append(b"set aside")
        assert box.outbox.in_memory == 1
        box.outbox._waiters.extend(["somebody", "another"])
        waits = noted_waits(monkeypatch, [0.0])
        box.append(b"set aside as well")
        assert waits[0] == (box.outbox.lock, intake.CROWDED_SECONDS)
    finally:
        holder.let_go()


@in_line
def test_who_stands_in_line_naps_before_his_turn_and_waits_no_longer_than_the_bound(
    make_box, monkeypatch
):
    """So that who calls most has some calls without a wake-up; the nap counts for the bound."""
    box = in_haste(make_box)
    box.outbox._waiters.append("somebody")
    now = [100.0]
    monkeypatch.setattr(intake, "monotonic", lambda: now[0])
    waits = noted_waits(monkeypatch, now)
    assert box.outbox._wait_for(box.outbox.lock)
    box.outbox.lock.release()
    (line, longest), nap, (lock, left) = waits
    assert line is box.outbox._foremost and lock is box.outbox.lock
    assert 0 < nap < 0.001
    assert longest == intake.BUSY_SECONDS and left == pytest.approx(longest - nap)


def noted_waits(monkeypatch, now):
    """Return a list that takes what is waited for, and how long; naps move `now` on."""
    acquire, waits = intake.locks.acquire_within, []

    def acquire_noted(lock, seconds):
        waits.append((lock, seconds))
        return acquire(lock, seconds)

    def nap(seconds):
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(intake.locks, "acquire_within", acquire_noted)
    monkeypatch.setattr(intake.time, "sleep", nap)
    return waits


@in_line
def test_threads_that_call_in_step_and_then_pause_do_not_wait_in_line(make_box, monkeypatch):
    clock = Clock()
    box = make_box(wall=clock)
    for _ in range(100):
        clock.now += 0.001
        paced(box, clock, HASTY_PAUSE, 4)
    assert most_that_wait_for_the_lock(box, monkeypatch, 4) == 4


def test_threads_that_pause_between_their_calls_do_not_wait_in_line(make_box, monkeypatch):
    """A line is worth it to those who hammer only; others have their turn at the next release."""
    clock = Clock()
    box = make_box(wall=clock)
    paced(box, clock, HASTY_PAUSE)
    paced(box, clock, LEISURELY_PAUSE, 10)
    assert most_that_wait_for_the_lock(box, monkeypatch, 6) == 6


def test_a_crowd_in_haste_that_waits_in_vain_is_kept_and_leaves_no_line(box):
    box.outbox._pace = 0
    holder = Holder(box)
    try:
        for writer in crowd(box, 6):
            writer.join(30)
        assert box.outbox.in_memory == 6
    finally:
        holder.let_go()
    assert box.outbox._foremost.acquire(False) and not box.outbox._waiters
    assert len(box.bodies()) == 6


@in_line
def test_a_large_crowd_in_haste_is_on_disk_when_its_calls_return(box):
    """But for a few calls: a line in which the last is never served would set half aside."""
    set_aside, aside = box.outbox._set_aside, []

    def set_aside_counted(*arguments):
        aside.append(arguments)
        return set_aside(*arguments)

    box.outbox._set_aside = set_aside_counted
    for writer in crowd(box, 24, calls=400):
        writer.join(60)
    assert len(box.bodies()) == 24 * 400
    assert len(aside) < 24 * 400 // 10


def test_what_a_crowd_in_haste_logs_is_kept_in_each_threads_order(box):
    for writer in crowd(box, 4, calls=500):
        writer.join(60)
    bodies = [body.split(b".") for body in box.bodies()]
    assert len(bodies) == 2000
    for writer in range(4):
        assert [int(number) for of, number in bodies if int(of) == writer] == list(range(500))


def test_what_is_set_aside_just_before_the_lock_is_let_go_is_kept_at_once(box):
    """The holder looks again after letting go, for a call that tried a moment too early."""
    accept = box.outbox._append_held

    def late(*arguments):
        kept = accept(*arguments)
        thread = threading.Thread(target=box.append, args=(b"late",))
        thread.start()
        thread.join(30)
        return kept

    box.outbox._append_held = late
    box.append(b"early")
    del box.outbox._append_held
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"early", b"late"]


def test_calls_set_aside_are_bounded_and_the_loss_counted(box, monkeypatch):
    monkeypatch.setattr(intake, "MEMORY_BYTES", 10000)
    holder = Holder(box)
    try:
        for _number in range(200):
            box.append(b"x" * 100)
        box.outbox.append(box.entry, kinds.END, b"{}")
    finally:
        holder.let_go()
    assert box.entry.accepted == 201
    assert 100 < box.entry.dropped < 150 and "dropped" in box.warnings.topics
    drained = box.drain()
    assert len(drained) == 201 - box.entry.dropped and drained[-1].kind == kinds.END


def test_an_append_to_a_closed_outbox_is_refused_not_lost(box):
    box.append(b"1")
    box.outbox.close()
    assert box.outbox.append(box.entry, kinds.EVENT, b"2") is False
    assert box.outbox.in_memory == 0


def test_a_finalizer_that_logs_while_the_outbox_closes_is_refused_or_kept(box):
    results = []
    take_in = box.outbox._take_in

    def interrupted(*most):
        if box.outbox.closed and not results:
            results.append(box.outbox.append(box.entry, kinds.EVENT, b"2"))
        take_in(*most)

    box.outbox._take_in = interrupted
    box.append(b"1")
    box.outbox.close()
    assert results == [False] and box.outbox.in_memory == 0


def test_a_log_call_that_meets_the_forgetting_of_its_session_is_told_so(box):
    """Whoever logs finds another place for it; it is neither here nor counted."""
    box.outbox.say_goodbye(box.entry, "ended")
    entry, now = box.entry, box.outbox._now

    def forget_meanwhile():
        assert box.outbox.forget_if_over(box.entry)
        return now()

    box.outbox._disk.is_slow = True
    box.outbox._now = forget_meanwhile
    assert box.outbox.append(box.entry, kinds.EVENT, b"1") is False
    assert box.outbox.in_memory == 0 and not entry.aside


def test_a_session_is_over_when_nothing_more_comes_of_it(box):
    """Only then it is forgotten: said goodbye, all delivered, losses told."""
    assert not box.outbox.forget_if_over(box.entry)
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    assert not box.outbox.forget_if_over(box.entry)
    box.entry.unreported = 1
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    assert not box.outbox.forget_if_over(box.entry)
    box.entry.unreported = 0
    assert box.outbox.forget_if_over(box.entry)
    assert box.outbox.forget_if_over(box.entry), "it is gone, whoever asks"
    assert not box.outbox.say_goodbye(box.entry, "ended")


def test_a_queue_that_was_full_once_drops_nothing_when_it_is_empty_again(box, monkeypatch):
    """Each loss has its reason at that moment: what was dropped takes no room."""
    monkeypatch.setattr(intake, "MEMORY_BYTES", 10000)
    holder = Holder(box)
    try:
        for _number in range(400):
            box.append(b"x" * 100)
    finally:
        holder.let_go()
    box.outbox.take_in()
    dropped = box.entry.dropped
    assert dropped > 0 and box.outbox.in_memory == 0
    box.outbox._disk.is_slow = True
    for _number in range(10):
        box.append(b"y" * 100)
    box.outbox.take_in()
    assert box.entry.dropped == dropped
    assert box.bodies()[-10:] == [b"y" * 100] * 10


def test_a_record_given_up_when_its_row_was_written_takes_no_other_with_it(box):
    """It is sent though it is called dropped; what comes after it is counted and sent as well."""
    box.append(b"1")
    insert = box.outbox._disk.insert

    def insert_and_starve(record, saved=None):
        insert(record, saved)
        raise MemoryError

    box.outbox._disk.insert = insert_and_starve
    with pytest.raises(MemoryError):
        box.append(b"2")
    box.outbox.give_up(box.entry, kinds.EVENT)
    box.outbox._disk.insert = insert
    box.append(b"3")
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    left = []
    while box.outbox.head(box.entry) is not None:
        record = box.outbox.head(box.entry)
        left.append((record.kind, record.body[:1]))
        box.outbox.settle(box.entry, record)
    assert [body for kind, body in left if kind == kinds.EVENT][:3] == [b"1", b"2", b"3"]
    assert left[-1][0] == kinds.END
    assert box.entry.waiting == 0


def test_the_outbox_can_be_looked_at_while_sessions_come_and_go(box):
    """Looks take no lock, and nobody's look fails over a session that is added or forgotten."""
    failures, looking = [], [True]

    def look():
        while looking:
            try:
                box.outbox.entries(), box.outbox.in_memory, box.outbox.has_unreported
            except Exception as failure:
                failures.append(repr(failure))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(300):
            entry = box.outbox.add_session(u"local-more-%d" % number, b"{}")
            box.outbox.forget(entry)
    finally:
        looking.pop()
        thread.join()
    assert failures == []


def test_a_log_call_for_a_forgotten_session_does_no_harm(box):
    box.outbox.forget(box.entry)
    assert not box.outbox.append(box.entry, kinds.EVENT, b"1")
    record = kinds.Record(box.number, 1, kinds.EVENT, b"1", 1)
    box.outbox.settle(box.entry, record)
    box.outbox.opened(box.entry, record, u"id")
    box.outbox.bury(box.entry, record, 400, u"no")
    box.outbox.update(box.entry, hung=1)
    assert box.outbox.entries() == [] and box.outbox.refusal is None


def test_a_session_number_is_not_used_twice(box):
    box.outbox.forget(box.entry)
    assert box.outbox.add_session(u"local-2", b"{}").number == box.number + 1


class Interrupt(Exception):
    pass


def test_an_append_interrupted_between_its_row_and_its_count_takes_no_other_with_it(box):
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


# Capture times


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


def test_a_call_set_aside_keeps_the_time_at_which_it_was_made(make_box):
    clock = Clock()
    box = make_box(wall=clock)
    holder = Holder(box)
    box.append(b"1")
    clock.now += 100
    holder.let_go()
    assert box.outbox.head(box.entry).captured == 1700000000000000


# The disk refuses


def test_while_the_disk_is_full_records_wait_in_memory_and_all_is_written_when_it_heals(box):
    box.append(b"1", b"2")
    box.store.full = True
    box.append(b"3", b"4")
    assert box.outbox.in_memory == 2 and box.store.refused
    assert box.warnings.topics == ["disk"]
    assert box.outbox.head(box.entry).body == b"1"
    assert not box.outbox.heal(None)
    box.store.full = False
    assert box.outbox.heal(None)
    assert box.outbox.in_memory == 0 and box.outbox.refusal is None
    assert box.bodies() == [b"1", b"2", b"3", b"4"]


def test_sending_goes_on_while_the_disk_is_full_and_nothing_comes_back_afterwards(box, tmp_path):
    box.append(b"1", b"2", b"3")
    box.store.full = True
    box.append(b"4", b"5")
    sent = []
    for _ in range(4):
        record = box.outbox.head(box.entry)
        sent.append(record.body)
        box.outbox.settle(box.entry, record, state=b'{"n":%d}' % record.number)
    assert sent == [b"1", b"2", b"3", b"4"]
    assert box.outbox.state(box.entry) == b'{"n":4}'
    box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"no")
    box.store.full = False
    assert box.outbox.heal(None)
    other = tmp_path / "copy"
    other.mkdir()
    box.copy_as_killed(other)
    heir = Box(other)
    assert heir.entry.sent == 4 and heir.entry.waiting == 0
    assert heir.outbox.state(heir.entry) == b'{"n":4}'
    assert [letter.record.body for letter in heir.outbox.dead_letters()] == [b"5"]
    heir.close()


def test_settles_are_written_while_there_is_room_for_them_alone(box, tmp_path):
    """The reserve, freed when the disk is full, keeps room for deletes."""
    box.append(b"1", b"2", b"3")
    box.store.full_for_inserts = True
    box.append(b"4")
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    other = tmp_path / "copy"
    other.mkdir()
    box.copy_as_killed(other)
    heir = Box(other)
    assert heir.bodies() == [b"2", b"3"]
    heir.close()


def test_the_reserve_is_freed_when_the_disk_is_full_and_taken_again(box):
    reserve = box.path + bounds.RESERVE
    assert os.path.getsize(reserve) == 256 * 1024
    box.store.full = True
    box.append(b"1")
    assert not os.path.exists(reserve)
    box.store.full = False
    box.outbox.heal(None)
    assert os.path.exists(reserve)


def test_the_disks_last_five_percent_are_not_used(box, monkeypatch):
    space = [1000 * MIB, 60 * MIB]
    monkeypatch.setattr(bounds._compat, "disk_space", lambda folder: tuple(space))
    box.append(b"1")
    box.outbox.measure()
    assert box.outbox.refusal is None
    space[1] = 49 * MIB
    box.outbox.measure()
    box.append(b"2")
    assert box.outbox.in_memory == 1 and "5%" in str(box.outbox.refusal)
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    assert not box.outbox.heal(None)
    space[1] = 60 * MIB
    assert box.outbox.heal(None)
    assert box.bodies() == [b"2"]


def test_without_a_file_records_wait_in_memory(tmp_path):
    warnings = []
    line = outbox.Outbox(NoStore("no home"), 1 << 28, lambda *told: warnings.append(told))
    entry = line.add_session(u"local-1", b"{}")
    assert line.append(entry, kinds.EVENT, b"1")
    assert line.append(entry, kinds.EVENT, b"2")
    assert line.in_memory == 2 and line.refusal is not None
    line.settle(entry, line.head(entry))
    assert line.head(entry).body == b"2" and not line.heal(None)
    line.bury(entry, line.head(entry), 400, u"no")
    assert entry.waiting == 0 and len(line.dead_letters()) == 1
    line.measure()
    line.sync()
    line.shrink()
    line.close()


def test_a_page_that_cannot_be_read_is_not_given_up_for_lost(box):
    box.append(b"1", b"2")
    page = box.store.page

    def refuse(*_):
        raise StoreRefused("disk I/O error")

    box.store.page = refuse
    assert box.outbox.head(box.entry) is None
    box.store.page = page
    assert box.outbox.heal(None)
    assert box.bodies() == [b"1", b"2"] and box.entry.dropped == 0


def is_tmpfs_to_be_had():
    return sys.platform.startswith("linux") and os.getuid() == 0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if not is_tmpfs_to_be_had() or os.system(
        "mount -t tmpfs -o size=8m tmpfs %s 2>/dev/null" % folder
    ):
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    assert os.system("umount -l %s" % folder) == 0


def test_a_disk_that_is_really_full(small_disk):
    """Settles go on and stay settled, and all the rest arrives once it has room again."""
    box = Box(small_disk, kind=Store)
    for number in range(400):
        box.append(b"%04d" % number + b"x" * 500)
    box.store.checkpoint()
    with open(str(small_disk / "other"), "wb", 0) as other:
        try:
            while True:
                other.write(b"x" * 4096)
        except (IOError, OSError):
            pass
    for number in range(400, 3000):
        box.append(b"%04d" % number + b"x" * 500)
    assert box.outbox.refusal is not None and box.outbox.in_memory > 1500
    sent = []
    for _ in range(300):
        record = box.outbox.head(box.entry)
        sent.append(record.body[:4])
        box.outbox.settle(box.entry, record)
    assert not box.outbox.heal(None)
    settled = box.store.page(box.number, 0)[0][0].number - 1
    assert settled > 15, "the reserve has room for settles"
    os.remove(str(small_disk / "other"))
    box.outbox.heal(None)
    sent.extend(record.body[:4] for record in box.drain())
    assert sent == [b"%04d" % number for number in range(3000)]
    assert box.outbox.heal(None), box.outbox.refusal
    assert box.entry.dropped == 0
    box.close()


# Damaged, deleted


def spool_at(tmp_path, warnings):
    return Spool(str(tmp_path), SCOPE, False, warnings)


def test_a_file_found_damaged_while_it_is_used_is_replaced_and_what_is_lost_is_counted(
    box, tmp_path
):
    box.append(*[b"%03d" % number for number in range(20)])
    box.store._execute("UPDATE records SET body = 'zzz' WHERE id & 255 IN (5, 6)")
    page = box.store.page

    def damaged(*arguments):
        raise StoreDamaged("malformed")

    box.store.page = damaged
    assert box.outbox.head(box.entry) is None
    box.append(b"020")
    box.store.page = page
    assert box.outbox.heal(spool_at(tmp_path, box.warnings).replacement)
    assert box.bodies() == [b"%03d" % number for number in range(21) if number not in (4, 5)]
    assert box.entry.dropped == 2 and box.entry.waiting == 0
    assert [name for name in os.listdir(str(tmp_path)) if ".corrupt-" in name]


def test_damaged_rows_are_counted_as_dropped_and_the_others_arrive(box):
    box.append(b"1", b"2", b"3")
    box.store._execute("UPDATE records SET captured = captured + (1 << 33) WHERE id & 255 = 2")
    assert box.bodies() == [b"1", b"3"]
    assert (box.entry.dropped, box.entry.waiting) == (1, 0)


def test_rows_that_are_gone_without_a_trace_are_counted(box):
    box.append(b"1", b"2", b"3", b"4")
    box.store._execute("DELETE FROM records WHERE id & 255 IN (2, 4)")
    assert box.bodies() == [b"1", b"3"]
    assert (box.entry.dropped, box.entry.waiting) == (2, 0)


@pytest.mark.parametrize("ending", ["", "-wal"])
@pytest.mark.skipif(os.name != "posix", reason="open files cannot be deleted")
def test_a_file_deleted_under_us_goes_on_in_a_new_one(box, tmp_path, ending):
    spool = spool_at(tmp_path, box.warnings)
    box.append(b"1", b"2")
    box.outbox.settle(box.entry, box.outbox.head(box.entry))
    box.outbox.rescue(spool.replacement)
    assert box.outbox.path == box.path
    os.remove(box.path + ending)
    box.append(b"3")
    box.outbox.sync()
    box.outbox.rescue(spool.replacement)
    assert box.outbox.path != box.path and "deleted" in box.warnings.topics
    box.append(b"4")
    (tmp_path / "copy").mkdir()
    moved, box.path = box.path, box.outbox.path
    copy = box.copy_as_killed(tmp_path / "copy")
    store = Store(copy)
    assert [record.body for record in store.page(1, 0)[0]] == [b"2", b"3", b"4"]
    store.close()
    assert box.bodies() == [b"2", b"3", b"4"]
    assert not os.path.exists(moved)


@pytest.mark.skipif(os.name != "posix", reason="open files cannot be deleted")
def test_a_folder_deleted_under_us_is_made_again(tmp_path):
    import shutil

    folder = tmp_path / "spool"
    folder.mkdir()
    box = Box(folder)
    box.append(b"1")
    shutil.rmtree(str(folder))
    box.outbox.sync()
    box.outbox.rescue(spool_at(folder, box.warnings).replacement)
    assert os.path.exists(box.outbox.path)
    assert box.bodies() == [b"1"]
    box.close()


# Bounds


def test_memory_is_bounded_and_the_loss_is_counted_in_order_of_worth(box):
    box.store.full = True
    assert memory.MEMORY_BYTES == 16 * MIB
    for _number in range(100):
        for kind in (kinds.EXCEPTION, kinds.METRIC, kinds.EVENT):
            box.outbox.append(box.entry, kind, b"x" * 100000)
    box.outbox.append(box.entry, kinds.END, b"{}")
    waiting = box.outbox._disk.memory.some(1000)
    assert sum(len(record.body) for record in waiting) <= 16 * MIB
    left = [record.kind for record in waiting]
    assert left.count(kinds.METRIC) < 5 and left.count(kinds.EXCEPTION) == 100
    assert 40 < left.count(kinds.EVENT) < 100 and left[-1] == kinds.END
    assert box.entry.dropped == 301 - len(waiting) and "dropped" in box.warnings.topics
    head = box.outbox.head(box.entry)
    assert head.number == 1


def fill(box, several, rounds, size=930):
    for number in range(rounds):
        for kind in several:
            body = b'{"n":%d,"p":"%s"}' % (number, b"x" * size)
            box.outbox.append(box.entry, kind, body)


def waiting_kinds(box):
    rows = box.store.outline(box.number, 0, 100000)
    return [kind for _, kind, _ in rows]


def test_at_the_cap_the_order_of_sacrifice_is_the_designs(make_box):
    box = make_box(max_bytes=333000)
    box.outbox.append(box.entry, kinds.OPEN, b"{}")
    fill(box, [kinds.METRIC, kinds.EVENT, kinds.EXCEPTION], 100)
    fill(box, [kinds.STATE], 50)
    assert box.store.size() <= 355000
    assert box.entry.merged >= 30, "neighbouring states are merged first"
    fill(box, [kinds.EVENT], 1)
    left = waiting_kinds(box)
    assert left[0] == kinds.OPEN
    assert left.count(kinds.METRIC) + left.count(kinds.EVENT) < 201
    assert left.count(kinds.EXCEPTION) == 100
    fill(box, [kinds.EVENT], 300)
    left = waiting_kinds(box)
    assert left.count(kinds.METRIC) == 0 and left.count(kinds.EXCEPTION) == 100
    fill(box, [kinds.EXCEPTION], 400)
    left = waiting_kinds(box)
    assert left.count(kinds.EVENT) == 0 and 100 < left.count(kinds.EXCEPTION) < 400
    assert left[0] == kinds.OPEN and left.count(kinds.STATE) >= 1
    assert box.store.size() <= 355000
    assert len(box.drain()) == len(left) and box.entry.waiting == 0


def test_the_oldest_go_and_never_the_one_that_may_be_on_its_way(make_box):
    box = make_box(max_bytes=200000)
    fill(box, [kinds.METRIC], 1000)
    numbers = [record.number for record in box.drain()]
    assert numbers[0] == 1 and numbers[1] > 500
    assert numbers[1:] == list(range(numbers[1], 1001))


def test_states_that_cannot_be_merged_go_last_of_all(make_box):
    box = make_box(max_bytes=100000)
    for _number in range(400):
        value = {"n": None, "p": "x" * 900}
        box.outbox.append(box.entry, kinds.STATE, build.encode({"k": value}))
    assert box.store.size() < 130000 and box.entry.dropped > 100


def test_neighbouring_states_at_the_cap_end_in_the_same_state(make_box):
    box = make_box(max_bytes=100000)
    updates = [{"a": {"k%d" % (n % 7): n}, "b": n, "p": "x" * 300} for n in range(500)]
    for update in updates:
        box.outbox.append(box.entry, kinds.STATE, build.encode(update))
    drained = [json.loads(record.body.decode("ascii")) for record in box.drain()]
    assert box.entry.merged == 500 - len(drained) > 200 and box.entry.dropped == 0
    for null_deletes in (False, True):
        assert applied(drained, null_deletes) == applied(updates, null_deletes)


def applied(updates, null_deletes, state=None):
    state = state or {}
    for update in updates:
        state = merge_state(state, update, null_deletes)
    return state


LEAVES = st.one_of(st.none(), st.integers(0, 3))
TREES = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(LEAVES, inner), max_size=3),
    max_leaves=8,
)


@given(TREES, TREES, TREES, st.booleans())
def test_a_merge_of_updates_never_changes_the_result(state, earlier, later, null_deletes):
    merged = merge_updates(earlier, later)
    if merged is not None:
        assert applied([merged], null_deletes, state) == applied(
            [earlier, later], null_deletes, state
        )


@pytest.mark.parametrize(
    "earlier, later, merged",
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": {"d": None}}}, {"a": {"b": 1, "c": {"d": None}}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"b": 1}}, None),
        ({"a": None}, {"a": {"b": 1}}, None),
        ({"a": {"b": 1}}, {"a": {"b": None}}, None),
    ],
)
def test_which_updates_are_merged(earlier, later, merged):
    assert merge_updates(earlier, later) == merged


def test_other_outboxes_of_the_spool_count_towards_the_cap(make_box, tmp_path):
    with open(str(tmp_path / (SCOPE + "-cccccccccccc.outbox")), "wb") as other:
        other.write(b"x" * 4 * MIB)
    with open(str(tmp_path / ("dddddddddddd" + "-cccccccccccc.outbox")), "wb") as foreign:
        foreign.write(b"x" * 4 * MIB)
    assert bounds.share(str(tmp_path / NAME), 6 * MIB) == 2 * MIB
    assert bounds.share(str(tmp_path / NAME), 4 * MIB) == MIB
    box = make_box(max_bytes=4 * MIB)
    fill(box, [kinds.EVENT], 1500)
    assert box.store.size() <= 1.05 * MIB and box.entry.dropped > 300


def test_a_log_call_at_the_cap_does_a_slice_of_work_only(make_box):
    box = make_box(max_bytes=8 * MIB)
    fill(box, [kinds.EVENT], 7800)
    worst = 0.0
    for _ in range(600):
        began = monotonic()
        fill(box, [kinds.EVENT], 1)
        worst = max(worst, monotonic() - began)
    assert box.entry.dropped > 0 and worst < 0.25


def test_drops_are_reported_once_and_the_report_is_kept_with_its_count(make_box, tmp_path):
    box = make_box(max_bytes=200000)
    fill(box, [kinds.METRIC], 400)
    lost = box.entry.dropped
    assert box.outbox.has_unreported and lost > 0
    box.outbox.report_drops()
    box.outbox.report_drops()
    assert not box.outbox.has_unreported
    (tmp_path / "copy").mkdir()
    box.copy_as_killed(tmp_path / "copy")
    heir = Box(tmp_path / "copy")
    assert not heir.outbox.has_unreported
    heir.close()
    bodies = box.bodies()
    assert bodies[-1] == build.encode(build.dropped(lost))
    assert bodies.count(bodies[-1]) == 1


def reported(bodies):
    return sum(build.told_in(body) or 0 for body in bodies)


def test_a_report_that_is_sacrificed_itself_is_told_with_the_next(make_box):
    box = make_box(max_bytes=200000)
    for _round in range(5):
        fill(box, [kinds.EVENT], 400)
        box.outbox.report_drops()
    lost = box.entry.dropped
    fill(box, [kinds.EXCEPTION], 400)
    box.outbox.report_drops()
    bodies = box.bodies()
    assert box.entry.dropped > lost > 0 and box.entry.merged > 0
    assert reported(bodies) == box.entry.dropped


def test_a_report_that_is_sacrificed_in_memory_is_told_with_the_next(box, monkeypatch):
    box.store.full = True
    box.append(b"{}")
    monkeypatch.setattr(box.outbox._disk.memory, "_max_bytes", 100000)
    for _round in range(5):
        fill(box, [kinds.EVENT], 400)
        box.outbox.report_drops()
    bodies = box.bodies()
    box.outbox.report_drops()
    assert box.entry.merged > 0
    assert reported(bodies + box.bodies()) == box.entry.dropped > 0


def test_dead_letters_are_kept_with_the_servers_reason_and_bounded(box):
    for number in range(50):
        box.append(b"%02d" % number + b"x" * 100000)
        box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"Invalid request body")
    letters = box.outbox.dead_letters()
    assert sum(len(letter.record.body) for letter in letters) <= 4 * MIB
    assert letters[-1].record.body[:2] == b"49" and len(letters) > 35
    assert letters[-1].status == 400 and letters[-1].words == u"Invalid request body"
    assert box.entry.dead == 50 and box.entry.waiting == 0


def test_dead_letters_go_after_thirty_days(make_box, tmp_path):
    clock = Clock()
    box = make_box(wall=clock)
    box.append(b"1")
    box.outbox.bury(box.entry, box.outbox.head(box.entry), 400, u"no")
    box.outbox.say_goodbye(box.entry, "ended")
    box.outbox.close()
    assert os.path.exists(box.path), "what the server refused is worth a look"
    clock.now += 29 * 86400
    box = make_box(wall=clock)
    assert len(box.outbox.dead_letters()) == 1
    box.outbox.close()
    clock.now += 2 * 86400
    box = make_box(wall=clock)
    assert box.outbox.dead_letters() == []
    box.outbox.close()
    assert not os.path.exists(box.path)


# Slow


def test_once_the_disk_is_known_to_be_slow_log_calls_do_not_wait_for_it(box):
    box.store.delay = 0.5
    box.append(b"0")
    assert box.outbox._disk.is_slow and "slow" in box.warnings.topics
    taking = threading.Thread(target=lambda: (box.outbox.take_in(), box.outbox.take_in()))
    worst = 0.0
    for number in range(1, 50):
        began = monotonic()
        box.append(b"%d" % number)
        worst = max(worst, monotonic() - began)
        if number == 5:
            taking.start()
    assert worst < 0.25
    assert box.entry.waiting == 50
    taking.join(30)
    box.outbox.take_in()
    assert box.outbox.in_memory == 0
    box.store.delay = 0.0
    assert box.bodies() == [b"%d" % number for number in range(50)]


def test_a_slow_disk_takes_many_records_at_once(box):
    box.store.delay = 0.25
    for number in range(100):
        box.append(b"%d" % number)
    began = monotonic()
    box.outbox.take_in()
    assert box.outbox.in_memory == 0 and monotonic() - began < 2


def test_a_flood_on_a_disk_that_passes_for_slow_is_written_and_not_dropped(box):
    """One slow write costs no record: log calls write a little themselves when memory fills."""
    box.outbox._disk.is_slow = True
    body = b'"' + b"x" * 1022 + b'"'
    flood = 3 * intake.MEMORY_BYTES // len(body)
    for _ in range(flood):
        box.outbox.append(box.entry, kinds.EVENT, body)
        box.outbox._disk.is_slow = True
    entry = box.entry
    assert (entry.dropped, entry.waiting) == (0, flood)
    assert box.outbox._aside_bytes < intake.MEMORY_BYTES


def test_a_tight_loop_of_log_calls_does_not_keep_the_holder_busy_for_ever(box):
    """Who holds the lock takes in what is there, and not what is being added meanwhile."""
    stop = threading.Event()

    def log():
        while not stop.is_set():
            box.outbox.append(box.entry, kinds.EVENT, b"{}")

    loggers = [threading.Thread(target=log) for _ in range(3)]
    box.outbox._disk.is_slow = True
    for logger in loggers:
        logger.start()
    try:
        started = monotonic()
        for _ in range(20):
            box.outbox.update(box.entry, hung=0)
        assert monotonic() - started < 20
    finally:
        stop.set()
        for logger in loggers:
            logger.join()


def test_a_disk_that_was_slow_is_trusted_again_after_a_calm_while(box, monkeypatch):
    box.store.delay = 0.25
    box.append(b"1")
    box.store.delay = 0.0
    box.append(b"2")
    assert box.outbox.in_memory == 1
    box.outbox.take_in()
    box.append(b"3")
    assert box.outbox.in_memory == 1
    monkeypatch.setattr(disk, "CALM_SECONDS", 0.0)
    wait_until(lambda: box.outbox._disk.is_calm(monotonic()))
    box.outbox.take_in()
    box.append(b"4")
    assert box.outbox.in_memory == 0
    assert box.bodies() == [b"1", b"2", b"3", b"4"]


# Keeping, ends


def test_the_log_does_not_grow_while_a_backlog_drains(box):
    for _number in range(4000):
        box.append(b"x" * 1000)
    box.drain()
    assert os.path.getsize(box.path + "-wal") < disk.CHECKPOINT_BYTES * 3


def test_a_sync_makes_a_checkpoint_of_a_large_log(box):
    for _number in range(5000):
        box.append(b"x" * 1000)
    assert box.outbox.unsynced and os.path.getsize(box.path + "-wal") > disk.CHECKPOINT_BYTES
    box.outbox.sync()
    # Begun anew, which takes a sync: no log call shall wait for it.
    assert 0 < os.path.getsize(box.path + "-wal") < 4096


def test_a_large_file_shrinks_when_it_is_drained(box):
    for _number in range(3000):
        box.append(b"x" * 1000)
    box.outbox.sync()
    box.outbox.shrink()
    large = os.path.getsize(box.path)
    box.drain()
    box.outbox.shrink()
    assert large > 3 * MIB and os.path.getsize(box.path) < MIB


def test_a_file_in_which_nothing_matters_any_more_is_deleted(box, tmp_path):
    box.append(b"1")
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    assert not box.outbox.is_over
    box.drain()
    assert box.outbox.is_over
    box.outbox.close()
    assert [name for name in os.listdir(str(tmp_path)) if name.startswith(SCOPE)] == []


def test_a_file_with_something_waiting_is_not_deleted(box):
    box.outbox.say_goodbye(box.entry, "closed")
    box.append(b"1")
    box.outbox.close()
    assert os.path.exists(box.path) and not os.path.exists(box.path + bounds.RESERVE)


def test_close_writes_what_waits_in_memory_where_it_can(box):
    box.store.full = True
    box.append(b"1")
    box.store.full = False
    box.outbox.close()
    heir = Box(os.path.dirname(box.path))
    assert heir.bodies() == [b"1"]
    heir.close()


def test_a_goodbye_and_the_last_record_are_one_step(box, tmp_path):
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    (tmp_path / "copy").mkdir()
    heir_path = box.copy_as_killed(tmp_path / "copy")
    heir = Box(os.path.dirname(heir_path), kind=TroubledStore)
    assert heir.entry.goodbye == "ended" and heir.drain()[0].kind == kinds.END
    heir.close()


FORKING = textwrap.dedent("""
    import os, sys, signal
    from tools.outboxes import Box
    box = Box(sys.argv[1])
    box.append(b"1")
    child = os.fork()
    if child == 0:
        sys.exit(0)  # its interpreter ends, and with it all that it inherited
    os.waitpid(child, 0)
    box.append(b"2")
    os.kill(os.getpid(), signal.SIGKILL)
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_ends_takes_nothing_from_its_parent(tmp_path):
    child = ChildProcess([sys.executable, "-c", FORKING, str(tmp_path)], environment())
    try:
        assert child.wait(60) == -signal.SIGKILL, child.output
    finally:
        child.close()
    box = Box(tmp_path)
    assert box.bodies() == [b"1", b"2"]
    box.close()
