# -*- coding: utf-8 -*-
"""The watchdog's promises: each hang once, each recovery once, and no hang out of sleep."""

from __future__ import absolute_import, division

import json
import re
import sys
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.waiting import wait_until

from datacat._compat import get_ident
from datacat.errors import InvalidArgument
from datacat.process import watchdog
from datacat.process.watchdog import (
    Hang,
    Readings,
    Recovered,
    Watchdog,
    interval,
    place_of,
    stacks,
)


class Machine(object):
    """A watchdog on the test's clocks, checked whenever a check is due."""

    def __init__(self, timeout=10, check_interval=1, boots=True):
        self.now = 1000.0
        self.cpu = 7.0
        self.boot = 5000.0 if boots else None
        self.dog = Watchdog(timeout, check_interval, self.now)
        self.facts = []
        self.check()

    def check(self, busy=0.0):
        found = self.dog.check(Readings(self.now, self.cpu, self.boot), busy)
        self.facts.extend(found)
        return found

    def jump(self, seconds, cpu=0.0, asleep=0.0):
        """Let time pass without any check; `asleep` seconds more on the clock of sleep alone."""
        self.now += seconds
        self.cpu += cpu
        if self.boot is not None:
            self.boot += seconds + asleep

    def run(self, seconds, beat_every=None):
        """Let time pass with all checks in time, in steps of a quarter of a second."""
        for step in range(1, int(seconds * 4) + 1):
            self.jump(0.25)
            if beat_every and step % int(beat_every * 4) == 0:
                self.dog.beat(self.now)
            if self.dog.next_check(self.now) == 0.0:
                self.check()


def kinds(facts):
    return [type(fact) for fact in facts]


def test_an_application_that_beats_in_time_is_not_reported():
    machine = Machine(timeout=10)
    machine.run(200, beat_every=9)
    assert machine.facts == []


def test_a_hang_is_reported_once_with_its_length_limit_and_thread():
    machine = Machine(timeout=10, check_interval=1)
    machine.run(500)
    assert machine.facts == [Hang(10.0, 10.0, get_ident())]


@pytest.mark.parametrize("timeout, check_interval", [(10, 1), (3, 5), (2, 0.5), (60, 7)])
def test_a_hang_is_reported_within_timeout_and_check_interval(timeout, check_interval):
    machine = Machine(timeout, check_interval)
    machine.run(timeout + check_interval)
    assert kinds(machine.facts) == [Hang]
    assert timeout <= machine.facts[0].seconds_since_heartbeat <= timeout + check_interval


def test_the_recovery_is_reported_once_with_the_length_from_beat_to_beat():
    machine = Machine(timeout=10)
    machine.run(33.5)
    machine.dog.beat(machine.now)
    machine.run(5, beat_every=1)
    assert kinds(machine.facts) == [Hang, Recovered]
    assert machine.facts[1].hung_seconds == 33.5


def test_each_of_two_hangs_is_reported():
    machine = Machine(timeout=10)
    for _ in range(2):
        machine.run(30)
        machine.dog.beat(machine.now)
    machine.run(2)
    assert kinds(machine.facts) == [Hang, Recovered, Hang, Recovered]


def test_a_hang_that_no_check_saw_is_reported_together_with_its_recovery():
    machine = Machine(timeout=2, check_interval=5)
    machine.jump(4.5)
    machine.dog.beat(machine.now)
    machine.jump(0.5)
    assert machine.check() == [Hang(4.5, 2.0, get_ident()), Recovered(4.5)]
    assert machine.check() == []


def test_several_hangs_between_two_checks_are_all_reported():
    machine = Machine(timeout=1, check_interval=60)
    for silence in (2, 0.5, 3):
        machine.jump(silence)
        machine.dog.beat(machine.now)
    found = machine.check()
    assert kinds(found) == [Hang, Recovered, Hang, Recovered]
    assert [fact.hung_seconds for fact in found[1::2]] == [2.0, 3.0]


def test_two_threads_that_end_one_silence_make_one_recovery():
    machine = Machine(timeout=10)
    machine.run(20)
    # What both leave behind when each read the last beat before the other wrote its own.
    before = machine.dog._beat
    machine.dog.beat(machine.now)
    machine.dog._beat = before
    machine.dog.beat(machine.now + 0.01)
    machine.run(2)
    assert kinds(machine.facts) == [Hang, Recovered]


def test_a_check_between_the_two_writes_of_a_late_beat_does_not_lose_the_recovery():
    machine = Machine(timeout=10)
    machine.run(20)
    machine.dog._late_beats.append((machine.dog._beat, machine.now, get_ident()))
    assert machine.check() == [Recovered(20.0)]
    machine.dog._beat = machine.now
    assert machine.check() == []


def test_the_hang_names_the_thread_that_beat_last():
    machine = Machine(timeout=10)
    idents = []

    def beat_elsewhere():
        idents.append(get_ident())
        machine.dog.beat(machine.now)

    other = threading.Thread(target=beat_elsewhere)
    other.start()
    other.join()
    machine.run(20)
    machine.dog.beat(machine.now)
    assert [fact.thread_ident for fact in machine.facts] == idents
    assert idents[0] != get_ident()


