"""A pipeline closes, lingers, resumes and is released, whatever interrupts it."""

from __future__ import absolute_import, division

import contextlib
import gc
import itertools
import os
import select
import socket
import sys
import threading
import weakref

import pytest
import six
from inside import pipelines_of, threads
from programs import SUCCESSOR, UNHURRIED, with_event
from tools import held
from tools.outboxes import left_in
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat.process import fork
from datacat.process import pipeline as pipeline_module

A_PORT_NOBODY_LISTENS_ON = "http://127.0.0.1:9"
PROCESS = os.path.dirname(pipeline_module.__file__)


class DeafServer(object):
    """A port that refuses connections, and later takes them and never answers."""

    def __init__(self):
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def take_connections(self):
        self._listener.listen(16)

    def has_a_connection(self):
        return bool(select.select([self._listener], [], [], 0)[0])


@pytest.fixture
def deaf():
    with DeafServer() as server:
        yield server


def open_unfixtured(url, **options):
    """Open a session that no fixture refers to."""
    options.setdefault("product", "tests")
    options.setdefault("connect_wait", PATIENCE)
    return datacat.create_session(url, version="1", **options)


NEVER_ANSWERED = {"connect_wait": 0, "timeout": 10 * PATIENCE, "deadline": 10 * PATIENCE}


def open_with_hanging_sender(deaf, open_session):
    """Return a session whose sender waits for an answer, of a server known to be away."""
    session = open_session(deaf.url, **NEVER_ANSWERED)
    wait_until(lambda: session.stats()["online"] is False)
    deaf.take_connections()
    session.log_event("step", {"number": 0})
    session.flush(0)
    wait_until(deaf.has_a_connection)
    return session


# A close that takes long


def test_a_close_that_waits_for_its_sender_holds_up_no_other_pipeline(
    collector, open_session, deaf
):
    """Openings, calls and farewells of others, and a fork, are over before that close is."""
    other = open_session(collector.url)
    stuck = open_with_hanging_sender(deaf, open_session)
    closing = threading.Thread(target=stuck.close, args=(10 * PATIENCE,))
    closing.start()
    (pipeline,) = pipelines_of(base_url=deaf.url)
    wait_until(lambda: pipeline.state == pipeline_module.LINGERING)
    other.log_event("meanwhile")
    other.end(PATIENCE)
    open_session(collector.url, product="another").close(PATIENCE)
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    assert closing.is_alive()
    assert held.names(collector.session(other.session_id)) == ["meanwhile"]
    deaf.__exit__()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_a_pipeline_that_could_not_close_in_time_closes_when_its_sender_is_done(
    open_session, deaf, spool
):
    stuck = open_with_hanging_sender(deaf, open_session)
    stuck.close(0)
    (lingering,) = pipelines_of(base_url=deaf.url)
    assert lingering.state == pipeline_module.LINGERING
    deaf.__exit__()
    wait_until(lambda: pipelines_of(base_url=deaf.url) == [])
    assert lingering.state == pipeline_module.CLOSED and stuck.stats()["waiting"] == 2


def test_a_pipeline_with_records_in_memory_does_not_close(make_collector, open_session, tmp_path):
    """Memory has their only copies: they survive the close, and are delivered."""
    collector = make_collector().start()
    collector.stop()
    (tmp_path / "a file").write_text(u"not a folder")
    session = open_session(
        collector.url, connect_wait=0, spool_dir=str(tmp_path / "a file" / "spool")
    )
    session.log_event("step", {"number": 0})
    session.close(0)
    collector.start()
    session.log_event("step", {"number": 1})
    wait_until(session.flush)
    assert held.numbers(session.get_details(PATIENCE)) == [0, 1]


# What interrupts it


class Interrupted(BaseException):
    """Raised by a signal handler, like a Ctrl-C that the application survives."""


@contextlib.contextmanager
def interrupted_at(line):
    """Raise Interrupted in front of the line with that number, counted in what is called here.

    Lines of the package that this file tests, and of no other: what an outbox promises of
    interruptions is tested there.  Yields a list that is empty if there is no such line.
    """
    struck, lines = [], itertools.count()

    def trace_lines(frame, event, _):
        if event == "line" and not struck and next(lines) == line:
            struck.append((os.path.basename(frame.f_code.co_filename), frame.f_lineno))
            raise Interrupted()
        return trace_lines

    def trace_calls(frame, event, _):
        return trace_lines if os.path.dirname(frame.f_code.co_filename) == PROCESS else None

    before = sys.gettrace()
    sys.settrace(trace_calls)
    try:
        yield struck
    except Interrupted:
        pass
    finally:
        sys.settrace(before)


