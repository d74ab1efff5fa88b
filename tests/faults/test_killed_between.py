"""Once (6): an application killed between sending and noting the outcome leaves no copy behind."""
from __future__ import absolute_import, division

import random
import signal

from tools.faults import Fault, is_write

BOTH_GENERATIONS = True
RECORDS = 8
KILLED = -signal.SIGKILL


class Kill(Fault):
    """The application is killed once the server has answered, or `seconds` before it is asked."""

    name = "kill"

    def __init__(self, trial, seconds=0.0):
        self._trial = trial
        self._seconds = seconds

    def play(self, exchange):
        if not self._seconds:
            exchange.forward()
        exchange.strike(self.name)
        self._trial.application.signal(signal.SIGKILL)
        if self._seconds:
            exchange.sleep(self._seconds)
            exchange.forward()
        exchange.reset_client()
        return False


def kill_at_a_write(trial, proxy, fault, skipped):
    """Run the application until `fault` strikes one of its writes, after `skipped` requests."""
    first = len(proxy.log) + skipped
    proxy.rule(fault, lambda seen: is_write(seen) and seen.number > first, times=1)
    trial.start(records=RECORDS, sessions=2)
    trial.application.wait(expect=KILLED)


def test_a_kill_between_sending_and_settling_makes_no_copy(trial, proxy, scaled):
    """Once: the next run finds out what became of the record that its predecessor sent last."""
    kills = scaled(3, 200)
    chance = random.Random(6)
    for _ in range(kills):
        kill_at_a_write(trial, proxy, Kill(trial), chance.randrange(8))
    trial.start(records=RECORDS)
    trial.await_arrived(within=scaled(30, 300))
    trial.leave()
    assert proxy.struck["kill"] == kills
    trial.check()
    trial.check_no_losses()


def test_a_request_of_a_killed_run_that_is_still_on_its_way_makes_no_copy(trial, proxy, scaled):
    """Once: a supervisor starts the next run before the server has seen the last one's record."""
    kills = scaled(1, 30)
    for turn in range(kills):
        kill_at_a_write(trial, proxy, Kill(trial, seconds=1.5), skipped=3 + turn % 4)
    trial.start(records=RECORDS)
    trial.await_arrived(within=scaled(30, 300))
    trial.leave()
    assert proxy.struck["kill"] == kills
    trial.check()
    trial.check_no_losses()
