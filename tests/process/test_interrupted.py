"""What an interrupted call leaves behind: no lock, no file that nobody has, no record twice.

Unlike in test_states, the interruption also strikes in what the process's own code calls: locks,
the outbox, and Python's threading.
"""

from __future__ import absolute_import, division

import functools
import itertools
import os
import sys
import threading

import pytest
from inside import pipelines_of
from programs import IN_CHILD
from tools import held
from tools.interruption import interrupt
from tools.waiting import wait_until

from datacat import errors
from datacat.outbox.shared import SHARED
from datacat.outbox.store import Store

A_PORT_NOBODY_LISTENS_ON = "http://127.0.0.1:9"
CALLERS = ("engine", "loop", "membership", "pipeline", "places", "progress", "registry")
FILES = ("connection", "outbox", "spool", "store")
QUEUE = ("disk", "intake", "membership", "places", "writer")
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_the_middle_of(name, work, call):
    """Call `work()` once when a function of that name is entered during `call()`.

    So does a finalizer, or a signal handler.
    """
    left = [work]

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_name == name and left:
            left.pop()()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    assert not left, "%s was not called" % name


def flush_in_another_thread(session):
    """Return what flush() returned in another thread, None if it does not come back."""
    results = []
    thread = threading.Thread(target=lambda: results.append(session.flush(10)))
    thread.daemon = True
    thread.start()
    thread.join(30)
    return results[0] if results else None


@pytest.mark.parametrize("call", ["flush", "end"])
def test_a_call_that_waits_and_is_interrupted_anywhere_holds_up_no_other(
    collector, open_session, call
):
    """Neither another thread's flush nor the sender, and what a handler raises comes out."""
    session = open_session(collector.url)
    for step in itertools.count():
        session.log_event("step", {"number": step})
        is_struck = interrupt(
            getattr(session, call), step, modules=CALLERS + ("locks", "threading")
        )
        assert flush_in_another_thread(session) is True
        if not is_struck:
            break
    assert step > 20, "the steps were not counted"
    assert held.numbers(session.get_details()) == list(range(step + 1))


@pytest.mark.parametrize("is_reopening", [False, True], ids=["close", "the log call after it"])
def test_a_backlog_stays_in_its_sessions_file_wherever_a_call_is_interrupted(
    open_session, is_reopening
):
    """No connection that nobody refers to any more keeps the file locked."""
    for step in itertools.count(0, 7):
        session = open_session(A_PORT_NOBODY_LISTENS_ON, product="step %d" % step, connect_wait=0)
        session.log_event("before")
        call = functools.partial(session.close, 1)
        if is_reopening:
            call()
            call = functools.partial(session.log_event, "own")
        is_struck = interrupt(call, step, modules=FILES)
        session.log_event("after")
        stats = session.stats()
        assert "another process" not in (stats["last_error"] or ""), stats
        assert stats["waiting"] in ((3, 4) if is_reopening else (3,)), stats
        session.close(1)
        if not is_struck:
            break
    assert step > 20, "the steps were not counted"


def test_the_record_of_an_interrupted_call_arrives_once_or_never(collector, open_session):
    """In the call that opens the file again, too."""
    session = open_session(collector.url, product="once or never")
    for step in itertools.count(0, 3):
        session.close()
        call = functools.partial(session.log_event, "own", {"number": step})
        is_struck = interrupt(call, step, modules=QUEUE)
        session.log_event("step", {"number": step})
        assert session.flush(20)
        if not is_struck:
            break
    assert step > 60, "the steps were not counted"
    there = session.get_details()
    own = held.numbers(there, "own")
    assert own and len(own) == len(set(own))
    assert held.numbers(there) == list(range(0, step + 1, 3))


