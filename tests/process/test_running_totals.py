"""Running totals: the last record is the sum, whoever counts, writes and interrupts."""

from __future__ import absolute_import, division

import functools
import gc
import itertools
import os
import sys
import threading

import pytest
from programs import IN_CHILD, OPENS, the_one
from tools import held
from tools.interruption import each_step
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat._compat import monotonic
from datacat.process import running_totals, shutdown
from datacat.testing.session import RecordingSession

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
COUNTING = ("meters", "running_totals", "totals", "recording", "recorded", "locks")


def totals_of(there, name="c"):
    """Return the values of a total in the order in which the server got them."""
    return [each["value"] for each in there["metrics"] or () if each["name"] == name]


def tags_of(there, name="c"):
    """Return the tags of each record of a total."""
    return [each.get("tags") or [] for each in there["metrics"] or () if each["name"] == name]


@pytest.fixture
def session():
    """A session that keeps its records in a list."""
    return RecordingSession()


@pytest.fixture
def clock(monkeypatch):
    """The time of the calls that count: a list with one number."""
    now = [1000.0]
    monkeypatch.setattr(running_totals, "monotonic", lambda: now[0])
    return now


def step(session, now):
    """Have the keeper look at a session; return in how many seconds it wants to do so again."""
    return session._membership.totals.step(session._membership, now)


def recorded(session):
    """Return the values of what is written, without having more written."""
    return [fields["value"] for kind, fields in session._membership.records if kind == "metric"]


# When


def test_a_total_is_written_when_its_oldest_sample_is_due_and_then_nothing_is_left_to_do(
    session, clock
):
    session._membership.abandoned_at = None
    assert step(session, clock[0]) is None, "idle"
    session.log_counter("c")
    clock[0] += 4
    session.log_counter("c", 2)
    assert step(session, clock[0]) == 1
    assert recorded(session) == []
    clock[0] += 1
    assert step(session, clock[0]) is None
    assert recorded(session) == [3]
    clock[0] += 100
    assert step(session, clock[0]) is None, "idle again"
    session.log_counter("c")
    assert step(session, clock[0]) == 5
    assert recorded(session) == [3]


def test_only_the_totals_that_have_changed_are_written(session):
    session.log_counter("a")
    session.log_counter("b")
    session.flush()
    session.log_counter("b")
    session.log_counter("b", 0)
    session.flush()
    session.flush()
    assert [(each["name"], each["value"]) for each in session.metrics] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
    ]


def test_a_call_writes_what_the_keeper_has_not_written_a_second_after_it_was_due(session, clock):
    """The keeper's thread cannot be started, or the process gives it no time."""
    session.log_counter("c")
    clock[0] += 5.9
    session.log_counter("c")
    assert recorded(session) == []
    clock[0] += 0.1
    session.log_counter("c")
    assert recorded(session) == [3]


def test_once_the_process_is_exiting_each_call_writes(session, monkeypatch):
    monkeypatch.setattr(shutdown, "is_exiting", lambda: True)
    session.log_counter("c")
    session.log_counter("c")
    assert recorded(session) == [1, 2]


def test_what_is_not_written_is_bounded_however_much_is_counted(session):
    for _ in range(1000):
        session.log_histogram("h", 1)
    (here,) = session._membership.totals._of_process.values()
    assert len(here._queue) < running_totals.LONG_QUEUE
    assert session.metrics[-1]["metadata"]["count"] == 1000


# Whoever counts and writes


def test_the_last_record_is_the_sum_of_what_many_threads_count_while_others_write(session):
    over = []

    def work():
        for number in range(300):
            session.log_counter("c", 2)
            session.log_histogram("h", number % 7, buckets=[3])

    def write():
        while not over:
            session.flush()

    workers = [threading.Thread(target=work) for _ in range(4)]
    writers = [threading.Thread(target=write) for _ in range(2)]
    for thread in workers + writers:
        thread.start()
    for thread in workers:
        thread.join()
    over.append(True)
    for thread in writers:
        thread.join()
    there = {"metrics": session.metrics}
    counted, means = totals_of(there), totals_of(there, "h")
    assert counted[-1] == 2400
    assert counted == sorted(set(counted)), "an older total came after a newer one"
    last = [each for each in session.metrics if each["name"] == "h"][-1]["metadata"]
    assert (last["count"], last["sum"]) == (1200, 4 * sum(n % 7 for n in range(300)))
    assert sum(bucket["count"] for bucket in last["buckets"]) == 1200 and means


def test_a_total_that_another_thread_has_overtaken_is_not_written():
    others = []

    def count_and_write():
        session.log_counter("c")
        session.flush()

    def before_record(kind, fields):
        if kind == "metric" and not others:
            others.append(threading.Thread(target=count_and_write))
            others[0].start()
            others[0].join()
        return fields

    session = RecordingSession(before_record=before_record)
    session.log_counter("c")
    assert session.flush() and recorded(session) == [2]