def test_a_close_that_is_interrupted_anywhere_leaves_a_sender_or_lets_the_next_call_make_one(
    collector, open_session
):
    """Never silent: what is logged after a Ctrl-C in close() is sent."""
    before = threads()
    session = open_session(collector.url, product="interrupted")
    for number in itertools.count():
        session.log_event("step", {"number": 2 * number})
        session.flush(PATIENCE)
        with interrupted_at(number) as struck:
            session.close(0.5)
        session.log_event("step", {"number": 2 * number + 1})
        assert session.flush(PATIENCE), (number, struck, session.stats())
        if not struck:
            break
    assert number > 30, "the lines were not counted"
    assert held.numbers(session.get_details(PATIENCE)) == list(range(2 * number + 2))
    wait_until(lambda: len(threads() - before) == 2)


def test_a_call_that_is_interrupted_anywhere_while_it_opens_the_outbox_again_can_be_repeated(
    collector, open_session, spool
):
    """Its own record is kept or not; all others arrive, once and in order.

    The next call continues with the file that is already open, instead of opening another.
    """
    before = threads()
    session = open_session(collector.url, product="interrupted, too")
    for number in itertools.count():
        session.close(PATIENCE)
        # Each fifth line, which takes a fifth of the time.
        with interrupted_at(5 * number) as struck:
            session.log_event("interrupted")
        session.log_event("step", {"number": number})
        assert session.flush(PATIENCE), (number, struck, session.stats())
        if not struck:
            break
    assert number > 20, "the lines were not counted"
    there = session.get_details(PATIENCE)
    assert held.numbers(there) == list(range(number + 1))
    assert 0 < held.names(there).count("interrupted") <= number + 1
    wait_until(lambda: len(threads() - before) == 2)
    assert len(pipelines_of(product="interrupted, too")) == 1
    assert len([name for name in os.listdir(str(spool)) if name.endswith(".outbox")]) < 5


# No thread can be started


