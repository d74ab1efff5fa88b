"""Once (6): an application killed between sending and noting the outcome leaves no copy behind."""

from __future__ import absolute_import, division

import random
import signal

import pytest
from tools.faults import Fault, is_write
from tools.waiting import wait_until

RECORDS = 8
KILLED = -signal.SIGKILL


class Kill(Fault):
    """The application is killed once the server has answered."""

    name = "kill"

    def __init__(self, trial):
        self._trial = trial

    def play(self, exchange):
        exchange.forward()
        exchange.strike(self.name)
        self._trial.application.signal(signal.SIGKILL)
        exchange.reset_client()
        return False


class KillOnTheWay(Fault):
    """The application is killed, and its request arrives when the next run has looked for it."""

    name = "kill on the way"

    def __init__(self, trial, proxy):
        self._trial = trial
        self._proxy = proxy

    def play(self, exchange):
        exchange.strike(self.name)
        self._trial.application.signal(signal.SIGKILL)
        self._await_look(exchange.request.path.rsplit("/", 1)[0], len(self._proxy.log))
        exchange.forward()
        exchange.strike("overtaken")
        return False

    def _await_look(self, session, before):
        # On classic the first GET of all tells the dialect.
        first = 1 if self._trial.server.classic else 0
        wait_until(
            lambda: session
            in [
                seen.path
                for seen in self._proxy.log[before:]
                if seen.method == "GET" and "sessions" in seen.path and seen.status == 200
            ][first:],
            timeout=20,
        )


def kill_at_a_write(trial, proxy, fault, skipped):
    """Run the application until `fault` strikes one of its writes, after `skipped` requests."""
    first = len(proxy.log) + skipped
    proxy.rule(fault, lambda seen: is_write(seen) and seen.number > first, times=1)
    trial.start(records=RECORDS, sessions=2)
    trial.application.wait(expect=KILLED)


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_a_kill_between_sending_and_settling_makes_no_copy(trial, proxy, scaled):
    """Once: the next run finds out what became of the record that its predecessor sent last."""
    kills = scaled(2, 200)
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
        kill_at_a_write(trial, proxy, KillOnTheWay(trial, proxy), skipped=3 + turn % 4)
        trial.start(records=RECORDS)
        trial.await_arrived()
        trial.leave()
    assert proxy.struck["kill on the way"] == proxy.struck["overtaken"] == kills
    trial.check()
    trial.check_no_losses()
