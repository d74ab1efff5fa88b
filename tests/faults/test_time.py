"""Clocks and heartbeats (31, 32, 33, 35): only an application that hangs is reported to hang."""

from __future__ import absolute_import, division

import sys
import time

import pytest
from tools.call_times import check_calls
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

from datacat._compat import monotonic

HOUR = 3600.0
YEAR = 365 * 24 * HOUR

# A machine that is busy for longer than the timeout makes a gap between two heartbeats, which is a
# hang.  `Beats` counts the gaps, so that a test knows how many hangs there may be.
BEATS = u"""
from datacat._compat import monotonic

class Beats(object):
    def __init__(self, timeout, check_interval):
        self.gaps, self._timeout, self._last = [], timeout, monotonic()
        session.start_heartbeat_monitor(timeout=timeout, check_interval=check_interval)

    def beat(self, call=None):
        # The gap as the library sees it is shorter.
        (call or session.heartbeat)()
        before, self._last = self._last, monotonic()
        if self._last - before >= self._timeout:
            self.gaps.append(self._last - before)

    def resumed(self):
        # Before this, the library counts nothing.
        self._last = monotonic()

    def beat_until(self, word):
        while not os.path.exists(word):
            self.beat()
            time.sleep(0.02)
"""

JUMPS = BEATS + u"""
session = open_session(connect_wait=120)
recorder = recorder_of(session)
# A jump is an hour or more.
session.start_heartbeat_monitor(timeout=600.0, check_interval=0.2)

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
say("flushed", flushed=session.flush(120), **session.stats())
session.stop_heartbeat_monitor()
beats = Beats(1.0, 0.2)
wait_for("hung")
beats.beat_until("recovered")
session.stop_heartbeat_monitor()
say("ended", gaps=beats.gaps)
session.flush(120)
"""


@pytest.fixture
def clocks(tmp_path):
    return ShiftedClocks(tmp_path)


def test_a_wall_clock_that_jumps_changes_neither_order_nor_delivery(
    own_server, spool, tmp_path, scaled, clocks
):
    """Time: an hour ahead, an hour back, 1970 and 2038; order and sending use other clocks.

    The server is away at each jump, so that sender and keeper are asleep then.  A jump is no hang;
    a hang after the jumps is noticed.
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
            wait_until(lambda: len(said(app, "logged")) > step)  # noqa: B023
            clocks.shift(wall=jump)
            own_server.start()
            await_delivery(own_server, [app.accepted])
            tell(tmp_path, "delivered-%d" % step)
        flushed = await_word(app, "flushed")
        await_outbox(spool, HUNG)
        tell(tmp_path, "hung")
        await_outbox(spool, RECOVERED)
        tell(tmp_path, "recovered")
        app.wait()
    assert flushed["flushed"], flushed
    assert [flushed[name] for name in ("dead", "dropped", "merged", "possibly_twice")] == [0] * 4
    report = deliver_what_is_left(own_server, [app.accepted], tmp_path)
    assert report.accepted == 45 * len(jumps)
    check_hangs(own_server, 1, len(gaps_of(app)))
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
    check_calls([app.accepted])


HUNG, RECOVERED = "application_appears_hung", "application_recovered"


def await_outbox(spool, name):
    """Wait until the files of a spool contain an event's name; does not use sqlite."""
    text = name.encode("ascii")
    wait_until(
        lambda: any(
            text in path.read_bytes() for path in spool.iterdir() if path.name.endswith("-wal")
        )
    )


def gaps_of(app):
    """Return how long the gaps between heartbeats were that the application has seen."""
    return said(app, "ended")[0]["gaps"]


def check_hangs(collector, fewest, most):
    """Check that so many hangs, and as many recoveries, were reported."""
    wait_until(
        lambda: len(events_of(collector.sessions(), HUNG))
        == len(events_of(collector.sessions(), RECOVERED))
    )
    assert fewest <= len(events_of(collector.sessions(), HUNG)) <= most


# A main thread that hangs

HANGS = BEATS + u"""
session = open_session(connect_wait=0)
recorder = recorder_of(session)
recorder.log_event("working")
beats = Beats(1.0, 0.25)
beats.beat()

def the_place_that_blocks():
    say("blocking")
    wait_for("unblock")

the_place_that_blocks()
beats.beat_until("recovered")
session.stop_heartbeat_monitor()
recorder.log_event("goes on")
say("ended", gaps=beats.gaps)
session.flush(120)
session.end(120)
"""


@pytest.mark.parametrize("server", ["answers", "never answers"])
def test_a_blocked_main_thread_is_one_hang_and_one_recovery_with_its_stack(
    make_collector, spool, tmp_path, server
):
    """Watchdog: reported once, with the blocking stack, before it is over; even if no answer ever
    comes.  (How soon is shown by tests/process/test_watchdog.py, with a clock.)
    """
    collector = make_collector().start()
    if server == "never answers":
        collector.pause()
    try:
        with application(
            HANGS, tmp_path, collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
        ) as app:
            await_word(app, "blocking")
            await_outbox(spool, HUNG)
            # Long enough for several checks.
            time.sleep(1.0)
            tell(tmp_path, "unblock")
            await_outbox(spool, RECOVERED)
            tell(tmp_path, "recovered")
            if server == "never answers":
                collector.resume()
            app.wait(400)
            await_delivery(collector, [app.accepted])
    finally:
        collector.resume()
    check_hangs(collector, 1, len(gaps_of(app)))
    hang = events_of(collector.sessions(), HUNG)[0]
    recovery = events_of(collector.sessions(), RECOVERED)[0]
    assert hang["timeout"] == 1.0 and hang["seconds_since_heartbeat"] >= 1.0
    assert hang["stacks"][0]["thread"] == "MainThread"
    assert "the_place_that_blocks" in "".join(hang["stacks"][0]["stack"])
    assert recovery["hung_seconds"] >= hang["seconds_since_heartbeat"]
    check_calls([app.accepted])


