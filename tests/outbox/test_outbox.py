"""The outbox's promises: kept when accepted, in order, and once."""

from __future__ import absolute_import, division

import itertools
import json
import os
import signal
import sys
import textwrap
import threading

import pytest
from tools.interruption import each_step
from tools.outboxes import (
    SCOPE,
    WHERE,
    Box,
    TroubledStore,
    losses_told_in,
    queue_some,
)
from tools.process import ChildProcess, environment
from tools.redacting import shown_to
from tools.waiting import PATIENCE

from datacat.outbox import bounds, upkeep
from datacat.outbox.shared import is_marked_shared, mark_shared
from datacat.outbox.spool import Spool
from datacat.records import kinds

MIB = 1024 * 1024


KILLED = textwrap.dedent("""
    import os, signal, sys
    from datacat.outbox import disk
    from tools.outboxes import Box, WHERE
    disk.SLOW_SECONDS = 60.0  # however busy this machine is
    box = Box(sys.argv[1])
    for number in range(500):
        box.append(b"%d" % number)
    os.kill(os.getpid(), signal.SIGKILL)
""")


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_right_after_append_loses_nothing(tmp_path):
    child = ChildProcess([sys.executable, "-c", KILLED, str(tmp_path)], environment())
    try:
        assert child.wait(PATIENCE) == -signal.SIGKILL, child.output
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


def test_the_capture_times_of_all_heads_are_read_at_once(box):
    """In memory or on disk, also of settled records that a full disk still holds."""
    clock, entries = itertools.count(1700000000), []
    for number in range(5):
        entries.append(box.outbox.add_session(u"local-more-%d" % number, b"{}"))
        for _ in range(number):
            box.outbox.append(entries[-1], kinds.EVENT, b"%d" % next(clock))
    box.outbox.settle(entries[4], box.outbox.head(entries[4]))
    box.store.full = True
    box.outbox.settle(entries[3], box.outbox.head(entries[3]))
    box.outbox.append(entries[0], kinds.EVENT, b"in memory")
    expected = [(entry, box.outbox.head(entry).captured) for entry in entries]
    assert box.outbox.heads() == expected


def test_a_session_that_had_nothing_waiting_is_reported_to_the_sender(box):
    box.append(b"1", b"2")
    other = box.outbox.add_session(u"local-2", b"{}")
    box.outbox.append(other, kinds.EVENT, b"1")
    assert [entry for entry, _ in box.outbox.newly_waiting] == [box.entry, other]
    box.outbox.newly_waiting.clear()
    box.drain()
    queue_some(box)
    box.outbox.take_in()
    box.outbox.say_goodbye(other, "ended", kinds.END, b"{}")
    assert [entry for entry, _ in box.outbox.newly_waiting] == [box.entry]
    box.outbox.newly_waiting.clear()
    box.drain(other)
    box.outbox.say_goodbye(other, "ended", kinds.END, b"{}")
    assert [entry for entry, _ in box.outbox.newly_waiting] == [other]


def test_many_waiting_sessions_share_a_bounded_number_of_records_in_memory(box, monkeypatch):
    """A page only for sessions whose turn it is, and a small one for one of many."""
    pages, page = [], box.store.page
    monkeypatch.setattr(box.store, "page", lambda *a: pages.append(page(*a)) or pages[-1])
    entries = [box.outbox.add_session(u"local-%d" % n, b"{}") for n in range(2, 202)]
    for number in range(100):
        for entry in entries:
            box.outbox.append(entry, kinds.EVENT, b"%d" % number)
    for entry in entries:
        box.outbox.head(entry)
    assert max(len(found) for found, _ in pages) <= 8
    del pages[:]
    assert [record.body for record in box.drain(entries[0])] == [b"%d" % n for n in range(100)]
    assert len(pages) < 8


def test_a_forked_childs_mark_is_seen_and_follows_the_file(box, tmp_path):
    spool = Spool(str(tmp_path), WHERE, False, box.warnings)
    box.outbox.update(box.entry, server_id=u"s1")
    assert not box.outbox.is_marked_shared(box.entry)
    mark_shared(box.outbox.path, box.entry.server_id)
    assert box.outbox.is_marked_shared(box.entry)
    os.remove(box.path)
    box.outbox.upkeep.rescue(spool.replacement)
    assert box.outbox.path != box.path and box.outbox.is_marked_shared(box.entry)
    assert is_marked_shared(box.outbox.path, box.entry.server_id)
    box.drain()
    box.outbox.say_goodbye(box.entry, "ended")
    box.outbox.close()
    assert os.listdir(str(tmp_path)) == []


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


