"""Watching the main thread: a real hang and its end."""

from __future__ import absolute_import, division

import pytest
from tools import held
from tools.waiting import wait_until

import datacat

HANGS = u"""
import datacat, time
session = datacat.create_session(connect_wait=0.5, timeout=3)
session.start_heartbeat_monitor(timeout=0.8, check_interval=0.2)
def where_it_hangs():
    time.sleep(2)
for _ in range(3):
    session.heartbeat()
    time.sleep(0.1)
session.log_event("hanging")
where_it_hangs()
session.heartbeat()
time.sleep(0.5)
print("goes on")
session.log_event("done")
session.end(timeout=%d)
"""


def check_hang(there):
    """What must be known of the hang that HANGS makes."""
    assert held.names(there) == [
        "hanging",
        "application_appears_hung",
        "application_recovered",
        "done",
    ]
    hang = held.event(there, "application_appears_hung")["data"]
    assert 0.8 <= hang["seconds_since_heartbeat"] < 1.6
    assert hang["timeout"] == 0.8
    assert any("where_it_hangs" in line for line in hang["stacks"][0]["stack"])
    assert hang["stacks"][0]["thread"] == "MainThread"
    names = [each["thread"] for each in hang["stacks"]]
    assert "datacat-sender" in names
    recovery = held.event(there, "application_recovered")["data"]
    assert 1.9 <= recovery["hung_seconds"] < 3.5


def test_a_hang_and_its_end_are_logged_with_the_hung_stack(any_own_collector, run_program):
    run_program(HANGS % 5, any_own_collector.url).wait(30)
    (listed,) = any_own_collector.sessions()
    check_hang(any_own_collector.session(listed["id"]))


def test_a_hang_is_noticed_in_time_though_the_server_never_answers(
    own_collector, run_program, before
):
    proxy = before(own_collector)
    proxy.black_hole()
    program = run_program(HANGS % 0, proxy.url)
    wait_until(lambda: "goes on" in program.output, 20)
    proxy.heal()
    program.wait(30)
    assert proxy.struck["black_hole"] == 1
    # What the exit had no time for, the next run delivers.
    run_program(
        u"import datacat\ndatacat.create_session().end()\n" u"import time\ntime.sleep(3)\n",
        proxy.url,
    )
    wait_until(lambda: len(own_collector.sessions()) == 2, 20)
    wait_until(
        lambda: [
            session
            for session in map(whole(own_collector), own_collector.sessions())
            if "done" in held.names(session)
        ],
        20,
    )
    (there,) = [
        session
        for session in map(whole(own_collector), own_collector.sessions())
        if "done" in held.names(session)
    ]
    check_hang(there)


def whole(collector):
    """Return what reads a listed session in full."""
    return lambda listed: collector.session(listed["id"])


def test_a_heartbeat_before_the_monitor_was_started_raises(collector, open_session):
    session = open_session(collector.url)
    with pytest.raises(datacat.MonitorNotStarted) as caught:
        session.heartbeat()
    assert "start_heartbeat_monitor()" in str(caught.value)


def test_a_heartbeat_after_the_monitor_was_stopped_raises(collector, open_session):
    session = open_session(collector.url)
    session.start_heartbeat_monitor()
    session.heartbeat()
    session.stop_heartbeat_monitor()
    session.stop_heartbeat_monitor()
    with pytest.raises(datacat.MonitorNotStarted):
        session.heartbeat()


def test_silence_during_a_pause_or_after_the_stop_is_no_hang(collector, open_session):
    paused, stopped, hung = [open_session(collector.url) for _ in range(3)]
    for session in (paused, stopped, hung):
        session.start_heartbeat_monitor(timeout=0.3, check_interval=0.1)
    paused.pause_heartbeat_monitoring()
    stopped.stop_heartbeat_monitor()
    wait_until(lambda: held.names(hung.get_details()) == ["application_appears_hung"])
    paused.resume_heartbeat_monitoring()
    paused.stop_heartbeat_monitor()
    assert held.names(paused.get_details()) == held.names(stopped.get_details()) == []


def test_a_v1_server_gets_heartbeats_for_a_living_session(collector, open_session):
    session = open_session(collector.url)
    session.log_event("e")
    wait_until(lambda: session.get_details().get("last_heartbeat"))