def at_its_nth_step(call, number, work):
    """Run a call, and `work()` at one of its steps; return whether it has as many."""
    left = [number]

    def profile(frame, event, _):
        if os.path.basename(frame.f_code.co_filename).split(".")[0] in COUNTING:
            left[0] -= 1
            if left[0] == -1:
                work()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return left[0] < 0


@pytest.mark.parametrize("handler", ["counts", "counts and flushes"])
@pytest.mark.parametrize("call", ["log_counter", "flush"])
def test_a_signal_handler_or_finalizer_counts_whatever_it_interrupts(session, call, handler):
    """It interrupts its own thread, which may have the lock."""
    calls = {"log_counter": functools.partial(session.log_counter, "c"), "flush": session.flush}
    counted = []

    def work():
        for _ in range(running_totals.LONG_QUEUE):
            session.log_counter("c")
            counted.append(1)
        if handler == "counts and flushes":
            session.flush()

    for number in itertools.count():
        session.log_counter("c")
        has_so_many = at_its_nth_step(calls[call], number, work)
        counted += [1] if call == "flush" else [1, 1]
        session.flush()
        assert recorded(session)[-1] == len(counted)
        if not has_so_many:
            break
    values = recorded(session)
    assert number > 8 and values == sorted(set(values))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("call", ["log_counter", "flush"])
def test_a_call_that_is_broken_off_anywhere_counts_once_or_not_at_all(session, call, error):
    calls = {"log_counter": functools.partial(session.log_counter, "c"), "flush": session.flush}
    sums = [0]

    def between():
        # One more, and they are added up.
        for _ in range(running_totals.LONG_QUEUE - 1):
            session.log_counter("c")

        def check():
            assert session.flush(), "it is locked, or believes that it is writing"
            mine = recorded(session)[-1] - sums[0] - (running_totals.LONG_QUEUE - 1)
            assert mine in ((0, 1) if call == "log_counter" else (0,))
            sums[0] = recorded(session)[-1]

        return check

    assert each_step(calls[call], between, error, COUNTING) > 8


def test_flush_says_so_if_it_cannot_write_what_was_counted(session):
    """Its own thread is in the middle of writing."""
    results = []

    def before_record(kind, fields):
        if kind == "metric":
            results.append(session.flush())
        return fields

    session = RecordingSession(before_record=before_record)
    session.log_counter("c")
    assert session.flush() is True
    assert results == [False] and recorded(session) == [1]


# before_record


def test_before_record_may_count_change_and_drop_totals(session):
    def before_record(kind, fields):
        if kind == "metric":
            session.log_counter("seen")
            fields["tags"] = ["changed"]
            return None if fields["name"] == "hidden" else fields
        return fields

    session = RecordingSession(before_record=before_record)
    session.log_counter("hidden")
    session.log_counter("c")
    assert session.flush() and session.flush()
    there = [(each["name"], each["value"], each["tags"]) for each in session.metrics]
    assert there[:2] == [("c", 1, ["changed"]), ("seen", 2, ["changed"])]


def test_a_total_that_before_record_makes_too_large_is_dropped_and_counted(caplog):
    def before_record(kind, fields):
        return dict(fields, tags=["x" * (1 << 20)]) if kind == "metric" else fields

    session = RecordingSession(before_record=before_record)
    session.log_counter("c")
    assert session.flush()
    assert session.metrics == [] and session.stats()["dropped"] == 1
    assert "a running total is dropped" in caplog.text


def test_a_total_that_could_not_be_recorded_is_refused_at_the_call(session):
    with pytest.raises(datacat.InvalidArgument):
        session.log_counter("c" * (1 << 20))
    with pytest.raises(datacat.InvalidArgument):
        session.log_histogram("h", 1, metadata={"much": "x" * (1 << 20)})
    with pytest.raises(datacat.InvalidArgument):
        session.log_histogram("h", 1, buckets=list(range(40000)))
    assert session.metrics == []


# With a server


def test_the_keeper_writes_totals_and_each_generation_of_servers_gets_them(
    any_fresh_collector, open_session
):
    session = open_session(any_fresh_collector.url, aggregate_seconds=0.01)
    session.log_counter("c", 3, ["b:2", "a:1"])
    session.log_histogram("h", 0.5, "s", buckets=[1])
    wait_until(lambda: len(any_fresh_collector.session(session.session_id)["metrics"] or ()) == 2)
    counter, histogram = any_fresh_collector.session(session.session_id)["metrics"]
    metadata = {
        "buckets": [{"le": 1.0, "count": 1}, {"le": sys.float_info.max, "count": 0}],
        "count": 1,
        "sum": 0.5,
    }
    if any_fresh_collector.classic:
        assert counter["tags"] == ["a:1", "b:2", "type:counter"]
        assert histogram["tags"][:2] == ["type:histogram", "unit:s"]
        assert histogram["tags"][2].startswith('metadata:{"buckets":[{"count":1,"le":1.0}')
    else:
        assert (counter["type"], counter["tags"]) == ("counter", ["a:1", "b:2"])
        assert (histogram["type"], histogram["unit"]) == ("histogram", "s")
        assert histogram["metadata"] == metadata
    assert (counter["value"], histogram["value"]) == (3, 0.5)


