"""A session finds its outbox again after forks, closes and its own end, and loses nothing."""

from __future__ import absolute_import, division

import glob
import itertools
import os
import signal
import threading

import pytest
from inside import pipelines_of
from programs import IN_CHILD, the_one
from tools import held
from tools.faults import Stall
from tools.waiting import PATIENCE, wait_until

from datacat._compat import monotonic
from datacat.outbox.outbox import Outbox
from datacat.outbox.shared import is_marked_shared
from datacat.outbox.store import Store

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def files_in(spool):
    return glob.glob(os.path.join(str(spool), "*.outbox"))


# After a close

TAKES_OVER = u"""
import datacat, sys
from tools.waiting import PATIENCE
session = datacat.create_session(connect_wait=0)
print("has taken over")
sys.stdout.flush()
sys.stdin.readline()
session.flush(PATIENCE)
session.end(PATIENCE)
"""


def test_records_that_another_process_took_over_are_reported_until_it_has_sent_them(
    make_collector, open_session, run_program, spool
):
    """Their order with later ones cannot be kept, so flush() does not return True."""
    collector = make_collector().start()
    session = open_session(collector.url)
    session.flush(PATIENCE)
    collector.stop()
    for number in range(10):
        session.log_event("step", {"number": number})
    session.close(0)
    wait_until(lambda: pipelines_of(base_url=collector.url) == [])
    (path,) = files_in(spool)
    other = run_program(TAKES_OVER, collector.url)
    wait_until(lambda: "has taken over" in other.output)
    for number in range(10, 20):
        session.log_event("step", {"number": number})
    collector.start()
    wait_until(lambda: session.stats()["sent"] == 11)
    assert session.flush(5) is False
    stats = session.stats()
    assert stats["waiting"] == 10
    assert path in stats["last_error"] and "another process" in stats["last_error"]
    wait_until(lambda: len(held.numbers(collector.session(session.session_id))) == 20)
    other.proceed()
    other.wait()
    assert session.flush(5) is True and session.stats()["waiting"] == 0
    arrived = held.numbers(collector.session(session.session_id))
    assert sorted(arrived) == list(range(20))


@pytest.mark.parametrize("is_known", [True, False], ids=["known to the server", "not yet known"])
@pytest.mark.parametrize("comes_first", ["the session", "another session"])
def test_a_file_that_nobody_took_over_is_continued_in_order(
    make_collector, open_session, comes_first, is_known
):
    """Opened again by the session itself, or by another one that shares its pipeline."""
    collector = make_collector().start()
    if not is_known:
        collector.stop()
    session = open_session(collector.url, connect_wait=PATIENCE if is_known else 0)
    session.flush(PATIENCE)
    if is_known:
        collector.stop()
    for number in range(10):
        session.log_event("step", {"number": number})
    session.close(0)
    if comes_first == "another session":
        open_session(collector.url, connect_wait=0).log_event("another")
    for number in range(10, 20):
        session.log_event("step", {"number": number})
    collector.start()
    wait_until(session.flush)
    there = session.get_details(PATIENCE)
    assert held.numbers(there) == list(range(20))
    # The open, and the events: on a slow machine, one more says that it was opened offline.
    assert session.stats()["waiting"] == 0
    assert session.stats()["sent"] == 1 + len(there["events"])


def test_a_session_returns_to_its_file_although_another_one_opens_it(make_collector, open_session):
    """Its counts are updated as its records are delivered, without a call of its own."""
    collector = make_collector().start()
    collector.stop()
    first, second = [open_session(collector.url, connect_wait=0) for _ in range(2)]
    for session in (first, second):
        session.log_event("kept")
        session.close(0)
    first.log_event("opens it again")
    collector.start()
    wait_until(lambda: first.flush(5))
    wait_until(lambda: second.stats()["waiting"] == 0)
    assert second.stats()["sent"] == 2 and second.session_id != second.local_id


# Calls that interrupt or meet others


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals are POSIX's")
def test_a_handler_that_logs_while_its_thread_closes_and_opens_loses_nothing(
    collector, open_session
):
    """The call that it interrupts keeps its record, or the next call does."""
    session = open_session(collector.url)
    struck, calls, logged = [], itertools.count(), itertools.count()

    def on_alarm(number, frame):
        if is_in_change(frame):
            struck.append(number)
        elif next(calls) % 20:
            return  # there are enough of these
        session.log_event("handler", {"number": next(logged)})

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    number = 0
    try:
        until = monotonic() + PATIENCE
        while len(struck) < 20 and monotonic() < until:
            session.log_event("step", {"number": number})
            session.close(0)
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(struck) >= 5, "the pipeline was hardly ever interrupted"
    wait_until(lambda: session.flush(5))
    there = session.get_details(PATIENCE)
    assert held.numbers(there) == list(range(number))
    # A handler that interrupts another comes before it, and after its number.
    assert sorted(held.numbers(there, "handler")) == list(range(next(logged)))
    assert held.names(there).count("session_forked") == 0


