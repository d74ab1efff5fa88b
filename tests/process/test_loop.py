"""The thread around a step: it steps when there is news, sleeps when there is none, and stops."""

from __future__ import absolute_import, division

import logging
import os
import sys
import threading
import time

import pytest
from tools.waiting import PATIENCE, wait_until

from datacat.locks import Bell, PipeBell
from datacat.process import loop as loop_module
from datacat.process.loop import Loop, Sleepers


class Stepper(object):
    """A step that returns what the test wants, and its news."""

    def __init__(self, pause=None, listens=True, gather=0.0):
        self.pause = pause
        self.heeds = listens
        self.news = 0
        self.steps = 0
        self.on_step = None
        self.failures = []
        self.sleepers = Sleepers()
        self.loop = Loop("test", self.step, self.latest, lambda: self.heeds, self.sleepers, gather)

    def latest(self):
        if self.failures:
            raise self.failures.pop()
        return self.news

    def step(self, now):
        self.steps += 1
        if self.on_step is not None:
            return self.on_step()
        return self.pause

    def stop(self, seconds=PATIENCE):
        self.loop.ask_to_stop()
        return self.loop.wait_until_stopped(seconds)


@pytest.fixture
def stepper():
    made = Stepper()
    yield made
    assert made.stop()


def asleep(stepper):
    return lambda: stepper.steps and stepper.sleepers


def test_a_ring_makes_it_step_again(stepper):
    assert stepper.loop.start() is None
    wait_until(asleep(stepper))
    steps = stepper.steps
    stepper.loop.wake()
    wait_until(lambda: stepper.steps == steps + 1)


def test_news_that_comes_during_a_step_is_not_slept_through(stepper):
    def step():
        if stepper.steps == 1:
            stepper.news += 1

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 2)


def test_a_loop_that_would_sleep_for_ever_always_wakes_for_news(stepper):
    """News that comes while the step ends, and makes it stop listening, wakes it."""
    stepper.heeds = False

    def step():
        if stepper.steps == 1:
            stepper.news += 1

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 2)
    wait_until(asleep(stepper))


def test_news_does_not_cut_short_a_pause_of_a_loop_that_does_not_listen(stepper):
    stepper.heeds = False

    def step():
        stepper.news += 1
        return 60.0

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 1)
    assert stepper.stop() and stepper.steps == 1


class Gatherer(Stepper):
    """Notes with each step which news it was for."""

    def __init__(self, gather):
        super(Gatherer, self).__init__(gather=gather)
        self.seen = []
        self.on_step = lambda: self.seen.append(self.news)
        self.loop.start()
        wait_until(asleep(self))


def test_news_is_gathered_before_a_step():
    stepper = Gatherer(gather=10 * PATIENCE)
    for _ in range(5):
        stepper.news += 1
        stepper.sleepers.wake()
    time.sleep(0.1)  # a step that comes too early needs time to show
    assert stepper.seen == [0]
    stepper.loop.wake()
    wait_until(lambda: stepper.seen[-1] == 5)
    assert set(stepper.seen) == set([0, 5])
    assert stepper.stop()


def test_news_does_not_wait_for_company_for_ever():
    stepper = Gatherer(gather=0.05)
    stepper.news += 1
    stepper.loop.nudge()
    wait_until(lambda: stepper.seen[-1] == 1)
    assert stepper.stop()


def test_a_wake_up_is_not_gathered():
    stepper = Gatherer(gather=10 * PATIENCE)
    stepper.news += 1
    stepper.loop.wake()
    wait_until(lambda: stepper.seen[-1] == 1)
    assert stepper.stop()


def test_it_steps_without_pause_while_there_is_more_to_do(stepper):
    stepper.on_step = lambda: 0.0 if stepper.steps < 50 else None
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 50)


def test_a_step_that_fails_is_logged_and_the_loop_goes_on(stepper, monkeypatch, caplog):
    monkeypatch.setattr(loop_module, "_PAUSE_AFTER_FAULT", 0.01)

    def step():
        if stepper.steps < 3:
            raise ValueError("broken")

    stepper.on_step = step
    with caplog.at_level(logging.ERROR, "datacat"):
        stepper.loop.start()
        wait_until(lambda: stepper.steps == 3)
    assert "broken" in caplog.text


def test_stop_returns_though_a_step_does_not_end():
    stepper = Stepper()
    release = threading.Event()
    stepper.on_step = lambda: release.wait(PATIENCE) and None
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 1)
    assert not stepper.stop(0.05)
    release.set()
    assert stepper.stop()


def test_it_can_be_stopped_by_itself_and_before_it_started():
    assert Stepper().stop()
    other = Stepper()
    other.on_step = lambda: other.stop() and None
    other.loop.start()
    wait_until(lambda: other.steps == 1)
    assert other.loop.wait_until_stopped(PATIENCE)


def test_a_loop_that_is_started_again_during_its_last_step_goes_on_in_the_same_thread(stepper):
    """Otherwise an application that closes and logs in turn makes a thread each time."""
    threads, release = set(), threading.Event()

    def step():
        threads.add(threading.current_thread())
        if stepper.steps == 1:
            release.wait(PATIENCE)

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 1)
    for _ in range(50):
        stepper.loop.ask_to_stop()
        assert not stepper.loop.is_running
        assert stepper.loop.start() is None
    release.set()
    wait_until(lambda: stepper.steps == 2)
    assert stepper.loop.is_running and len(threads) == 1


