"""Once (6): a kill at any request of a rotation (`rotate_after`) loses nothing, copies nothing."""

from __future__ import absolute_import, division

import itertools
import signal

import pytest
from tools.faults import Fault
from tools.waiting import wait_until

RECORDS = 40
ROTATED = b"session_rotated"


class Kill(Fault):
    """Kills the application before or after the server gets its request."""

    name = "kill"

    def __init__(self, trial, is_applied):
        self._trial = trial
        self._is_applied = is_applied

    def play(self, exchange):
        if self._is_applied:
            exchange.forward()
        exchange.strike(self.name)
        self._trial.application.signal(signal.SIGKILL)
        exchange.reset_client()
        return False


class Moments(object):
    """Predicates over requests, each for one kind of request that a rotation makes.

    They look at the requests after the `first` one in the proxy's log.
    """

    def __init__(self, first):
        self._first = first
        self._opens = itertools.count(1)

    def next_open(self, seen):
        is_open = seen.method == "POST" and seen.path == "/api/sessions"
        return seen.number > self._first and is_open and next(self._opens) > 1

    def last_words(self, seen):
        return seen.number > self._first and ROTATED in (seen.body or b"")

    def end(self, seen):
        return seen.number > self._first and seen.path.endswith("/end")


def moments(first):
    return [getattr(Moments(first), name) for name in ("next_open", "last_words", "end")]


def unended(trial):
    """Return the ids of sessions that got the application's records and are not ended."""
    report = trial.compare()
    return [
        each["id"]
        for each in trial.sessions()
        if each["id"] not in report.empty_sessions and not each.get("ended_at")
    ]


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_a_kill_at_any_request_of_a_rotation_loses_nothing_and_makes_no_copy(trial, proxy, scaled):
    """Once: each session but orphans without records is ended."""
    kills = 0
    for _ in range(scaled(1, 25)):
        for place, is_applied in itertools.product(range(3), (False, True)):
            is_struck = moments(len(proxy.log))[place]
            proxy.rule(Kill(trial, is_applied), is_struck, times=1)
            trial.start(RECORDS, rotate_after=10, window=(1, 64)[kills % 2])
            trial.application.wait(expect=-signal.SIGKILL)
            kills += 1
    trial.start(RECORDS, rotate_after=10)
    trial.await_arrived(within=scaled(120, 600))
    # All but the last one of the run that still lives.
    wait_until(lambda: len(unended(trial)) == 1)
    trial.leave()
    assert proxy.struck["kill"] == kills
    trial.check(allow={"split": kills + 1})
    trial.check_no_losses()
    assert not unended(trial)
