"""Clocks and heartbeats (31, 32, 33, 35): only an application that hangs is reported to hang."""

from __future__ import absolute_import, division

import sys
import time

import pytest
from tools.call_times import check_bounds
from tools.clocks import ShiftedClocks
from tools.host import (
    application,
    await_delivery,
    await_word,
    deliver_what_is_left,
    events_of,
    said,
    tell,
)
from tools.waiting import wait_until

HOUR = 3600.0
YEAR = 365 * 24 * HOUR

JUMPS = u"""
from datacat._compat import monotonic
session = open_session(connect_wait=20)
recorder = recorder_of(session)
session.start_heartbeat_monitor(timeout=1.0, check_interval=0.2)

def live_until(word, at_least, step):
    number = 0
    while number < at_least or not os.path.exists(word):
        number += 1
        if number <= at_least:
            recorder.log_event("step", {"step": step, "number": number})
            recorder.log_metric("m", number)
            recorder.update_state({"step": step, "number": number})
        session.heartbeat()
        time.sleep(0.01)

for step in range(int(sys.argv[3])):
    live_until("away-%d" % step, 0, step)
    live_until(".", 15, step)
    say("logged", wall=time.time())
    live_until("delivered-%d" % step, 0, step)
began = monotonic()
say("flushed", flushed=session.flush(20), seconds=monotonic() - began, **session.stats())
session.heartbeat()
say("hanging")
while not os.path.exists("unhang"):
    time.sleep(0.01)
session.heartbeat()
time.sleep(0.5)
session.stop_heartbeat_monitor()
session.flush(20)
"""


@pytest.fixture
def clocks(tmp_path):
    return ShiftedClocks(tmp_path)


def test_a_wall_clock_that_jumps_changes_neither_order_nor_delivery(
    own_server, spool, tmp_path, scaled, clocks
):
    """Time: an hour ahead, an hour back, 1970 and 2038; order and sending use other clocks.

    The server is away at each jump, so that sender and keeper are asleep then.  A hang after the
    jumps is noticed in time.
    """
    jumps = scaled(
        [-HOUR, 10 - time.time(), 12 * YEAR, 0],
        3 * [HOUR, -HOUR, 10 - time.time(), 0, 12 * YEAR, 0, 0],
    )
    with application(
        JUMPS,
        tmp_path,
        own_server.url,
        (len(jumps),),
        env=dict(clocks.env, DATACAT_SPOOL_DIR=str(spool)),
    ) as app:
        for step, jump in enumerate(jumps):
            own_server.kill()
            tell(tmp_path, "away-%d" % step)
            wait_until(lambda: len(said(app, "logged")) > step, 20)  # noqa: B023
            clocks.shift(wall=jump)
            own_server.start()
            await_delivery(own_server, [app.accepted], 30)
            tell(tmp_path, "delivered-%d" % step)
        flushed = await_word(app, "flushed", 30)
        await_word(app, "hanging")
        wait_until(lambda: outboxes_hold(spool, b"application_appears_hung"), 1.0 + 0.2 + 1.0)
        tell(tmp_path, "unhang")
        app.wait(30)
    assert flushed["flushed"] and flushed["seconds"] < 5, flushed
    assert [flushed[name] for name in ("dead", "dropped", "merged", "possibly_twice")] == [0] * 4
    report = deliver_what_is_left(own_server, [app.accepted], tmp_path)
    assert report.accepted == 45 * len(jumps)
    assert len(events_of(own_server.sessions(), "application_appears_hung")) == 1
    seen = [each["wall"] for each in said(app, "logged")]
    assert min(seen) < HOUR and max(seen) > time.time() + 11 * YEAR, seen
    if not own_server.classic:
        times = [
            event["timestamp"][:4]
            for session in own_server.sessions()
            for event in session["events"]
            if event["name"] == "step"
        ]
        assert "1970" in times and max(times) >= "2037", "the clock did not jump"
    check_bounds([app.accepted])


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
    """Return whether the files of a spool contain a text, without using sqlite."""
    found = [path.read_bytes() for path in spool.iterdir() if path.name.endswith("-wal")]
    return any(text in each for each in found)