BEATING = BEATS + u"""
session = open_session(connect_wait=120)
recorder = recorder_of(session)
beats = Beats(*map(float, sys.argv[3:5]))
say("beating")
beats.beat_until("stop")
session.stop_heartbeat_monitor()
recorder.log_event("goes on")
say("ended", gaps=beats.gaps)
session.end(120)
"""


class Stops(object):
    """Suspends an application that calls heartbeat(), and knows for how long."""

    def __init__(self, app):
        self.longest = 0.0
        self.count = 0
        self._app = app

    def stop_for(self, seconds, meanwhile=lambda: None):
        """Suspend it, with time for a check before and after."""
        time.sleep(0.5)
        began = monotonic()
        self._app.pause()
        meanwhile()
        time.sleep(seconds)
        self._app.resume()
        self.longest = max(self.longest, monotonic() - began)
        self.count += 1
        time.sleep(0.5)

    def most_hangs(self, timeout):
        """Return how many hangs there may be: gaps beside the stops, or longer ones than these."""
        gaps = gaps_of(self._app)
        assert len(gaps) >= self.count, "the stops were not noticed"
        too_long = [gap for gap in gaps if gap >= self.longest + timeout]
        return len(gaps) - self.count + len(too_long)


def test_a_stopped_process_does_not_hang(own_collector, spool, tmp_path, scaled):
    """Watchdog: SIGSTOP for longer than the timeout makes neither a hang nor a recovery."""
    with application(
        BEATING, tmp_path, own_collector.url, (1.0, 0.2), env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        await_word(app, "beating")
        stops = Stops(app)
        for _ in range(scaled(2, 20)):
            stops.stop_for(1.8)  # over the timeout, and over the second that a check may be late
        tell(tmp_path, "stop")
        app.wait(200)
    await_delivery(own_collector, [app.accepted])
    check_calls([app.accepted])
    check_hangs(own_collector, 0, stops.most_hangs(1.0))


@pytest.mark.skipif(sys.version_info < (3,), reason="Python 2 has no clock that counts sleep")
def test_a_machine_that_sleeps_does_not_hang(own_collector, spool, tmp_path, scaled, clocks):
    """Watchdog: the clock that counts sleep is an hour ahead, as after a suspend; no hang.

    A process that is suspended for less than `check_interval` + 1 s looks the same but for that
    clock, and counts as a hang: once, to show that the clock makes the difference.
    """
    with application(
        BEATING,
        tmp_path,
        own_collector.url,
        (0.4, 0.3),
        env=dict(clocks.env, DATACAT_SPOOL_DIR=str(spool)),
    ) as app:
        await_word(app, "beating")
        stops = Stops(app)
        # A slow machine may suspend it for longer, which is no hang.
        while not any(
            b"application_recovered" in path.read_bytes() for path in spool.glob("*-wal")
        ):
            Stops(app).stop_for(0.7)
        for sleep in range(scaled(3, 30)):
            stops.stop_for(0.7, lambda: clocks.shift(boot=HOUR * (sleep + 1)))  # noqa: B023
        tell(tmp_path, "stop")
        app.wait(200)
    await_delivery(own_collector, [app.accepted])
    check_calls([app.accepted])
    check_hangs(own_collector, 1, stops.most_hangs(0.4))


PAUSES = BEATS + u"""
session = open_session(connect_wait=120)
recorder = recorder_of(session)
beats = Beats(0.5, 0.1)
for _ in range(3):
    beats.beat()
    beats.beat(session.pause_heartbeat_monitoring)
    recorder.log_event("paused")
    time.sleep(0.9)
    session.resume_heartbeat_monitoring()
    beats.resumed()
    time.sleep(0.2)
    beats.beat()
recorder.log_event("paused three times")
while not session.flush(10):
    beats.beat()
say("paused", gaps=beats.gaps)
wait_for("hung")
beats.beat_until("recovered")
session.stop_heartbeat_monitor()
say("ended", gaps=beats.gaps)
session.end(120)
"""


def test_a_pause_is_no_hang_and_monitoring_continues_after_it(own_collector, spool, tmp_path):
    """Watchdog: time between pause and resume does not count; a later hang is noticed."""
    with application(
        PAUSES, tmp_path, own_collector.url, env={"DATACAT_SPOOL_DIR": str(spool)}
    ) as app:
        await_word(app, "paused")
        await_outbox(spool, HUNG)
        tell(tmp_path, "hung")
        await_outbox(spool, RECOVERED)
        tell(tmp_path, "recovered")
        app.wait(200)
    await_delivery(own_collector, [app.accepted])
    check_calls([app.accepted])
    # Each pause is longer than the timeout.
    check_hangs(own_collector, 1, len(gaps_of(app)))
