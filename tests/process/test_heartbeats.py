"""Watching the main thread: a real hang and its end."""

from __future__ import absolute_import, division

import re

import pytest
from programs import UNHURRIED, the_one
from tools import held
from tools.waiting import PATIENCE, wait_until

import datacat
from datacat._compat import monotonic
from datacat.sending import heartbeats

# It hangs until that is recorded, and goes on until that is; a pause is a heartbeat too.
HANGS = UNHURRIED + u"""
session = datacat.create_session(connect_wait=%r, timeout=PATIENCE, deadline=PATIENCE)
session.log_event("hanging")

def is_recorded(count):
    stats = session.stats()
    return stats["sent"] + stats["waiting"] >= count

def where_it_hangs():
    while not is_recorded(3):
        time.sleep(0.05)

session.start_heartbeat_monitor(timeout=0.8, check_interval=0.2)
where_it_hangs()
session.pause_heartbeat_monitoring()
while not is_recorded(4):
    time.sleep(0.05)
session.log_event("done")
print("goes on")
sys.stdin.readline()
session.end(PATIENCE)
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
    assert hang["seconds_since_heartbeat"] >= hang["timeout"] == 0.8
    assert any("where_it_hangs" in line for line in hang["stacks"][0]["stack"])
    assert hang["stacks"][0]["thread"] == "MainThread"
    names = [each["thread"] for each in hang["stacks"]]
    assert "datacat-sender" in names
    # Classic servers keep no message.
    message = held.event(there, "application_appears_hung").get("message")
    assert message is None or re.match(
        r"no heartbeat for [0-9.]+ s, in \S+\.py:[0-9]+ \w+$", message
    )
    recovery = held.event(there, "application_recovered")["data"]
    assert recovery["hung_seconds"] >= hang["seconds_since_heartbeat"]


def test_a_hang_and_its_end_are_logged_with_the_hung_stack(any_fresh_collector, run_program):
    program = run_program(HANGS % PATIENCE, any_fresh_collector.url)
    program.proceed()
    program.wait()
    (listed,) = any_fresh_collector.sessions()
    check_hang(any_fresh_collector.session(listed["id"]))


def test_a_hang_is_noticed_though_the_server_never_answers(fresh_collector, run_program, before):
    proxy = before(fresh_collector)
    proxy.black_hole()
    program = run_program(HANGS % 0, proxy.url)
    wait_until(lambda: "goes on" in program.output)
    assert fresh_collector.sessions() == []
    proxy.heal()
    program.proceed()
    program.wait()
    check_hang(the_one(fresh_collector, "done"))


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


HANG_SECONDS = 0.3


def test_a_monitor_started_after_the_end_reports_no_hang(collector, open_session):
    """The server would show an ended session as hung."""
    session = open_session(collector.url)
    session.end(PATIENCE)
    session.start_heartbeat_monitor(timeout=0.2, check_interval=0.05)
    session.heartbeat()
    other = open_session(collector.url)
    other.start_heartbeat_monitor(timeout=0.2, check_interval=0.05)
    wait_until(lambda: "application_appears_hung" in held.names(other.get_details(PATIENCE)))
    other.stop_heartbeat_monitor()
    assert session.flush(PATIENCE)
    assert held.names(session.get_details(PATIENCE)) == []


def test_silence_during_a_pause_or_after_the_stop_is_no_hang(collector, open_session):
    def watched_no_longer(stop):
        """Return a session whose monitor was stopped right after its start."""
        while True:
            session = open_session(collector.url)
            began = monotonic()
            session.start_heartbeat_monitor(timeout=HANG_SECONDS, check_interval=0.1)
            getattr(session, stop)()
            if monotonic() - began < HANG_SECONDS:
                return session  # else it really hung meanwhile

    paused = watched_no_longer("pause_heartbeat_monitoring")
    stopped = watched_no_longer("stop_heartbeat_monitor")
    hung = open_session(collector.url)
    hung.start_heartbeat_monitor(timeout=HANG_SECONDS, check_interval=0.1)
    wait_until(lambda: names_of(hung) == ["application_appears_hung"])
    assert names_of(paused) == names_of(stopped) == []
    paused.resume_heartbeat_monitoring()
    wait_until(lambda: names_of(paused) == ["application_appears_hung"])
    assert names_of(stopped) == []


def names_of(session):
    return held.names(session.get_details(PATIENCE))


def test_a_v1_server_gets_heartbeats_for_a_living_session(collector, open_session, monkeypatch):
    monkeypatch.setattr(heartbeats, "HEARTBEAT_SECONDS", 0.2)
    session = open_session(collector.url)
    session.log_event("e")
    wait_until(lambda: session.get_details(PATIENCE).get("last_heartbeat"))
