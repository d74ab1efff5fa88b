"""Promises of sessions that share one outbox and one sender: none takes them from another."""

from __future__ import absolute_import, division

import os
import sys
import threading
import traceback

import pytest
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat._compat import monotonic


def test_a_session_that_closes_does_not_stop_the_delivery_of_others(collector, open_session):
    """Six threads open, log and close at once: all that close() left time for has arrived."""
    closed = []

    def live():
        for _ in range(8):
            session = open_session(collector.url)
            for number in range(3):
                session.log_event("e%d" % number)
            session.close(PATIENCE)
            closed.append(session.session_id)

    threads = [threading.Thread(target=live) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [[event["name"] for event in collector.session(each)["events"]] for each in closed]
    assert names == [["e0", "e1", "e2"]] * 48


def test_a_session_ended_offline_is_sent_although_a_later_one_closes(own_collector, open_session):
    """ "Sent when the server is back" holds after another session's close as well."""
    own_collector.stop()
    ended = open_session(own_collector.url)
    ended.log_event("kept")
    ended.end(PATIENCE)
    open_session(own_collector.url).close(0.3)
    own_collector.start()
    wait_until(lambda: ended.stats()["waiting"] == 0)
    held = own_collector.session(ended.session_id)
    assert "kept" in [event["name"] for event in held["events"]] and not held["active"]


def test_heartbeats_after_the_end_do_not_raise_into_the_main_loop(collector, open_session):
    session = open_session(collector.url)
    session.start_heartbeat_monitor()
    session.end(PATIENCE)
    assert session.heartbeat() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_that_gives_heartbeats_is_watched_too(collector, open_session):
    """A program that starts the monitor and then daemonizes is not taken for a hung one."""
    session = open_session(collector.url)
    session.start_heartbeat_monitor(timeout=0.5, check_interval=0.1)
    child = os.fork()
    if not child:
        _exit_after(lambda: _heartbeat_and_hang(collector, session))
    session.stop_heartbeat_monitor()
    assert os.waitpid(child, 0)[1] == 0
    assert _is_recorded(collector, session)


def _exit_after(act):
    """End this child with status 1 and a traceback if `act()` raises, with 0 if not."""
    try:
        act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _heartbeat_and_hang(collector, session):
    session.heartbeat()
    _hang_in_child(collector, session)


def _hang_in_child(collector, session):
    until = monotonic() + PATIENCE
    while not _is_recorded(collector, session):
        assert monotonic() < until, (session.stats(), collector.session(session.session_id))
        session.flush(1)


def _is_recorded(collector, session):
    """Return whether a hang is that of the child, by its stack."""
    there = collector.session(session.session_id)
    return any("_hang_in_child" in str(event["data"]) for event in there["events"])


@pytest.mark.parametrize(
    "timeout",
    [None, -1, "5", float("nan"), 10**400],
    ids=["none", "negative", "text", "nan", "huge"],
)
@pytest.mark.parametrize("call", ["end", "flush", "close", "get_details"])
def test_an_invalid_timeout_raises(collector, open_session, call, timeout):
    session = open_session(collector.url)
    with pytest.raises(datacat.InvalidArgument):
        getattr(session, call)(timeout)
    assert session.get_details(PATIENCE)["active"]
