"""Where nobody answers, calls that wait for the same attempt wait together, not in a row."""

from __future__ import absolute_import, division

import threading

import pytest
from inside import pipelines_of
from tools.swallowing import SWALLOWS, Swallowing
from tools.waiting import PATIENCE

from datacat._compat import monotonic
from datacat.process import engine
from datacat.process.engine import VAIN_SECONDS, Attempts, Progress
from datacat.process.loop import Loop
from datacat.process.pipeline import STOPPING_SECONDS
from datacat.wire import dialing

# An attempt that lasts longer than the test.
ENDLESS = {"connect_wait": 0, "timeout": 2 * PATIENCE, "deadline": 2 * PATIENCE}


@pytest.fixture
def attempts():
    """Attempts of which one began at 100, and a call of 5 s that began then has given up."""
    made = Attempts()
    made.begin(100.0)
    made.give_up(made.wait(100.0), 105.0)
    return made


def left(attempts, seconds, now):
    """Return how long a call that begins at `now` may wait."""
    return attempts.left(attempts.wait(now), seconds, now)


def test_the_first_call_waits_as_long_as_it_may():
    assert left(Attempts(), 5.0, 100.0) == 5.0


@pytest.mark.parametrize(
    "seconds, now, wait",
    [
        (5.0, 105.0, 0.0),
        (5.0, 106.0, 0.0),
        (0.5, 105.0, 0.0),
        (7.0, 105.0, 2.0),
        (7.0, 106.5, 0.5),
    ],
)
def test_for_the_same_attempt_the_wait_of_earlier_calls_counts(attempts, seconds, now, wait):
    assert left(attempts, seconds, now) == wait


def test_three_calls_wait_as_long_as_the_longest(attempts):
    longer = attempts.wait(105.0)
    assert attempts.left(longer, 7.0, 105.0) == 2.0
    attempts.give_up(longer, 107.0)
    assert left(attempts, 7.0, 107.0) == 0.0
    assert left(attempts, 8.0, 107.0) == 1.0


def test_a_later_call_waits_anew(attempts):
    assert left(attempts, 5.0, 105.0 + VAIN_SECONDS) == 0.0
    assert left(attempts, 5.0, 105.1 + VAIN_SECONDS) == 5.0


@pytest.mark.parametrize("is_answered", [True, False])
def test_after_that_attempt_a_call_waits_for_the_next_one(attempts, is_answered):
    attempts.end(is_answered)
    assert left(attempts, 5.0, 106.0) == 5.0
    attempts.begin(106.0)
    assert left(attempts, 5.0, 107.0) == 5.0


def test_a_call_that_begins_before_the_attempt_is_over_gets_its_whole_time_then(attempts):
    wait = attempts.wait(105.0)
    assert attempts.left(wait, 6.0, 105.5) == 0.5
    attempts.end(True)
    assert attempts.left(wait, 6.0, 105.5) == 5.5
    attempts.begin(105.6)
    assert attempts.left(wait, 6.0, 106.0) == 5.0


def test_a_call_during_which_the_server_answered_has_not_waited_in_vain():
    """Such as a flush that was too short for a backlog."""
    attempts = Attempts()
    wait = attempts.wait(100.0)
    attempts.begin(100.0)
    attempts.end(True)
    attempts.begin(101.0)
    attempts.give_up(wait, 105.0)
    assert left(attempts, 5.0, 105.0) == 5.0


def test_a_call_during_which_an_attempt_failed_has_waited_for_the_next_one_in_vain():
    attempts = Attempts()
    wait = attempts.wait(100.0)
    attempts.begin(100.0)
    attempts.end(False)
    attempts.begin(101.0)
    attempts.give_up(wait, 105.0)
    assert left(attempts, 5.0, 105.0) == 0.0


class Waits(list):
    """The seconds that calls waited for, those of the test's thread."""

    def __init__(self, monkeypatch):
        list.__init__(self)
        self._thread = threading.current_thread()
        self._watch(monkeypatch, Progress, "wait")
        self._watch(monkeypatch, Loop, "wait_until_stopped")

    def _watch(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def noted(self_, seconds, *rest):
            if threading.current_thread() is self._thread:
                self.append(seconds)
            return real(self_, seconds, *rest)

        monkeypatch.setattr(owner, name, noted)


@pytest.fixture
def dialing_now(monkeypatch):
    """An event that is set once the sender connects."""
    dials, dial = threading.Event(), dialing.dial

    def noted(*arguments):
        dials.set()
        return dial(*arguments)

    monkeypatch.setattr(dialing, "dial", noted)
    return dials


@SWALLOWS
def test_flush_end_close_and_exit_wait_once_where_packets_vanish(
    monkeypatch, open_session, dialing_now
):
    monkeypatch.setattr(engine, "VAIN_SECONDS", PATIENCE)
    waits = Waits(monkeypatch)
    with Swallowing() as swallowing:
        session = open_session(swallowing.url, **ENDLESS)
        assert dialing_now.wait(PATIENCE)
        (pipeline,) = pipelines_of(base_url=swallowing.url)
        del waits[:]
        assert session.flush(0.5) is False
        session.end(0.5)
        session.close(0.5)
        pipeline.finish(monotonic() + 0.5)
        # The exit gives the keeper a moment to stop.
        assert sum(waits) <= 0.5 + STOPPING_SECONDS, waits
        assert session.stats()["waiting"] == 2


def test_after_a_call_that_waited_in_vain_the_next_one_waits_for_delivery(
    collector, open_session, before
):
    proxy = before(collector)
    session = open_session(proxy.url, **ENDLESS)
    assert session.flush(PATIENCE)
    proxy.partition()
    session.log_event("step")
    assert session.flush(0.1) is False
    proxy.heal()
    assert session.flush(PATIENCE) is True
