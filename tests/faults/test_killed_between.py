"""Once (6): a kill between sending a record and noting the outcome makes no copy."""

from __future__ import absolute_import, division

import random
import signal

import pytest
from tools.faults import Fault, is_write
from tools.waiting import wait_until

RECORDS = 8
KILLED = -signal.SIGKILL


class Kill(Fault):
    """Kills the application after the server has answered."""

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
    """Kills the application; its request arrives after the next run's first read-back."""

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
        # On classic the very first GET is for telling the dialect.
        first = 1 if self._trial.server.classic else 0
        wait_until(
            lambda: session
            in [
                seen.path
                for seen in self._proxy.log[before:]
                if seen.method == "GET" and "sessions" in seen.path and seen.status == 200
            ][first:]
        )


def is_event(seen):
    return seen.path.endswith("/events")


def kill_at_a_write(trial, proxy, fault, skipped, is_struck=is_write):
    """Run the application until `fault` strikes a write, after `skipped` requests."""
    first = len(proxy.log) + skipped
    proxy.rule(fault, lambda seen: is_struck(seen) and seen.number > first, times=1)
    trial.start(records=RECORDS, sessions=2)
    trial.application.wait(expect=KILLED)


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_a_kill_between_sending_and_settling_makes_no_copy(trial, proxy, scaled):
    """Once: the next run finds out whether its predecessor's last record arrived."""
    kills = scaled(2, 200)
    chance = random.Random(6)
    for _ in range(kills):
        kill_at_a_write(trial, proxy, Kill(trial), chance.randrange(8))
    trial.start(records=RECORDS)
    trial.await_arrived(within=scaled(120, 600))
    trial.leave()
    assert proxy.struck["kill"] == kills
    trial.check()
    trial.check_no_losses()


def test_a_killed_runs_request_that_arrives_late_makes_no_copy(trial, proxy, scaled):
    """Once: as when a supervisor restarts an application at once."""
    kills = scaled(1, 30)
    for turn in range(kills):
        # Not a session's first state, which is sent again without a look.
        fault = KillOnTheWay(trial, proxy)
        kill_at_a_write(trial, proxy, fault, 3 + turn % 4, is_event)
        trial.start(records=RECORDS)
        trial.await_arrived()
        trial.leave()
    assert proxy.struck["kill on the way"] == proxy.struck["overtaken"] == kills
    trial.check()
    trial.check_no_losses()
