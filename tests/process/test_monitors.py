"""Monitors of single things: each hang is told with its name, none hides another's."""

from __future__ import absolute_import, division

import gc
import os
import threading
import weakref

import pytest
from programs import IN_CHILD, the_one
from tools import held
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat.process import monitors
from datacat.process.watchdog import Hang, Readings, Recovered


class Member(object):
    """What a Monitor needs of a Membership."""

    watchdog = None
    is_watched = True

    def __init__(self):
        self.monitors = []
        self.looks = 0

    def be_watched(self):
        pass

    def attend(self):
        self.looks += 1

    def running_watchdog(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    """The test's clock: clock[0] is now."""
    now = [1000.0]
    monkeypatch.setattr(monitors, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def member():
    return Member()


def make(member, is_running=None):
    return monitors.add(member, "loop", 10, 1, is_running)


def run(clock, member, seconds, beating=()):
    """Let time pass, with a check each second; return what was found."""
    found = []
    for _ in range(seconds):
        clock[0] += 1.0
        for monitor in beating:
            monitor.heartbeat()
        for monitor in monitors.watched(member):
            found.extend(monitor.check(Readings(clock[0], 0.0, None)))
    return [type(fact) for fact in found]


def test_nothing_is_expected_before_the_first_heartbeat(clock, member):
    monitor = make(member)
    assert run(clock, member, 60) == [] and member.looks == 0
    monitor.heartbeat()
    assert member.looks == 1, "a keeper that sleeps has to hear of it"
    assert run(clock, member, 60) == [Hang]
    monitor.heartbeat()
    assert run(clock, member, 5) == [Recovered]


def test_the_heartbeats_of_one_do_not_hide_the_hang_of_another(clock, member):
    hung, alive = make(member), make(member)
    hung.heartbeat()
    assert run(clock, member, 30, beating=[alive]) == [Hang]
    assert hung.is_hung and not alive.is_hung


def test_what_does_not_run_does_not_hang(clock, member):
    """Such as a loop between two runs, whose next heartbeat comes when it runs again."""
    runs = [True]
    monitor = make(member, lambda: runs[0])
    monitor.heartbeat()
    run(clock, member, 5)
    runs[0] = False
    assert run(clock, member, 60) == []
    runs[0] = True
    assert run(clock, member, 60) == []
    monitor.heartbeat()
    assert run(clock, member, 60) == [Hang]


def test_a_hang_is_over_when_the_thing_does_not_run_any_more(clock, member):
    runs = [True]
    monitor = make(member, lambda: runs[0])
    monitor.heartbeat()
    assert run(clock, member, 20) == [Hang]
    runs[0] = False
    assert run(clock, member, 60) == [Recovered]
    assert not monitor.is_hung


def test_a_silence_that_ended_before_the_thing_stopped_is_told(clock, member):
    """No check saw it: they were late."""
    runs = [True]
    monitor = make(member, lambda: runs[0])
    monitor.heartbeat()
    run(clock, member, 1)
    clock[0] += 12.0
    monitor.heartbeat()
    runs[0] = False
    readings = Readings(clock[0], 100.0, None)
    assert [type(fact) for fact in monitor.check(readings)] == [Hang, Recovered]


def test_a_function_that_fails_does_not_end_the_watch(clock, member):
    monitor = make(member, lambda: 1 / 0)
    monitor.heartbeat()
    assert run(clock, member, 20) == [Hang]


def test_after_stop_nothing_is_expected_or_kept(clock, member):
    class Loop(object):
        def is_running(self):
            return True

    loop = Loop()
    reference = weakref.ref(loop)
    monitor = make(member, loop.is_running)
    monitor.heartbeat()
    monitor.stop()
    monitor.stop()
    monitor.heartbeat()
    assert run(clock, member, 60) == [] and member.monitors == []
    del loop
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(
    "arguments",
    [("",), (3,), ("loop", 0), ("loop", "5"), ("loop", 1, 2), ("loop", 1, 1, "no function")],
)
def test_mistakes_are_refused(collector, open_session, arguments):
    with pytest.raises(datacat.InvalidArgument):
        open_session(collector.url).add_heartbeat_monitor(*arguments)


def test_each_hang_is_told_with_the_name_and_the_stack_of_what_hangs(collector, open_session):
    session = open_session(collector.url)
    ends = threading.Event()
    monitors = dict(
        (name, session.add_heartbeat_monitor(name, timeout=0.4)) for name in ("hung", "alive")
    )

    def hang_here():
        monitors["hung"].heartbeat()
        assert ends.wait(PATIENCE)
        monitors["hung"].heartbeat()

    def count():
        monitors["alive"].heartbeat()
        stats = session.stats()
        return stats["sent"] + stats["waiting"]

    wait_until(lambda: count() == 1, PATIENCE)
    thread = threading.Thread(target=hang_here, name="worker")
    thread.start()
    wait_until(lambda: count() > 1)
    ends.set()
    thread.join()
    wait_until(lambda: count() > 2)
    monitors["hung"].stop()
    there = session.get_details(PATIENCE)
    told = [event for event in there["events"] if event["data"]["monitor"] == "hung"]
    assert [event["name"] for event in told] == [
        "application_appears_hung",
        "application_recovered",
    ]
    first = told[0]["data"]["stacks"][0]
    assert first["thread"] == "worker"
    assert any("hang_here" in line for line in first["stack"])


def test_the_sessions_own_monitor_and_others_do_not_stop_each_other(collector, open_session):
    session = open_session(collector.url)
    other = session.add_heartbeat_monitor("loop", timeout=60)
    session.start_heartbeat_monitor(timeout=0.3, check_interval=0.1)
    other.stop()
    wait_until(lambda: session.stats()["sent"] > 1)
    hang = held.event(session.get_details(PATIENCE), "application_appears_hung")
    assert "monitor" not in hang["data"]
    other = session.add_heartbeat_monitor("loop", timeout=0.3)
    other.heartbeat()
    session.stop_heartbeat_monitor()
    wait_until(lambda: session.stats()["sent"] > 2)
    assert session.get_details(PATIENCE)["events"][-1]["data"]["monitor"] == "loop"
    session.end()
    other.heartbeat()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_watched_from_its_own_first_heartbeat_on(fresh_collector, run_program):
    program = run_program(
        IN_CHILD + u"""
from tools.waiting import wait_until
parent = os.getpid()
def only_in_the_child():
    return os.getpid() != parent
names = ("left in the parent", "goes on in the child")
left, goes_on = [
    session.add_heartbeat_monitor(name, 0.2, is_running=only_in_the_child) for name in names
]
left.heartbeat()
goes_on.heartbeat()
def work():
    session.log_event("in the child")
    goes_on.heartbeat()
    before = session.stats()
    wait_until(lambda: session.stats()["sent"] > before["sent"] + before["waiting"])
    os._exit(0 if session.flush(PATIENCE) else 1)
assert in_child(work) == 0
session.end(PATIENCE)
""",
        fresh_collector.url,
    )
    program.wait()
    there = the_one(fresh_collector)
    hang = held.event(there, "application_appears_hung")
    assert hang["data"]["monitor"] == "goes on in the child"