def test_it_is_running_at_every_moment_until_it_is_asked_to_stop(stepper):
    """Or a flush that looks between two steps takes its thread for ended, and does not wait."""
    moments, tracing = [], []

    def look(frame, *_):
        if os.path.basename(frame.f_code.co_filename).startswith("loop."):
            moments.append(stepper.loop.is_running)
        return look

    def step():
        if stepper.steps == 1:
            tracing.append(sys.gettrace())
            sys.settrace(look)
            return 0.0
        sys.settrace(tracing[0])

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 2)
    assert len(moments) > 10 and all(moments)


def test_a_loop_that_stopped_steps_again_when_it_is_started_again(stepper):
    for rounds in range(1, 4):
        stepper.loop.start()
        wait_until(lambda: stepper.steps >= rounds)  # noqa: B023
        assert stepper.stop() and not stepper.loop.is_running


def test_a_loop_without_a_thread_says_why_and_starts_when_there_is_one(stepper, monkeypatch):
    refusals = [RuntimeError("can't start new thread")]
    start = threading.Thread.start

    def start_or_refuse(thread):
        if refusals:
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_refuse)
    assert "can't start new thread" in str(stepper.loop.start())
    assert not stepper.loop.is_running and stepper.loop.wait_until_stopped(0)
    assert stepper.loop.start() is None
    wait_until(lambda: stepper.steps == 1)


def test_an_interrupted_wake_up_still_rings(stepper, monkeypatch):
    """Otherwise it would sleep on: the next record would find no sleeper to wake."""
    stepper.loop.start()
    wait_until(asleep(stepper))
    (sleeper,) = stepper.sleepers

    class Interrupted(BaseException):
        pass

    discard, waker = Sleepers.discard, threading.current_thread()

    def discard_or_be_interrupted(sleepers, sleeper):
        if threading.current_thread() is waker:
            raise Interrupted()
        discard(sleepers, sleeper)

    with monkeypatch.context() as patch:
        patch.setattr(Sleepers, "discard", discard_or_be_interrupted)
        stepper.news += 1
        with pytest.raises(Interrupted):
            sleeper.wake()
    wait_until(lambda: stepper.steps == 2)


def test_a_late_waker_does_not_take_the_next_sleep_from_the_list(stepper, monkeypatch):
    """A waker that is slow between ringing and leaving finds the loop in its next sleep."""
    stepper.loop.start()
    wait_until(asleep(stepper))
    (first,) = stepper.sleepers
    discard, waker = Sleepers.discard, threading.current_thread()

    def discard_late(sleepers, sleeper):
        if threading.current_thread() is waker:
            wait_until(lambda: stepper.steps == 2 and sleepers and sleepers[-1] is not first)
        discard(sleepers, sleeper)

    monkeypatch.setattr(Sleepers, "discard", discard_late)
    stepper.news += 1
    first.wake()
    assert len(stepper.sleepers) == 1
    monkeypatch.undo()
    stepper.news += 1
    stepper.sleepers.wake()
    wait_until(lambda: stepper.steps == 3)


@pytest.mark.parametrize(
    "kind",
    [
        Bell,
        pytest.param(
            PipeBell,
            marks=pytest.mark.skipif(
                not hasattr(os, "set_blocking"),
                reason="for Pythons before 3.11, and none before 3.5",
            ),
        ),
    ],
)
def test_a_bell_wakes_once_however_often_it_was_rung(kind):
    bell, events = kind(), []
    for _ in range(100000):  # more than a pipe takes
        bell.ring()
    bell.wait(PATIENCE)

    def wait():
        bell.wait(None)
        events.append("woke up")

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.1)  # where it rings twice, the thread needs time to show that
    events.append("rings")
    bell.ring()
    waiter.join(PATIENCE)
    assert events == ["rings", "woke up"]
    bell.wait(0.01)


def test_a_fault_outside_a_step_does_not_end_the_thread(stepper, monkeypatch):
    """There may be no memory even for the code around a step."""
    monkeypatch.setattr(loop_module, "_PAUSE_AFTER_FAULT", 0.01)
    stepper.pause = 5.0
    stepper.failures.append(MemoryError())
    stepper.loop.start()
    wait_until(lambda: not stepper.failures and stepper.steps >= 1)
    steps = stepper.steps
    stepper.loop.wake()
    wait_until(lambda: stepper.steps > steps)
    assert stepper.loop.is_running


@pytest.mark.skipif(
    not hasattr(os, "set_blocking") or not hasattr(os, "fork"),
    reason="PipeBell is for Python 3 where there is poll(2)",
)
def test_a_bell_collected_in_a_forked_child_closes_none_of_its_files():
    """The child may have closed all descriptors and opened files under the same numbers."""
    bell = PipeBell()
    child = os.fork()
    if not child:
        ends = bell._ends
        mine = os.open(os.devnull, os.O_RDONLY)
        for end in ends:
            os.dup2(mine, end)
        del bell
        try:
            for end in ends:
                os.fstat(end)
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_code_of_the_application_cannot_end_the_thread(stepper, error, caplog):
    """Such as a before_record, or a logging handler, that calls sys.exit()."""

    def escape():
        stepper.on_step = None
        raise error()

    stepper.on_step = escape
    stepper.loop.start()
    wait_until(lambda: stepper.steps > 1)
    assert stepper.loop.is_running and "tried to end the test thread" in caplog.text


def test_not_even_a_logging_handler_that_exits_ends_the_thread(stepper):
    stepper.failures.append(SystemExit())
    stepper.loop.start()
    wait_until(lambda: stepper.steps)
