"""Clocks and heartbeats (31, 32, 33, 35): only an application that hangs is said to hang."""
from __future__ import absolute_import, division

import os
import time

import pytest
from tools.call_times import check_bounds
from tools.host import (
    application,
    await_delivery,
    await_word,
    deliver_what_is_left,
    events_of,
    said,
    tell,
)
from tools.process import environment
from tools.waiting import wait_until

JUMPS = u"""
session = open_session()
session.start_heartbeat_monitor(timeout=1.0, check_interval=0.2)
recorder = recorder_of(session)
for jump in (0, 3600, -3600, -real() + 10, 0, 3600 * 24 * 365 * 12, 0):
    offset[0] = jump
    for number in range(15):
        recorder.log_event("step", {"jump": jump, "number": number})
        recorder.log_metric("m", number)
        recorder.update_state({"jump": jump, "number": number})
        session.heartbeat()
        real_sleep(0.01)
session.stop_heartbeat_monitor()
session.flush(20)
say("flushed", **session.stats())
"""
# A wall clock that the application sets, in place before the library is imported: it may keep
# the function rather than the module.
SETTABLE = u"""
import time
real, real_sleep, offset = time.time, time.sleep, [0]
time.time = lambda: real() + offset[0]
"""


def test_a_wall_clock_that_jumps_changes_neither_order_nor_delivery(
        any_own_collector, spool, tmp_path):
    """Time: an hour ahead, an hour back, 1970 and 2038: order and sending go by other clocks."""
    program = tmp_path / "sitecustomize.py"
    program.write_bytes(SETTABLE.encode("ascii"))
    with application(u"from sitecustomize import offset, real, real_sleep\n" + JUMPS, tmp_path,
                     any_own_collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool),
                          "PYTHONPATH": path_with(tmp_path)}) as app:
        app.wait(60)
    flushed = said(app, "flushed")[0]
    assert flushed["waiting"] == 0
    assert [flushed[name] for name in ("dead", "dropped", "merged", "possibly_twice")] == [0] * 4
    report = deliver_what_is_left(any_own_collector, [app.accepted], tmp_path)
    assert report.accepted == 7 * 45
    check_no_hangs(any_own_collector)
    if not any_own_collector.classic:
        times = [event["timestamp"][:4] for session in any_own_collector.sessions()
                 for event in session["events"] if event["name"] == "step"]
        assert "1970" in times and max(times) >= "2037", "the clock did not jump"


def path_with(folder):
    return os.pathsep.join([str(folder), environment()["PYTHONPATH"]])


def check_no_hangs(collector):
    assert events_of(collector.sessions(), "application_appears_hung") == []
    assert events_of(collector.sessions(), "application_recovered") == []


# A main thread that hangs

HANGS = u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
recorder.log_event("working")
session.start_heartbeat_monitor(timeout=1.0, check_interval=0.25)
session.heartbeat()

def the_place_that_blocks():
    say("blocking", at=time.time())
    wait_for("unblock")

the_place_that_blocks()
session.heartbeat()
say("unblocked", at=time.time())
for _ in range(20):
    session.heartbeat()
    time.sleep(0.1)
session.stop_heartbeat_monitor()
recorder.log_event("goes on")
session.flush(20)
session.end(20)
"""


def outboxes_hold(spool, text):
    """Return whether the files of a spool contain a text; nothing of sqlite is touched."""
    found = [path.read_bytes() for path in spool.iterdir() if path.name.endswith("-wal")]
    return any(text in each for each in found)


@pytest.mark.parametrize("server", ["answers", "never answers"])
def test_a_blocked_main_thread_is_one_hang_and_one_recovery_with_its_stack(
        make_collector, spool, tmp_path, server):
    """Watchdog: told once, in time, with what blocked; also where the server never answers."""
    collector = make_collector().start()
    if server == "never answers":
        collector.pause()
    try:
        with application(HANGS, tmp_path, collector.url,
                         env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
            began = await_word(app, "blocking")["at"]
            wait_until(lambda: outboxes_hold(spool, b"application_appears_hung"), 6)
            assert time.time() - began < 1.0 + 0.25 + 1.0, "the hang was noticed too late"
            tell(tmp_path, "unblock")
            await_word(app, "unblocked")
            if server == "never answers":
                wait_until(lambda: outboxes_hold(spool, b"application_recovered"), 6)
                collector.resume()
            app.wait(60)
            await_delivery(collector, [app.accepted])
    finally:
        collector.resume()
    wait_until(lambda: events_of(collector.sessions(), "application_recovered"))
    hang, = events_of(collector.sessions(), "application_appears_hung")
    recovery, = events_of(collector.sessions(), "application_recovered")
    assert hang["timeout"] == 1.0 and 1.0 <= hang["seconds_since_heartbeat"] < 3.0
    assert hang["stacks"][0]["thread"] == "MainThread"
    assert "the_place_that_blocks" in "".join(hang["stacks"][0]["stack"])
    assert recovery["hung_seconds"] >= hang["seconds_since_heartbeat"]
    check_bounds([app.accepted])


BEATS = u"""
session = open_session(connect_wait=20)
recorder = recorder_of(session)
session.start_heartbeat_monitor(timeout=1.0, check_interval=0.2)
say("beating")
while not os.path.exists("stop"):
    session.heartbeat()
    time.sleep(0.02)