def is_in_change(frame):
    """Return whether a handler interrupted the pipeline in the middle of a change."""
    while frame is not None:
        if frame.f_code.co_name in ("_admit", "_close"):
            return True
        frame = frame.f_back
    return False


def test_a_call_that_cannot_get_the_pipelines_lock_leaves_its_record_to_the_holder(
    collector, open_session
):
    """If opening the file takes seconds, no call waits for that, and nothing is lost."""
    session = open_session(collector.url, product="locked")
    open_session(collector.url, product="locked")
    session.end(PATIENCE)
    (pipeline,) = pipelines_of(product="locked")
    lock = next(iter(pipeline.locks_over_sqlite()))
    is_held, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(PATIENCE)
    session.close(0)
    session.log_event("step", {"number": 0})
    assert holder.is_alive(), "the call waited until it had the lock"
    assert (session.stats()["waiting"], session.stats()["in_memory"]) == (1, 1)
    release.set()
    holder.join()
    session.log_event("step", {"number": 1})
    assert session.flush(PATIENCE) and session.stats()["in_memory"] == 0
    assert held.numbers(session.get_details(PATIENCE)) == [0, 1]


def test_a_record_that_meets_a_slow_close_is_kept_by_the_thread_that_closes(
    collector, open_session, monkeypatch
):
    """Without another call: the file is opened again for it."""
    session = open_session(collector.url)
    closes, may_close, close = threading.Event(), threading.Event(), Outbox.close

    def close_slowly(outbox):
        closes.set()
        outbox.intake.closed = True
        may_close.wait(PATIENCE)
        outbox.intake.closed = False
        close(outbox)

    monkeypatch.setattr(Outbox, "close", close_slowly)
    closing = threading.Thread(target=session.close)
    closing.start()
    assert closes.wait(PATIENCE)
    session.log_event("meanwhile")
    assert session.stats()["in_memory"] == 1
    monkeypatch.undo()
    may_close.set()
    closing.join(PATIENCE)
    wait_until(lambda: "meanwhile" in names_at(collector, session))


def names_at(collector, session):
    return held.names(collector.session(session.session_id))