class Refusing(object):
    """Makes `threading.Thread.start` refuse the library's threads for a while."""

    def __init__(self, monkeypatch):
        self.is_on = True
        self.asked = 0
        start = threading.Thread.start

        def start_or_refuse(thread):
            if self.is_on and thread.name.startswith("datacat-"):
                self.asked += 1
                raise six.moves._thread.error("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_or_refuse)


@pytest.fixture
def refusing(monkeypatch):
    return Refusing(monkeypatch)


def test_if_no_thread_can_be_started_records_are_kept_with_one_warning(
    collector, open_session, refusing, caplog
):
    session = open_session(collector.url)
    for number in range(3):
        session.log_event("step", {"number": number})
    assert session.flush(5) is False
    stats = session.stats()
    assert (stats["waiting"], stats["in_memory"]) == (4, 0)
    assert "cannot start a thread (can't start new thread)" in stats["last_error"]
    assert caplog.text.count("cannot start a thread") == 1
    refusing.is_on = False
    wait_until(lambda: session.flush(5))
    assert held.numbers(session.get_details(PATIENCE)) == [0, 1, 2]
    assert session.stats()["last_error"] is None


def test_threads_are_tried_again_by_log_calls_at_most_once_a_second(
    open_session, refusing, monkeypatch
):
    now = [1000.0]
    monkeypatch.setattr(pipeline_module, "monotonic", lambda: now[0])
    session = open_session(A_PORT_NOBODY_LISTENS_ON, connect_wait=0)
    a_try = refusing.asked
    for seconds in (0.0, 0.5, 0.4, 0.2, 0.5, 0.6):
        now[0] += seconds
        for _ in range(5):
            session.log_event("e")
            session.flush(0)
    assert a_try and refusing.asked == 3 * a_try


LOGS_AFTER_EXIT = u"from __future__ import print_function\n" + UNHURRIED + u"""
import threading
session = datacat.create_session('http://127.0.0.1:9', connect_wait=0)
shutdown.at_exit()
threading.Thread.start = lambda thread: print("started", thread.name)
for number in range(3):
    session.log_event("late")
print("waiting", session.stats()["waiting"])
"""


def test_no_thread_is_started_once_the_interpreter_exits(run_program):
    """What is logged then is kept for the next run."""
    program = run_program(LOGS_AFTER_EXIT)
    program.wait()
    assert program.output.endswith("waiting 5\n") and "started" not in program.output


IN_ISOLATION = u"""
try:
    import _interpreters as interpreters
    run = interpreters.exec
    made = interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
    made = interpreters.create(isolated=True)
run(made, '''
import sys
sys.path[:] = %r
import datacat, logging
logging.basicConfig(stream=sys.stdout, format="LOGGED %%(name)s %%(message)s")
session = datacat.create_session()
session.log_event("isolated")
print("waiting", session.stats()["waiting"])
session.close(0)
''' % (__import__("sys").path,))
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="isolated subinterpreters came with 3.12")
def test_an_isolated_subinterpreter_keeps_its_records_for_the_next_run(
    fresh_collector, run_program
):
    """No daemon thread can be started there."""
    program = run_program(IN_ISOLATION, fresh_collector.url)
    program.wait()
    assert "waiting 2" in program.output
    assert program.output.count("LOGGED datacat cannot start a thread") == 1
    run_program(SUCCESSOR, fresh_collector.url)
    wait_until(lambda: with_event(fresh_collector, "isolated"))


# Release


def test_sessions_whose_own_settings_differ_share_a_pipeline_and_leave_nothing(
    collector, open_session, spool
):
    for number in range(30):
        session = open_unfixtured(
            collector.url,
            product="one",
            before_record=lambda kind, fields: fields,
            hostname="host %d" % number,
            connect_wait=number / 10,
        )
        session.log_event("e")
        assert len(pipelines_of(product="one")) == 1
        if number % 2:
            session.end(PATIENCE)
        session.close(PATIENCE)
    wait_until(lambda: pipelines_of(product="one") == [] and left_in(spool) == [])


def open_files_in(folder):
    """Return the files in a folder that this process has open, removed ones too (Linux)."""
    descriptors = "/proc/self/fd"
    if not os.path.isdir(descriptors):
        return []
    targets = []
    for name in os.listdir(descriptors):
        try:
            targets.append(os.readlink(os.path.join(descriptors, name)))
        except OSError:
            pass  # closed meanwhile
    return [target for target in targets if target.startswith(str(folder))]


@pytest.mark.parametrize("farewell", ["close", "end"])
def test_a_pipeline_without_sessions_is_released(collector, spool, farewell):
    """Closed by the application, or ended and unreferenced: nothing of it stays open."""
    before, released = threads(), []
    for number in range(5):
        session = open_unfixtured(collector.url, product=farewell, api_key="key %d" % number)
        (pipeline,) = pipelines_of(product=farewell, api_key="key %d" % number)
        released.append(weakref.ref(pipeline))
        session.log_event("e")
        getattr(session, farewell)(PATIENCE)
        del session, pipeline
    wait_until(lambda: pipelines_of(product=farewell) == [])
    wait_until(lambda: not threads() - before)

    def is_freed():
        gc.collect()
        return [reference() for reference in released] == [None] * 5

    wait_until(is_freed)
    wait_until(lambda: left_in(spool) == [] and not open_files_in(spool))


def test_a_pipeline_is_not_released_while_something_waits(make_collector, spool):
    """A session that ended offline is delivered even if it is no longer referenced."""
    collector = make_collector().start()
    collector.stop()
    session = open_unfixtured(collector.url, connect_wait=0)
    session.log_event("offline")
    session.end(0)
    reference = weakref.ref(session)
    del session
    gc.collect()
    assert reference() is None
    assert len(pipelines_of(base_url=collector.url)) == 1
    collector.start()
    wait_until(lambda: pipelines_of(base_url=collector.url) == [])
    (listed,) = collector.sessions()
    assert held.names(collector.session(listed["id"])) == ["offline"]


def test_last_words_of_an_ended_session_are_sent_though_a_close_was_interrupted_before_them(
    collector, open_session
):
    """Its record needs no new place; it makes the pipeline run again all the same."""
    ended = open_session(collector.url, product="last words")
    ended.end()
    for number in itertools.count():
        session = open_session(collector.url, product="last words")
        session.flush()
        # Each 23rd line: a close alone takes a moment, and the record after it another.
        with interrupted_at(23 * number) as struck:
            session.close()
        ended.log_event("step", {"number": number})
        wait_until(lambda: ended.stats()["waiting"] == 0, 20)
        session.close()
        if not struck:
            break
    assert number > 5, "the lines were not counted"
    assert held.numbers(ended.get_details()) == list(range(number + 1))


def test_a_close_that_waits_for_its_sender_holds_up_nobody_in_its_own_pipeline(open_session, deaf):
    """Neither a session that comes nor a fork, whose child would lose its file by that."""
    stuck = open_with_hanging_sender(deaf, open_session)
    closing = threading.Thread(target=stuck.close, args=(600,))
    closing.daemon = True
    closing.start()
    (pipeline,) = pipelines_of(base_url=deaf.url)
    wait_until(lambda: pipeline.state == pipeline_module.LINGERING)
    if hasattr(os, "register_at_fork"):
        child = os.fork()
        if not child:
            os._exit(fork.sqlite_is_lost())
        assert os.waitpid(child, 0)[1] == 0
    comes = open_session(deaf.url, **NEVER_ANSWERED)
    assert comes.stats()["in_memory"] == 0 and pipelines_of(base_url=deaf.url) == [pipeline]
    # There is nothing to wait for any more.
    closing.join(60)
    assert not closing.is_alive()
