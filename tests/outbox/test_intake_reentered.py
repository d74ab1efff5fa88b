"""A signal handler or finalizer may log while its own thread is inside the outbox."""

from __future__ import absolute_import, division

import gc
import itertools
import os
import signal
import sys

import pytest
from tools.outboxes import (
    Box,
    Holder,
    losses_told_in,
    queue_some,
)
from tools.waiting import PATIENCE

from datacat._compat import monotonic
from datacat.outbox import intake
from datacat.records import kinds


def test_two_ends_in_handlers_report_each_loss_once(box):
    box.entry.unreported = box.entry.dropped = 3

    def handler():
        for _ in range(2):
            assert box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")

    interrupting(box.store, handler)
    box.append(b"{}")
    assert losses_told_in(box.bodies()) == [3] and box.entry.unreported == 0


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