session.stop_heartbeat_monitor()
recorder.log_event("goes on")
session.end(20)
"""


def test_a_stopped_process_does_not_hang(own_collector, spool, tmp_path, scaled):
    """Watchdog: SIGSTOP for longer than the timeout is neither a hang nor a recovery."""
    stops = scaled(2, 20)
    with application(BEATS, tmp_path, own_collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        await_word(app, "beating")
        for _ in range(stops):
            time.sleep(0.5)
            app.pause()
            time.sleep(2.5)  # over the timeout, and over the second that a check may be late
            app.resume()
        time.sleep(0.5)
        tell(tmp_path, "stop")
        app.wait(30)
    await_delivery(own_collector, [app.accepted])
    check_no_hangs(own_collector)


SLEEPS = u"""
from datacat import _compat
asleep, true_clock, asked = [0.0], _compat.boot_clock, []

def boot_clock():
    asked.append(1)
    return (true_clock() or 0.0) + asleep[0]

_compat.boot_clock = boot_clock
session = open_session(connect_wait=20)
recorder = recorder_of(session)
session.start_heartbeat_monitor(timeout=1.0, check_interval=0.6)
for sleep in range(4):
    until = time.time() + 0.9
    while time.time() < until:
        session.heartbeat()
        time.sleep(0.02)
    # The machine sleeps for an hour; what the monotonic clock shows of it is 0.8 s.
    asleep[0] += 3600
    time.sleep(0.8)
session.stop_heartbeat_monitor()
recorder.log_event("awake", {"asked": len(asked)})
session.end(20)
"""


def test_a_machine_that_sleeps_does_not_hang(own_collector, spool, tmp_path):
    """Watchdog: the clock that counts sleep runs ahead by an hour, four times; no hang."""
    with application(SLEEPS, tmp_path, own_collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        app.wait(30)
    await_delivery(own_collector, [app.accepted])
    awake, = events_of(own_collector.sessions(), "awake")
    assert awake["asked"] >= 4, "the clock was hardly read"
    check_no_hangs(own_collector)


PAUSES = u"""
session = open_session(connect_wait=20)
recorder = recorder_of(session)
session.start_heartbeat_monitor(timeout=0.5, check_interval=0.1)
for _ in range(3):
    session.heartbeat()
    session.pause_heartbeat_monitoring()
    time.sleep(1.2)
    session.resume_heartbeat_monitoring()
    time.sleep(0.2)
    session.heartbeat()
recorder.log_event("paused three times")
session.flush(10)
say("paused")
wait_for("hang")
time.sleep(1.2)
session.heartbeat()
time.sleep(0.3)
session.stop_heartbeat_monitor()
session.end(20)
"""


def test_a_pause_is_no_hang_and_monitoring_goes_on_after_it(own_collector, spool, tmp_path):
    """Watchdog: time between pause and resume does not count; a hang after it is seen."""
    with application(PAUSES, tmp_path, own_collector.url,
                     env={"DATACAT_SPOOL_DIR": str(spool)}) as app:
        await_word(app, "paused")
        check_no_hangs(own_collector)
        tell(tmp_path, "hang")
        app.wait(30)
    await_delivery(own_collector, [app.accepted])
    assert len(events_of(own_collector.sessions(), "application_appears_hung")) == 1
    assert len(events_of(own_collector.sessions(), "application_recovered")) == 1