def test_a_session_is_over_when_nothing_more_comes_of_it(box):
    """It is forgotten only after its goodbye, its delivery and the report of its losses."""
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


def test_the_outbox_can_be_read_while_sessions_come_and_go(box):
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


def test_the_log_does_not_grow_while_a_backlog_drains(box):
    for _number in range(4000):
        box.append(b"x" * 1000)
    box.drain()
    assert os.path.getsize(box.path + "-wal") < upkeep.CHECKPOINT_BYTES * 3


def log_size(box):
    return os.path.getsize(box.path + "-wal")


def test_a_sync_makes_a_checkpoint_of_a_large_log(box):
    for _number in range(5000):
        box.append(b"x" * 1000)
    assert box.outbox.unsynced and log_size(box) > 2 * upkeep.CHECKPOINT_BYTES
    box.outbox.upkeep.sync()
    # Begun anew, which takes a sync: no log call shall wait for it.
    assert 0 < log_size(box) < 4096


@pytest.mark.parametrize("how", ["synced", "drained"])
def test_a_log_is_written_over_after_a_checkpoint_and_does_not_grow(box, how):
    """Growing a file takes a log call a quarter more time."""
    for _round in range(6):
        for _number in range(2500):
            box.append(b"x" * 100)
        if how == "synced":
            box.outbox.upkeep.sync()
        else:
            box.drain()
    assert upkeep.CHECKPOINT_BYTES < log_size(box) < 2 * upkeep.CHECKPOINT_BYTES


def test_a_log_that_is_written_over_is_moved_again_before_it_is_too_long(box):
    """Its size no longer tells: what it has is known from the changes, or from its growth."""
    for _number in range(2500):
        box.append(b"x" * 100)
    checkpoints, restart = [], box.store.restart_log
    box.store.restart_log = lambda: checkpoints.append(box.entry.accepted) or restart()
    for _number in range(upkeep.CHECKPOINT_CHANGES * 3):
        box.append(b"x")
        if box.entry.accepted % 100 == 0:
            box.outbox.upkeep.sync()
    assert 3 <= len(checkpoints) <= 4
    for _number in range(20):
        box.append(b"x" * 1000000)
    box.outbox.upkeep.sync()
    assert log_size(box) < 4096


def test_a_large_file_shrinks_when_it_is_drained(box):
    for _number in range(3000):
        box.append(b"x" * 1000)
    box.outbox.upkeep.sync()
    box.outbox.upkeep.shrink()
    large = os.path.getsize(box.path)
    box.drain()
    box.outbox.upkeep.shrink()
    assert large > 3 * MIB and os.path.getsize(box.path) < MIB


@pytest.mark.parametrize("drained_every, is_kept", [(100, True), (2400, False)])
def test_a_large_log_of_a_small_file_shrinks_when_it_is_drained(box, drained_every, is_kept):
    """A log of about the size at which it is written over stays: growing it again takes time."""
    for _number in range(2400):
        box.append(b"x" * 100)
        if box.entry.accepted % drained_every == 0:
            box.drain()
    assert os.path.getsize(box.path) < MIB and log_size(box) > upkeep.CHECKPOINT_BYTES
    before = log_size(box)
    box.outbox.upkeep.shrink()
    assert log_size(box) == before if is_kept else log_size(box) <= 2 * 4096


def test_a_file_that_is_no_longer_needed_is_deleted(box, tmp_path):
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


def test_close_writes_what_waits_in_memory_if_it_can(box):
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
    from datacat.outbox import disk
    from tools.outboxes import Box, WHERE
    disk.SLOW_SECONDS = 60.0  # however busy this machine is
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
        assert child.wait(PATIENCE) == -signal.SIGKILL, child.output
    finally:
        child.close()
    box = Box(tmp_path)
    assert box.bodies() == [b"1", b"2"]
    box.close()


class LyingDict(object):
    __class__ = dict


def lose(box, count):
    for _ in range(count):
        assert box.outbox.give_up(box.entry, kinds.EVENT)