def test_threads_that_log_first_at_the_same_time_after_a_close_share_one_place(
    make_collector, open_session
):
    """Once: the server knows neither of them, and must get one session."""
    collector = make_collector().start()
    collector.stop()
    session = open_session(collector.url, connect_wait=0)
    for _ in range(20):
        session.close(0)
        threads = [threading.Thread(target=session.log_event, args=("e",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    collector.start()
    wait_until(session.flush)
    (listed,) = collector.sessions()
    assert held.names(collector.session(listed["id"])) == ["e"] * 80


# Other writers


@FORKS
def test_a_child_marks_its_parents_outbox_before_it_keeps_anything_and_only_then(
    fresh_collector, run_program, spool
):
    program = run_program(
        IN_CHILD + u"""
from datacat.process import registry
from datacat.outbox.outbox import Outbox
from datacat.outbox.shared import is_marked_shared
path, server_id = registry.pipelines()[0].outbox.path, session.session_id
other = datacat.create_session(connect_wait=PATIENCE)
other.log_event("beside")
assert other.flush(PATIENCE)

def silent():
    os._exit(0)

def logging():
    assert not is_marked_shared(path, server_id)
    session.log_event("in child")
    assert is_marked_shared(path, server_id)
    assert not is_marked_shared(path, other.session_id)
    os._exit(0)

in_child(silent)
assert not is_marked_shared(path, server_id)
assert in_child(logging) == 0
print("id %s" % server_id)
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
""",
        fresh_collector.url,
    )
    program.wait(expect=-signal.SIGKILL)
    server_id = program.output.split("id ")[1].split()[0]
    assert [is_marked_shared(path, server_id) for path in files_in(spool)].count(True) == 1


@FORKS
@pytest.mark.parametrize("why", ["parent without a file", "no marker can be made"])
def test_a_child_that_cannot_mark_its_parents_outbox_opens_a_session_of_its_own(
    why, make_collector, run_program, spool, tmp_path
):
    """The parent could take its record for one of ours."""
    collector = make_collector(classic=True).start()
    folder = spool if why == "no marker can be made" else tmp_path / "a file" / "spool"
    (tmp_path / "a file").write_bytes(b"")
    program = run_program(
        IN_CHILD + u"""
from datacat.process import registry
path = registry.pipelines()[0].outbox.path
if path != ":memory:":
    os.mkdir(path + "-shared")

def logging():
    session.log_event("in child")
    assert session.flush(20)
    os._exit(0)

session.log_event("in parent")
assert session.flush(20)
assert in_child(logging) == 0
if path != ":memory:":
    os.rmdir(path + "-shared")
print("id %s" % session.session_id)
""",
        collector.url,
        DATACAT_SPOOL_DIR=str(folder),
    )
    program.wait(60)
    sessions = dict(
        (listed["id"], held.names(collector.session(listed["id"])))
        for listed in collector.sessions()
    )
    own = sessions.pop(program.output.split("id ")[1].split()[0])
    assert "in parent" in own and "in child" not in own
    assert list(sessions.values()) == [["session_forked", "in child"]]


def test_the_sessions_client_notes_that_it_writes_before_its_request_is_out(
    classic_collector, run_program, before, spool
):
    """A kill right after the request finds the note on disk."""
    proxy = before(classic_collector)
    program = run_program(
        u"""
import datacat, sys
from tools.waiting import PATIENCE
session = datacat.create_session(connect_wait=PATIENCE, timeout=PATIENCE, deadline=PATIENCE)
session.log_event("first")
assert session.flush(PATIENCE)
session.client.get_session(session.session_id)
print("ready")
sys.stdout.flush()
sys.stdin.readline()
session.client.log_event(session.session_id, "directly")
""",
        proxy.url,
    )
    wait_until(lambda: "ready" in program.output)
    proxy.rule(Stall(), when=lambda request: b"directly" in request.body)
    program.proceed()
    wait_until(lambda: proxy.struck["stall"])
    program.kill()
    (path,) = files_in(spool)
    store = Store(path)
    try:
        assert [entry.shared for entry in store.entries()] == [1]
    finally:
        store.close()


# Heartbeats

WATCHES = IN_CHILD + u"""
other = datacat.create_session()
session.start_heartbeat_monitor(timeout=0.5, check_interval=0.1)
session.pause_heartbeat_monitoring()

def watched_while_another_closes():
    session.heartbeat()
    other.log_event("in child")
    other.close(PATIENCE)
    session.heartbeat()
    hang_in_child()
    os._exit(0)

def hang_in_child():
    until = time.time() + PATIENCE
    while not is_recorded():
        assert time.time() < until
        time.sleep(0.05)

def is_recorded():
    session.flush(PATIENCE)
    events = session.client.get_session(session.session_id)["events"] or ()
    return any("hang_in_child" in str(event["data"]) for event in events)

child = os.fork()
if not child:
    session.resume_heartbeat_monitoring()
    watched_while_another_closes()
assert os.waitpid(child, 0)[1] == 0
assert is_recorded()
session.end(PATIENCE)
"""


@FORKS
def test_a_childs_monitor_keeps_running_when_another_session_of_the_child_closes(
    fresh_collector, run_program
):
    """A hang after that close is recorded, and told by its stack from any before."""
    run_program(WATCHES, fresh_collector.url).wait(2 * PATIENCE)
    assert "application_appears_hung" in held.names(the_one(fresh_collector))


def test_a_monitor_outlives_a_close_of_its_pipeline(collector, open_session):
    """Even if it was started after the session's own close, and no heartbeat ever comes."""
    session = open_session(collector.url)
    other = open_session(collector.url)
    session.close(PATIENCE)
    session.start_heartbeat_monitor(timeout=0.5, check_interval=0.1)
    other.close()
    wait_until(lambda: "application_appears_hung" in names_at(collector, session))


def test_a_heartbeat_starts_threads_that_could_not_be_started(
    collector, open_session, monkeypatch
):
    start, is_refused = threading.Thread.start, [True]

    def start_or_refuse(thread):
        if is_refused and thread.name.startswith("datacat-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    session = open_session(collector.url)
    session.start_heartbeat_monitor(timeout=60)
    del is_refused[:]
    wait_until(lambda: session.heartbeat() or session.session_id != session.local_id)
