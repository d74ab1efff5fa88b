"""The thread around a step: it steps when there is news, sleeps when there is none, and stops."""

from __future__ import absolute_import, division

import logging
import os
import threading

import pytest
from tools.waiting import wait_until

from datacat._compat import monotonic
from datacat.locks import Bell, PipeBell
from datacat.process import loop as loop_module
from datacat.process.loop import Loop


class Stepper(object):
    """A step that says what the test wants, and news at hand."""

    def __init__(self, pause=None, listens=True, linger=0.0):
        self.pause = pause
        self.heeds = listens
        self.news = 0
        self.steps = 0
        self.on_step = None
        self.loop = Loop("test", self.step, lambda: self.news, lambda: self.heeds, linger)

    def step(self, now):
        self.steps += 1
        if self.on_step is not None:
            return self.on_step()
        return self.pause


@pytest.fixture
def stepper():
    made = Stepper()
    yield made
    assert made.loop.stop(10)


def asleep(stepper):
    return lambda: stepper.steps and stepper.loop.bell.awaited


def test_a_ring_makes_it_step_again(stepper):
    assert stepper.loop.start()
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


def test_who_would_sleep_for_ever_heeds_news_whatever_it_listens_to(stepper):
    """News that came while the step ended, and that made it stop listening, wakes it."""
    stepper.heeds = False

    def step():
        if stepper.steps == 1:
            stepper.news += 1

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 2)
    wait_until(asleep(stepper))


def test_news_does_not_cut_a_pause_short_that_does_not_listen(stepper):
    stepper.heeds = False

    def step():
        stepper.news += 1
        return 60.0

    stepper.on_step = step
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 1)
    assert stepper.loop.stop(10) and stepper.steps == 1


def test_news_waits_for_company_and_is_then_stepped_for_together():
    stepper = Stepper(linger=0.2)
    stepper.loop.start()
    wait_until(asleep(stepper))
    began = monotonic()
    for _ in range(5):
        stepper.news += 1
        stepper.loop.tell()
    wait_until(lambda: stepper.steps == 2)
    assert monotonic() - began >= 0.2
    wait_until(asleep(stepper))
    assert stepper.steps == 2
    assert stepper.loop.stop(10)


def test_who_wakes_it_does_not_wait_for_company():
    stepper = Stepper(linger=60.0)
    stepper.loop.start()
    wait_until(asleep(stepper))
    stepper.news += 1
    stepper.loop.wake()
    wait_until(lambda: stepper.steps == 2)
    wait_until(asleep(stepper))
    stepper.news += 1
    stepper.loop.tell()
    wait_until(lambda: not stepper.loop.bell.awaited)
    stepper.loop.wake()
    wait_until(lambda: stepper.steps == 3)
    assert stepper.loop.stop(10)


def test_it_steps_on_while_there_is_more_to_do(stepper):
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


def test_stop_returns_in_time_where_a_step_does_not_end():
    stepper = Stepper()
    release = threading.Event()
    stepper.on_step = lambda: release.wait(30) and None
    stepper.loop.start()
    wait_until(lambda: stepper.steps == 1)
    began = monotonic()
    assert not stepper.loop.stop(0.05)
    assert monotonic() - began < 0.5
    release.set()
    assert stepper.loop.stop(10)


def test_it_can_be_stopped_by_itself_and_before_it_started():
    stepper = Stepper()
    stepper.loop.stop(1)
    other = Stepper()
    other.on_step = lambda: other.loop.stop(1) and None
    other.loop.start()
    wait_until(lambda: other.steps == 1)
    assert other.loop.stop(10)


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
    bell = kind()
    for _ in range(100000):  # more than a pipe takes
        bell.ring()
    bell.wait(10)
    began = monotonic()
    bell.wait(0.2)
    assert 0.2 <= monotonic() - began < 5, "it rang twice"
    ringer = threading.Timer(0.1, bell.ring)
    ringer.start()
    bell.wait(None)
    ringer.join()


@pytest.mark.parametrize("place", ["news", "listens"])
def test_a_fault_outside_a_step_does_not_end_the_thread(stepper, monkeypatch, place):
    """There may be no memory for anything, also for what surrounds a step."""
    monkeypatch.setattr(loop_module, "_PAUSE_AFTER_FAULT", 0.01)
    failures = []

    def fail_once():
        if not failures:
            failures.append(place)
            raise MemoryError
        return True

    stepper.pause = 5.0
    setattr(stepper.loop, "_" + place, fail_once)
    stepper.loop.start()
    wait_until(lambda: failures and stepper.steps >= 1)
    steps = stepper.steps
    stepper.loop.wake()
    wait_until(lambda: stepper.steps > steps)
    assert stepper.loop.is_running


@pytest.mark.skipif(
    not hasattr(os, "set_blocking") or not hasattr(os, "fork"),
    reason="PipeBell is for Python 3 where there is poll(2)",
)
def test_a_bell_that_a_forked_child_lets_go_leaves_the_childs_files_alone():
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