def test_the_timer_runs_only_while_something_is_unwritten(collector, open_session):
    session = open_session(collector.url, aggregate_seconds=0.01)
    (pipeline,) = [session._membership.place.pipeline]
    keeper = pipeline.engine._keeper
    session.log_counter("c")
    wait_until(lambda: not session._membership.totals.are_unwritten)
    assert session.flush(PATIENCE)
    assert keeper._write_totals(monotonic() + 100) == []


@pytest.mark.parametrize("leave", ["end", "close", "flush"])
def test_what_was_counted_is_written_before(leave, fresh_collector, open_session):
    session = open_session(fresh_collector.url, aggregate_seconds=1000)
    session.log_counter("c", 5)
    getattr(session, leave)(timeout=PATIENCE)
    there = fresh_collector.session(session.session_id)
    assert totals_of(there) == [5]
    assert held.is_ended(there) is (leave == "end")


def test_totals_go_on_after_end_and_close(fresh_collector, open_session):
    session = open_session(fresh_collector.url, aggregate_seconds=1000)
    for leave in (session.end, session.close, session.close):
        session.log_counter("c")
        leave(timeout=PATIENCE)
    session.log_counter("c")
    assert session.flush(PATIENCE)
    assert totals_of(fresh_collector.session(session.session_id)) == [1, 2, 3, 4]


def test_what_is_unwritten_keeps_the_threads_running(collector, open_session):
    """Of a session that has ended, while another one that shares them is closed."""
    one, other = [open_session(collector.url, aggregate_seconds=1000) for _ in range(2)]
    pipeline = one._membership.place.pipeline
    one.end(PATIENCE)
    one.log_counter("c")
    other.close(PATIENCE)
    assert pipeline.state == "running"


def test_a_dropped_sessions_totals_are_written_at_once(fresh_collector, open_session):
    session = datacat.create_session(
        fresh_collector.url, product="dropped", connect_wait=PATIENCE, aggregate_seconds=1000
    )
    session_id = session.session_id
    session.end(PATIENCE)
    session.log_counter("c")
    del session
    gc.collect()
    wait_until(lambda: totals_of(fresh_collector.session(session_id)) == [1])


def test_totals_go_on_in_the_next_session_of_a_rotation(fresh_collector, open_session):
    session = open_session(fresh_collector.url, rotate_after=3, aggregate_seconds=1000)
    first = session.session_id
    for _ in range(5):
        session.log_counter("c")
        assert session.flush(PATIENCE)
    assert session.session_id != first
    last = fresh_collector.session(session.session_id)
    assert totals_of(last)[-1] == 5 and totals_of(fresh_collector.session(first))[0] == 1


COUNTS = (
    OPENS.replace(
        u"create_session(", u"create_session(aggregate_seconds=1000, end_on_signals=(15,), "
    )
    + u"session.log_counter('c', 4)\n"
)


@pytest.mark.parametrize(
    "leaving, status",
    [(u"", 0), (u"os.kill(os.getpid(), 15); time.sleep(PATIENCE)", -15)],
    ids=["exit", "signal"],
)
def test_what_was_counted_arrives_at_the_end_of_the_process(
    leaving, status, fresh_collector, run_program
):
    run_program(COUNTS + leaving + u"\n", fresh_collector.url).wait(expect=status)
    there = the_one(fresh_collector)
    assert totals_of(there) == [4] and held.is_ended(there)


@FORKS
def test_a_forked_child_counts_from_0_under_a_tag_of_its_own(fresh_collector, run_program):
    """Even if it is forked in the middle of counting."""
    program = run_program(
        IN_CHILD.replace(u"create_session(", u"create_session(aggregate_seconds=1000, ") + u"""
def work():
    session.log_counter("c", 2, ["t"])
    assert session.flush(PATIENCE)
    print("child:%d" % os.getpid())
    sys.stdout.flush()
    os._exit(5)
session.log_counter("c", 10, ["t"])
(here,) = session._membership.totals._of_process.values()
with here._lock:
    assert in_child(work) == 5
session.log_counter("c", 1, ["t"])
""",
        fresh_collector.url,
    )
    program.wait()
    child = int(program.output.split("child:")[1].split()[0])
    there = the_one(fresh_collector)
    assert totals_of(there) == [2, 11]
    assert tags_of(there) == [["t", "process:%d" % child], ["t"]]