def test_paused_time_does_not_count():
    machine = Machine(timeout=10)
    machine.run(9)
    machine.dog.pause(machine.now)
    machine.run(500)
    machine.dog.resume(machine.now)
    machine.run(9)
    assert machine.facts == []
    machine.run(2)
    assert kinds(machine.facts) == [Hang]


def test_beats_during_a_pause_are_not_late():
    machine = Machine(timeout=10)
    machine.dog.pause(machine.now)
    machine.run(50)
    machine.dog.beat(machine.now)
    machine.run(50)
    assert machine.facts == []


@pytest.mark.parametrize("sign_of_life", ["pause", "resume"])
def test_pause_and_resume_end_a_hang_as_a_beat_does(sign_of_life):
    machine = Machine(timeout=10)
    machine.run(20)
    getattr(machine.dog, sign_of_life)(machine.now)
    machine.run(5)
    assert kinds(machine.facts) == [Hang, Recovered]


def test_a_stopped_process_does_not_hang():
    machine = Machine(timeout=10, boots=False)
    machine.run(5)
    machine.jump(3600, cpu=0.8)
    assert machine.check() == []
    machine.run(4)
    assert machine.facts == []


def test_a_stop_only_delays_a_hang():
    machine = Machine(timeout=10, boots=False)
    machine.run(5)
    machine.jump(3600)
    machine.check()
    machine.run(30)
    machine.dog.beat(machine.now)
    machine.check()
    assert kinds(machine.facts) == [Hang, Recovered]
    assert machine.facts[0].seconds_since_heartbeat == 10.0
    assert machine.facts[1].hung_seconds == 35.0


def test_a_beat_that_comes_before_the_first_check_after_a_stop_is_not_late():
    machine = Machine(timeout=10, boots=False)
    machine.run(5, beat_every=1)
    machine.jump(3600)
    machine.dog.beat(machine.now)
    machine.jump(0.1)
    assert machine.check() == []
    machine.run(9)
    assert machine.facts == []


def test_a_beat_that_comes_after_the_first_check_after_a_stop_is_not_late():
    machine = Machine(timeout=10, boots=False)
    machine.run(5, beat_every=1)
    machine.jump(3600)
    machine.check()
    machine.jump(0.1)
    machine.dog.beat(machine.now)
    machine.run(9)
    assert machine.facts == []


def test_a_stop_during_a_hang_neither_ends_it_nor_lengthens_it():
    machine = Machine(timeout=10, boots=False)
    machine.run(20)
    machine.jump(3600)
    machine.check()
    machine.run(5)
    machine.dog.beat(machine.now)
    machine.check()
    assert kinds(machine.facts) == [Hang, Recovered]
    assert machine.facts[1].hung_seconds == 25.0


def test_a_stop_before_the_last_beat_hides_no_hang_after_it():
    machine = Machine(timeout=10, boots=False)
    machine.jump(3600)
    machine.check()
    machine.dog.beat(machine.now)
    machine.run(11)
    assert machine.facts == [Hang(10.0, 10.0, get_ident())]


def test_a_stop_before_a_beat_in_time_hides_no_hang_that_no_check_saw():
    machine = Machine(timeout=10, boots=False)
    machine.jump(5)
    machine.check()
    machine.dog.beat(machine.now)
    machine.jump(12, cpu=12)
    machine.dog.beat(machine.now)
    assert machine.check() == [Hang(12.0, 10.0, get_ident()), Recovered(12.0)]


def test_a_late_check_with_cpu_used_is_a_hang_not_sleep():
    machine = Machine(timeout=10)
    machine.jump(30, cpu=29)  # something hogged the interpreter, the checking thread included
    assert kinds(machine.check()) == [Hang]


def test_a_check_made_late_by_its_own_thread_is_not_taken_for_sleep():
    machine = Machine(timeout=10, check_interval=1)
    for _ in range(3):
        machine.jump(4)
        machine.check(busy=3.0)
    assert kinds(machine.facts) == [Hang]


def test_a_check_late_by_less_than_a_second_counts():
    machine = Machine(timeout=10, check_interval=1)
    for _ in range(6):
        machine.jump(1.9)
        machine.check()
    assert kinds(machine.facts) == [Hang]


def test_the_clock_of_sleep_running_ahead_is_no_hang():
    machine = Machine(timeout=4, check_interval=5)
    machine.jump(4.9, asleep=8 * 3600)
    assert machine.check() == []
    machine.run(3)
    assert machine.facts == []


def test_the_clock_of_sleep_in_step_hides_no_hang():
    machine = Machine(timeout=4, check_interval=5)
    machine.jump(4.9)
    assert kinds(machine.check()) == [Hang]


def test_the_next_check_is_due_one_interval_after_the_last():
    machine = Machine(check_interval=5)
    assert machine.dog.next_check(machine.now) == 5.0
    assert machine.dog.next_check(machine.now + 3) == 2.0
    assert machine.dog.next_check(machine.now + 8) == 0.0