@pytest.mark.parametrize("server", ["answers", "never answers"])
def test_a_blocked_main_thread_is_one_hang_and_one_recovery_with_its_stack(
    make_collector, spool, tmp_path, server
):
    """Watchdog: reported once, in time, with the blocking stack; even if no answer ever comes."""
    collector = make_collector().start()
    if server == "never answers":
        collector.pause()
    try:
        with application(
            HANGS, tmp_path, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
        ) as app:
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
    (hang,) = events_of(collector.sessions(), "application_appears_hung")
    (recovery,) = events_of(collector.sessions(), "application_recovered")
    assert hang["timeout"] == 1.0 and 1.0 <= hang["seconds_since_heartbeat"] < 3.0
    assert hang["stacks"][0]["thread"] == "MainThread"
    assert "the_place_that_blocks" in "".join(hang["stacks"][0]["stack"])
    assert recovery["hung_seconds"] >= hang["seconds_since_heartbeat"]
    check_bounds([app.accepted])


# It counts how often it was suspended.
BEATS = u"""
from datacat._compat import monotonic
session = open_session(connect_wait=20)
recorder = recorder_of(session)
timeout, check_interval = map(float, sys.argv[3:5])
session.start_heartbeat_monitor(timeout=timeout, check_interval=check_interval)
say("beating")
gaps, last = 0, monotonic()
while not os.path.exists("stop"):
    session.heartbeat()
    if monotonic() - last > timeout:
        gaps += 1
        recorder.log_event("stood still", {"gap": gaps})
    last = monotonic()
    time.sleep(0.02)
session.stop_heartbeat_monitor()
recorder.log_event("goes on")
session.end(20)
say("beaten", gaps=gaps)
"""


def stop_for(app, seconds, meanwhile=lambda: None):
    """Suspend an application that calls heartbeat(), with time for a check before and after."""
    time.sleep(0.5)
    app.pause()
    meanwhile()
    time.sleep(seconds)
    app.resume()
    time.sleep(0.5)


def test_a_stopped_process_does_not_hang(own_collector, spool, tmp_path, scaled):
    """Watchdog: SIGSTOP for longer than the timeout makes neither a hang nor a recovery."""
    stops = scaled(2, 20)
    with application(
        BEATS, tmp_path, own_collector.url, (1.0, 0.2), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        await_word(app, "beating")
        for _ in range(stops):
            stop_for(app, 1.8)  # over the timeout, and over the second that a check may be late
        tell(tmp_path, "stop")
        app.wait(30)
    assert said(app, "beaten")[0]["gaps"] == stops
    await_delivery(own_collector, [app.accepted])
    check_bounds([app.accepted])
    check_no_hangs(own_collector)


@pytest.mark.skipif(sys.version_info < (3,), reason="Python 2 has no clock that counts sleep")
def test_a_machine_that_sleeps_does_not_hang(own_collector, spool, tmp_path, scaled, clocks):
    """Watchdog: the clock that counts sleep is an hour ahead, as after a suspend; no hang.

    A process that is suspended for less than `check_interval` + 1 s looks the same but for that
    clock, and counts as a hang: once, to show that the clock makes the difference.
    """
    sleeps = scaled(3, 30)
    with application(
        BEATS,
        tmp_path,
        own_collector.url,
        (0.4, 0.3),
        env=dict(clocks.env, DATACAT_SPOOL_DIR=str(spool)),
    ) as app:
        await_word(app, "beating")
        stop_for(app, 0.7)
        wait_until(lambda: outboxes_hold(spool, b"application_recovered"), 5)
        for sleep in range(sleeps):
            stop_for(app, 0.7, lambda: clocks.shift(boot=HOUR * (sleep + 1)))  # noqa: B023
        tell(tmp_path, "stop")
        app.wait(30)
    assert said(app, "beaten")[0]["gaps"] == sleeps + 1
    await_delivery(own_collector, [app.accepted])
    check_bounds([app.accepted])
    assert len(events_of(own_collector.sessions(), "application_appears_hung")) == 1
    assert len(events_of(own_collector.sessions(), "application_recovered")) == 1


PAUSES = u"""
session = open_session(connect_wait=20)
recorder = recorder_of(session)
session.start_heartbeat_monitor(timeout=0.5, check_interval=0.1)
for _ in range(3):
    session.heartbeat()
    session.pause_heartbeat_monitoring()
    recorder.log_event("paused")
    time.sleep(0.9)
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


def test_a_pause_is_no_hang_and_monitoring_continues_after_it(own_collector, spool, tmp_path):
    """Watchdog: time between pause and resume does not count; a later hang is noticed."""
    with application(
        PAUSES, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        await_word(app, "paused")
        check_no_hangs(own_collector)
        tell(tmp_path, "hang")
        app.wait(30)
    await_delivery(own_collector, [app.accepted])
    check_bounds([app.accepted])
    assert len(events_of(own_collector.sessions(), "application_appears_hung")) == 1
    assert len(events_of(own_collector.sessions(), "application_recovered")) == 1
