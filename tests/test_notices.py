"""Warnings are not repeated, and not forgotten."""

from __future__ import absolute_import, division

import contextlib
import logging
import os
import signal
import sys
import threading

import pytest
import requests
from tools import held
from tools.outboxes import Clock
from tools.waiting import PATIENCE

from datacat import DatacatClient
from datacat import notices as log
from datacat.notices import Notices
from datacat.wire.importing import exchanges


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def notices(clock):
    return Notices(clock)


def logged(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_warning_is_logged_once_until_its_topic_is_cleared(notices, clock, caplog):
    notices("disk", "full")
    clock.now += 60
    notices("disk", "still full")
    notices("server", "away")
    notices.clear("disk")
    notices("disk", "full again")
    assert logged(caplog) == ["full", "away", "full again"]


def test_trouble_that_comes_and_goes_is_warned_of_once_a_minute_at_most(notices, clock, caplog):
    for second in range(150):
        notices("disk", "full after %d s" % second)
        notices.clear("disk")
        clock.now += 1
    assert logged(caplog) == ["full after 0 s", "full after 60 s", "full after 120 s"]


def test_topics_that_were_cleared_long_ago_take_no_memory(notices, clock):
    """A process may have thousands of sessions, each with a topic of its own."""
    for number in range(1000):
        notices("session %d" % number, "refused")
        notices.clear("session %d" % number)
        clock.now += 1
    assert sum(len(kept) for kept in vars(notices).values() if hasattr(kept, "__len__")) <= 60


class Broken(logging.Handler):
    """A handler, or a filter, with a bug of its own."""

    def emit(self, record):
        raise RuntimeError("not ours")

    filter = emit


def to_closed_stderr(monkeypatch, tmp_path):
    """Return a handler that writes to a closed file; logging cannot report that anywhere."""
    closed = (tmp_path / "closed").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    return logging.StreamHandler(closed)


@pytest.fixture(params=["handler", "filter", "closed stderr", "endless recursion"])
def broken_log(request, monkeypatch, tmp_path):
    """Breaks the application's logging, in one way or another."""
    handler, name = Broken(), request.param
    if name == "closed stderr":
        handler = to_closed_stderr(monkeypatch, tmp_path)
    elif name == "endless recursion":
        handler.filter = lambda record: True
        handler.emit = lambda record: handler.emit(record)
    add, remove = log.LOGGER.addHandler, log.LOGGER.removeHandler
    if name == "filter":
        add, remove = log.LOGGER.addFilter, log.LOGGER.removeFilter
    add(handler)
    yield
    remove(handler)


def test_a_broken_log_fails_no_call(broken_log, notices):
    notices("disk", "full")
    log.warn("of something")
    try:
        raise KeyError("a bug")
    except KeyError:
        log.report("a bug")


def test_a_session_works_though_the_log_is_broken(broken_log, collector, open_session, tmp_path):
    """It has something to warn of from its start: there is no folder for its file."""
    nowhere = tmp_path / "file"
    nowhere.write_text(u"")
    session = open_session(collector.url, spool_dir=str(nowhere))
    for number in range(3):
        session.log_event("e", {"number": number})
    assert held.names(session.get_details(PATIENCE)) == ["e", "e", "e"]


@contextlib.contextmanager
def logging_by(emit):
    """Have a handler's `emit` called with each record of the library's log."""
    handler = Broken()
    handler.filter, handler.emit = lambda record: True, emit
    log.LOGGER.addHandler(handler)
    try:
        yield
    finally:
        log.LOGGER.removeHandler(handler)


def interrupt(record):
    raise KeyboardInterrupt()


def leave(record):
    raise SystemExit(1)


def test_a_handler_that_interrupts_is_not_silenced(notices):
    """Ctrl-C is not a bug of the handler during which it comes."""
    with logging_by(interrupt), pytest.raises(KeyboardInterrupt):
        notices("disk", "full")


def test_a_handler_that_exits_ends_no_thread_and_no_call_of_ours(notices):
    survived = []

    def warn():
        notices("disk", "full")
        try:
            raise KeyError("a bug")
        except KeyError:
            log.report("a bug")
        survived.append(True)

    with logging_by(leave):
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
        warn()
    assert survived == [True, True]


def leave_by_signal(number, frame):
    raise SystemExit(number)


class Leaver(object):
    def __call__(self, number, frame):
        raise SystemExit(number)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="signals are POSIX's")
@pytest.mark.parametrize("by_signal", [leave_by_signal, Leaver(), Leaver().__call__])
def test_a_signal_during_a_warning_may_end_the_program(by_signal):
    before = signal.signal(signal.SIGALRM, by_signal)
    try:
        with logging_by(lambda record: os.kill(os.getpid(), signal.SIGALRM)):
            with pytest.raises(SystemExit):
                log.warn("of something")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_log_exception_warns_of_is_recorded_whatever_the_handler_does(
    collector, open_session
):
    session = open_session(collector.url)
    with logging_by(interrupt), pytest.raises(KeyboardInterrupt):
        session.log_exception()
    assert held.names(session.get_details(PATIENCE)) == ["exception"]


def broken_factory():
    if not hasattr(logging, "setLogRecordFactory"):
        pytest.skip("this Python has no setLogRecordFactory")
    before = logging.getLogRecordFactory()

    def make(name, *arguments, **options):
        if name.startswith("urllib3"):
            raise RuntimeError("not ours")
        return before(name, *arguments, **options)

    logging.setLogRecordFactory(make)
    return lambda: logging.setLogRecordFactory(before)


def broken_handler():
    handler = Broken()
    handler.filter = lambda record: record.name.startswith("urllib3")
    logging.getLogger().addHandler(handler)
    return lambda: logging.getLogger().removeHandler(handler)


def broken_filter():
    logger, broken = logging.getLogger("urllib3.connectionpool"), Broken()
    # Added before the library does anything about this logger.
    logger.filters.insert(0, broken)
    return lambda: logger.removeFilter(broken)


@pytest.fixture(params=[broken_filter, broken_handler, broken_factory])
def broken_debug_log(request):
    """Breaks what urllib3 logs about each request."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    undo = request.param()
    yield
    undo()
    root.setLevel(before)


def test_an_applications_broken_log_of_requests_fails_none_of_ours(
    broken_debug_log, collector, open_session, http
):
    with DatacatClient(collector.url, product="p", version="1") as client:
        session_id = client.create_session()
        client.log_event(session_id, "e")
        assert held.names(client.get_session(session_id)) == ["e"]
    session = open_session(collector.url)
    session.log_event("e")
    assert held.names(session.get_details(PATIENCE)) == ["e"]
    with pytest.raises((RuntimeError, requests.RequestException)):
        http.get(collector.url + "/health")


def test_delivering_needs_no_lock_of_loggings(collector, open_session):
    """A child may find it locked for ever: Python before 3.7 forks while another thread has it."""
    first = open_session(collector.url)
    first.log_event("e")
    assert first.flush(PATIENCE)
    first.close(PATIENCE)
    with logging._lock:
        # Its threads start now.
        second = open_session(collector.url)
        second.log_event("e")
        assert second.flush(PATIENCE)


def test_only_the_thread_that_works_for_the_library_is_quiet():
    exchanges()
    logger, heard = logging.getLogger("urllib3.connectionpool"), {}

    def listen():
        heard["elsewhere"] = logger.isEnabledFor(logging.CRITICAL)

    with log.quiet():
        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        heard["here"] = logger.isEnabledFor(logging.CRITICAL)
    assert heard == {"elsewhere": True, "here": False}
    assert logger.isEnabledFor(logging.CRITICAL)