def test_hundreds_of_calls_that_interrupt_the_opening_of_a_file_are_all_kept(
    collector, open_session
):
    """As of finalizers that a collection of garbage runs."""
    calls = sys.getrecursionlimit() // 2
    session = open_session(collector.url, product="hundreds")
    session.close()

    def finalize():
        for number in range(calls):
            session.log_event("step", {"number": number})

    in_the_middle_of("_open", finalize, lambda: session.log_event("outer"))
    assert session.flush(20)
    assert held.numbers(session.get_details()) == list(range(calls))


def test_a_close_that_was_interrupted_leaves_no_record_to_count(open_session):
    session = open_session(A_PORT_NOBODY_LISTENS_ON, connect_wait=0)
    assert interrupt(lambda: session.close(0), 0, modules=("registry",))
    session.log_event("after")
    assert session.stats()["waiting"] == 2


IN_THE_MIDDLE = u"""
import datacat, os, sys
def work():
    def nested():
        session.log_event("nested")
        answers.append(session.flush(0))
        answers.append(session.stats()["waiting"])
    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_name == "_open" and todo:
            todo.pop()()
    answers, todo = [], [nested]
    sys.setprofile(profile)
    session.log_event("outer")
    sys.setprofile(None)
    print("answers %s %s" % (answers, session.flush(20)))
    sys.stdout.flush()
    os._exit(0)
"""


@FORKS
def test_a_child_counts_what_it_has_not_been_able_to_keep_yet(fresh_collector, run_program):
    """It asks nothing of its parent's outbox meanwhile."""
    program = run_program(IN_CHILD + IN_THE_MIDDLE + u"in_child(work)\n", fresh_collector.url)
    program.wait(60)
    assert "answers [False, 2] True" in program.output, program.output


@FORKS
def test_a_child_does_not_count_what_its_parent_left_behind(open_session, spool):
    session = open_session(A_PORT_NOBODY_LISTENS_ON, product="left behind", connect_wait=0)
    session.close(0)
    wait_until(lambda: not pipelines_of(product="left behind"))
    (path,) = [name for name in os.listdir(str(spool)) if name.endswith(".outbox")]
    taken = Store(os.path.join(str(spool), path))
    try:
        session.log_event("in another file")
        its_own = 3  # the open, the event that tells of the other one, and this
        assert session.stats()["waiting"] == its_own + 1
        child = os.fork()
        if not child:
            session.log_event("in the child's file")
            os._exit(session.stats()["waiting"])
        assert os.waitpid(child, 0)[1] >> 8 == its_own
    finally:
        taken.close()


# What is noted for others


def is_shared(path):
    """Return the `shared` of the sessions in an outbox that nobody has open, by local id."""
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT local_id, shared FROM sessions"))
    finally:
        connection.close()


@pytest.mark.parametrize("whose", ["its own client", "another session's client"])
def test_a_write_beside_a_session_is_noted_though_its_pipeline_was_closed(
    make_collector, open_session, spool, whose
):
    collector = make_collector(classic=True).start()
    session, other = open_session(collector.url), open_session(collector.url)
    assert session.flush(20) and other.flush(20)
    writer = session if whose == "its own client" else other
    # So that it knows the server's dialect.
    writer.client.log_event(writer.client.create_session(), "elsewhere")
    collector.stop()
    if whose == "its own client":
        # Something waits, so that the file stays; not of the session itself.
        other.log_event("waits")
    session.close(0)
    other.close(0)
    wait_until(lambda: not pipelines_of(base_url=collector.url))
    if whose != "its own client":
        session.log_event("opens the file again")
    with pytest.raises(errors.DatacatError):
        writer.client.log_event(session.session_id, "beside")
    session.log_event("later")
    session.close(0)
    wait_until(lambda: not pipelines_of(base_url=collector.url))
    (path,) = [
        os.path.join(str(spool), name)
        for name in os.listdir(str(spool))
        if name.endswith(".outbox")
    ]
    assert is_shared(path)[session.local_id] == 1
    assert not os.path.exists(path + SHARED)