def test_before_record_sees_a_report_of_losses_and_the_count_stays_right(box):
    seen = []

    def redact(kind, fields):
        seen.append((kind, fields["name"], fields["data"]))
        lose(box, 2)  # it may log, and lose, itself
        return dict(fields, message="redacted")

    box.entry.redact = shown_to(redact)
    lose(box, 1)
    box.outbox.report_drops()
    assert seen == [("event", "datacat_records_dropped", {"count": 1})]
    (body,) = box.bodies()
    assert json.loads(body.decode("ascii"))["message"] == "redacted"
    assert losses_told_in([body]) == [3] and box.entry.unreported == 0


@pytest.mark.parametrize("is_dropped", [False, True], ids=["told", "dropped"])
def test_a_report_interrupted_anywhere_invents_no_loss(quick_folder, is_dropped):
    """Ctrl-C that the application outlives, by turns at each step of its writing."""
    box = Box(quick_folder)
    losses, intake = box.outbox._losses, box.outbox.intake
    box.entry.redact = shown_to(lambda kind, fields: None if is_dropped else fields)

    def queue_twice():
        # When the second is written, there is nothing left to report.
        losses.report(intake, [box.entry])
        losses.report(intake, [box.entry])

    def report():
        losses.prepare(box.entry)
        intake.run(queue_twice)

    def between():
        lose(box, 1)
        before, told = box.entry.dropped, len(losses_told_in(box.bodies()))

        def check():
            box.outbox.report_drops()
            box.outbox.take_in()
            bodies = box.bodies()
            assert box.entry.dropped == before and box.entry.unreported == 0
            assert b"" not in bodies and told == 0
            assert sum(losses_told_in(bodies)) == (0 if is_dropped else 1)

        return check

    assert each_step(report, between, modules=("writer", "losses", "intake", "disk")) > 20
    box.close()


def test_a_report_that_before_record_drops_is_made_no_more(box, tmp_path):
    seen = []
    box.entry.redact = shown_to(lambda kind, fields: seen.append(kind))
    lose(box, 1)
    box.outbox.report_drops()
    box.outbox.report_drops()
    assert seen == ["event"] and box.bodies() == [] and not box.outbox.has_unreported
    heir = Box(os.path.dirname(box.copy_as_killed_into(tmp_path / "copy")))
    assert (heir.entry.unreported, heir.entry.dropped) == (0, 1)
    heir.close()


@pytest.mark.parametrize("data", [LyingDict(), None, {"count": LyingDict()}, [1]])
def test_odd_values_in_a_report_harm_nothing(box, data):
    """What raised while a report is written would be in front of all other records for ever."""
    box.entry.redact = shown_to(lambda kind, fields: dict(fields, data=data))
    lose(box, 1)
    box.outbox.report_drops()
    box.append(b'{"name":"next"}')
    # Without a report, if a server would refuse it.
    told = [json.loads(body.decode("ascii"))["name"] for body in box.bodies()]
    assert told in (["datacat_records_dropped", "next"], ["next"])
    assert not box.outbox.has_unreported


def test_before_record_sees_each_report_anew(box):
    seen = []
    box.entry.redact = shown_to(
        lambda kind, fields: seen.append(fields["data"]["count"]) or fields
    )
    for count in (1, 2):
        lose(box, count)
        box.outbox.report_drops()
    lose(box, 3)
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    assert seen == [1, 2] and losses_told_in(box.bodies()[:-1]) == [1, 2]
    box.outbox.report_drops()
    assert seen == [1, 2, 3]


def test_a_loss_between_two_reports_that_are_queued_waits_for_the_next_one(box):
    box.entry.redact = shown_to(lambda kind, fields: fields)
    lose(box, 1)

    def two_threads_report():
        for _ in range(2):
            box.outbox._losses.report(box.outbox.intake, [box.entry])
            lose(box, 1)

    box.outbox._losses.prepare(box.entry)
    box.outbox.intake.run(two_threads_report)
    box.outbox.report_drops()
    assert sum(losses_told_in(box.bodies())) == 3 and not box.outbox.has_unreported


def test_a_report_that_before_record_has_not_seen_waits_for_it_at_a_goodbye(box):
    """A goodbye is said with the lock, for which a call of the application may wait."""
    box.entry.redact = shown_to(lambda kind, fields: fields)
    lose(box, 1)
    box.outbox.say_goodbye(box.entry, "ended", kinds.END, b"{}")
    assert box.bodies() == [b"{}"] and not box.outbox.is_over
    box.outbox.report_drops()
    assert losses_told_in(box.bodies()) == [1] and box.outbox.is_over