@given(silences=st.lists(st.integers(1, 40), max_size=30), check_interval=st.integers(1, 30))
def test_there_are_as_many_hangs_as_silences_past_the_timeout(silences, check_interval):
    machine = Machine(timeout=10, check_interval=check_interval)
    for silence in silences:
        machine.run(silence)
        machine.dog.beat(machine.now)
    machine.check()
    expected = [silence for silence in silences if silence >= 10]
    assert kinds(machine.facts) == [Hang, Recovered] * len(expected)
    assert [fact.hung_seconds for fact in machine.facts[1::2]] == expected


@pytest.mark.parametrize(
    "wrong", [0, -1, float("nan"), float("inf"), "60", None, True, 1j, 10**400]
)
@pytest.mark.parametrize("name", ["timeout", "check_interval"])
def test_an_argument_that_is_not_a_positive_finite_number_raises(name, wrong):
    values = {"timeout": 60, "check_interval": 5, "now": 0.0}
    values[name] = wrong
    with pytest.raises(InvalidArgument) as caught:
        Watchdog(**values)
    assert name in str(caught.value)


@pytest.mark.parametrize("right", [1, 0.001, Fraction(1, 3)])
def test_every_positive_real_number_is_accepted(right):
    assert Watchdog(right, right, 0.0).timeout == float(right)


class Waiting(object):
    """A thread that stands still in a function named `stand_still`."""

    def __init__(self, name=None, depth=0):
        self.there = threading.Event()
        self.go = threading.Event()
        self.thread = threading.Thread(target=self.stand_still, args=(depth,), name=name)
        self.thread.daemon = True

    def stand_still(self, depth):
        if depth:
            self.stand_still(depth - 1)
        else:
            self.there.set()
            self.go.wait()

    def __enter__(self):
        self.thread.start()
        assert self.there.wait()
        return self.thread

    def __exit__(self, *exc_info):
        self.go.set()
        self.thread.join()


def test_the_stacks_begin_with_the_thread_asked_for():
    with Waiting("the one that hangs") as thread:
        found = stacks(thread.ident)
    assert found[0]["thread"] == u"the one that hangs"
    assert found[0]["ident"] == thread.ident
    assert any(line.endswith("in stand_still") for line in found[0]["stack"])
    assert get_ident() in [entry["ident"] for entry in found[1:]]


def test_a_stack_reads_like_a_traceback_with_the_innermost_call_last():
    mine = stacks(get_ident())[0]["stack"]
    expected = "in test_a_stack_reads_like_a_traceback_with_the_innermost_call_last"
    assert [line.endswith(expected) for line in mine[-3:]] == [False, True, False]
    assert u"test_watchdog.py" in mine[-2]


def test_a_deep_stack_keeps_its_innermost_frames_and_truncation_is_marked():
    with Waiting(depth=300) as thread:
        # It may be on its way from saying that it is there to its wait.
        wait_until(lambda: "threading" in stacks(thread.ident)[0]["stack"][-1])
        stack = stacks(thread.ident)[0]["stack"]
    assert len(stack) == watchdog.FRAMES + 1
    assert stack[0] == u"<outer frames left out>"


def test_the_stacks_of_a_thread_that_has_ended_are_those_of_the_others():
    found = stacks(-1)
    assert get_ident() in [entry["ident"] for entry in found]


@pytest.mark.parametrize("bound", ["THREADS", "ALL_CHARACTERS"])
def test_the_stacks_are_bounded_and_truncation_is_marked(monkeypatch, bound):
    frames = sys._current_frames()
    monkeypatch.setattr(sys, "_current_frames", lambda: frames)
    monkeypatch.setattr(watchdog, bound, 0)
    assert stacks(get_ident()) == [
        {"thread": "<%d threads left out>" % len(frames), "ident": None, "stack": []}
    ]


def test_the_stacks_are_text_for_json_on_every_python():
    with Waiting("Fäden") as thread:
        found = stacks(thread.ident)
    assert json.loads(json.dumps(found))[0]["thread"] == u"Fäden"


def test_the_stacks_are_taken_while_a_hung_thread_holds_the_lock_of_threading():
    with threading._active_limbo_lock:
        assert stacks(get_ident())


@pytest.mark.parametrize("timeout, expected", [(60, 5), (5, 5), (2, 2), (0.1, 0.1)])
def test_the_default_check_interval_is_never_more_than_the_timeout(timeout, expected):
    assert interval(timeout, None) == expected


def test_a_check_interval_of_more_than_the_timeout_is_refused_only_if_given():
    assert interval(10, 10) == 10
    with pytest.raises(InvalidArgument) as caught:
        interval(3, 5)
    assert "check_interval (5 s)" in str(caught.value)


def test_the_place_of_a_thread_is_its_innermost_frame():
    me, asked, places = get_ident(), [], []

    def look():
        while not asked:
            pass
        places.append(place_of(me))

    other = threading.Thread(target=look)
    other.start()
    asked.append(True)
    while not places:
        pass
    other.join()
    assert re.match(r"test_watchdog\.py:[0-9]+ test_the_place_of_a_thread", places[0])
    assert place_of(-1) is None
