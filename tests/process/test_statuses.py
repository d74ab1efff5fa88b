"""Promises of `on_status` and `is_online`: what changed is told, seldom, and holds up nothing."""

from __future__ import absolute_import, division

import os
import sys
import threading

import pytest
from tools import faults
from tools.waiting import PATIENCE, wait_until

from datacat.process import announcer
from datacat.process import statuses as statuses_module
from datacat.process.statuses import SHORTEST_SECONDS, Status, Told

NOTHING, WAITS, AWAY = Status(None, 0, 0), Status(None, 2, 0), Status(False, 2, 0)
DELIVERED, REFUSED = Status(True, 0, 0), Status(True, 0, 1)


@pytest.mark.parametrize("status", [WAITS, AWAY, DELIVERED, REFUSED])
def test_the_first_change_is_told_at_once(status):
    assert Told().wait(status, 100.0) == 0.0


@pytest.mark.parametrize(
    "before, status",
    [(NOTHING, NOTHING), (WAITS, WAITS), (WAITS, Status(None, 3, 0)), (REFUSED, REFUSED)],
)
def test_what_is_known_is_not_told_again(before, status):
    told = Told()
    told.note(before, 100.0)
    assert told.wait(status, 200.0) is None


def test_changes_are_told_a_second_apart_and_what_was_undone_meanwhile_is_not():
    told = Told()
    told.note(WAITS, 100.0)
    assert told.wait(DELIVERED, 100.25) == SHORTEST_SECONDS - 0.25
    assert told.wait(WAITS, 100.5) is None
    assert told.wait(DELIVERED, 100.0 + SHORTEST_SECONDS) == 0.0


class Statuses(list):
    """An `on_status` that notes what it is told, and in which thread."""

    def __init__(self):
        super(Statuses, self).__init__()
        self.threads = set()

    def __call__(self, status):
        self.threads.add(threading.current_thread().name)
        self.append(status)

    @property
    def last(self):
        return (self or [{}])[-1]


@pytest.fixture
def statuses(monkeypatch):
    """What is told, up to ten times a second."""
    for module in (announcer, statuses_module):
        monkeypatch.setattr(module, "SHORTEST_SECONDS", 0.1)
    return Statuses()


def test_online_waiting_and_dead_are_told_in_a_thread_of_the_librarys(
    fresh_collector, before, open_session, statuses
):
    proxy = before(fresh_collector)
    session = open_session(proxy.url, on_status=statuses)
    wait_until(lambda: statuses.last == {"online": True, "waiting": 0, "dead": 0})
    proxy.refuse()
    session.log_event("later")
    wait_until(lambda: statuses.last == {"online": False, "waiting": 1, "dead": 0})
    assert session.is_online is False
    proxy.heal()
    session.flush(PATIENCE)
    wait_until(lambda: statuses.last == {"online": True, "waiting": 0, "dead": 0})
    assert session.is_online is True
    assert statuses.threads == {"datacat-status"}


def test_a_dead_letter_is_told(fresh_collector, before, open_session, statuses):
    proxy = before(fresh_collector)
    refusal = faults.Answer(400, b"Invalid request body\n", [("Content-Type", "text/plain")])
    proxy.rule(refusal, lambda seen: b"refused" in seen.body)
    session = open_session(proxy.url, on_status=statuses)
    session.log_event("refused")
    wait_until(lambda: statuses.last == {"online": True, "waiting": 0, "dead": 1})


def test_it_is_unknown_whether_a_server_is_online_that_was_never_tried(open_session):
    session = open_session("http://127.0.0.1:9", connect_wait=0, product="paused")
    session.pause_sending()
    assert session.is_online in (None, False)
    session.close()
    assert session.is_online is None


def test_one_that_fails_is_warned_of_once_and_called_again(fresh_collector, open_session, caplog):
    called = []

    def fails(status):
        called.append(status)
        if len(called) == 1:
            sys.exit(7)
        raise ValueError("again")

    session = open_session(fresh_collector.url, on_status=fails)
    wait_until(lambda: called)
    session.pause_sending()
    session.log_event("e")
    wait_until(lambda: called[-1]["online"] and called[-1]["waiting"])
    session.resume_sending()
    wait_until(lambda: not called[-1]["waiting"])
    warnings = [record for record in caplog.records if "on_status" in record.getMessage()]
    assert len(warnings) == 1 and "in fails" in warnings[0].getMessage()


def test_one_that_never_returns_holds_up_nothing(fresh_collector, open_session):
    called, release = [], threading.Event()

    def blocks(status):
        called.append(status)
        release.wait(PATIENCE)

    session = open_session(fresh_collector.url, on_status=blocks)
    wait_until(lambda: called)
    session.start_heartbeat_monitor(timeout=0.05)
    session.log_event("e")
    wait_until(lambda: "application_appears_hung" in names(session))
    session.end(PATIENCE)
    session.close(PATIENCE)
    assert len(called) == 1
    release.set()


def names(session):
    return [event["name"] for event in session.get_details(PATIENCE)["events"]]


def test_it_may_use_its_session(fresh_collector, open_session):
    """It would wait for ever if it was called with a lock, or by a thread that these need."""
    done, session = [], []

    def uses_it(status):
        if session:
            session[0].log_event("told", status)
            session[0].flush(PATIENCE)
            session[0].stats()
            session[0].close(PATIENCE)
            done.append(status)

    session.append(open_session(fresh_collector.url, on_status=uses_it))
    session[0].log_event("e")
    wait_until(lambda: done)


def test_a_closed_session_tells_nothing_until_it_is_used_again(
    fresh_collector, before, open_session, statuses
):
    proxy = before(fresh_collector)
    session = open_session(proxy.url, on_status=statuses)
    other = open_session(proxy.url, version="2")
    wait_until(lambda: statuses.last.get("waiting") == 0)
    session.close(PATIENCE)
    told = len(statuses)
    proxy.refuse()
    other.log_event("e")
    wait_until(lambda: other.is_online is False)
    assert len(statuses) == told
    session.log_event("again")
    wait_until(lambda: statuses.last == {"online": False, "waiting": 1, "dead": 0})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told_too_even_if_it_was_forked_during_a_call(
    fresh_collector, run_program
):
    program = run_program(
        u"import os, time, datacat\n"
        u"told, parent = [], os.getpid()\n"
        u"def on_status(status):\n"
        u"    told.append((os.getpid(), status['waiting']))\n"
        u"    while os.getpid() == parent:\n"
        u"        time.sleep(0.01)\n"
        u"session = datacat.create_session(connect_wait=60, on_status=on_status)\n"
        u"while not told:\n"
        u"    time.sleep(0.01)\n"
        u"child = os.fork()\n"
        u"if child:\n"
        u"    assert os.waitpid(child, 0)[1] == 0\n"
        u"    os._exit(0)\n"
        u"session.log_event('e')\n"
        u"while told[-1] != (os.getpid(), 0):\n"
        u"    time.sleep(0.01)\n"
        u"os._exit(0)\n",
        fresh_collector.url,
    )
    program.wait()
