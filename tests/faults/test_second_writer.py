"""Once (2): where somebody else writes into the session too, what may be twice is counted."""
from __future__ import absolute_import, division

import os

import pytest
from tools.faults import LoseAnswer, is_write, one_in
from tools.invariants import OWN_EVENTS

BOTH_GENERATIONS = True
ASIDE = "aside"


def check_order_of_each_writer(sessions):
    """Each writer's first arrivals are in its own order; marks are numbered by each writer."""
    for session in sessions:
        latest, known = {}, set()
        for event in session["events"]:
            mark = event["data"].get("mark")
            if mark is not None and mark not in known:
                known.add(mark)
                writer, number = mark.rsplit(".", 1)
                assert int(number) > latest.get(writer, 0), "%s came late" % mark
                latest[writer] = int(number)


@pytest.mark.parametrize("second", [
    pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")),
    "client"])
def test_with_a_second_writer_nothing_is_lost_and_what_may_be_twice_is_counted(
        trial, proxy, scaled, second):
    """Once: v1 tells records apart by their time; on classic each doubt makes a counted copy."""
    by_chance = one_in(10, seed=3)
    proxy.rule(LoseAnswer(), lambda seen: (
        is_write(seen) and b'"aside"' not in seen.body and by_chance(seen)))
    trial.start(scaled(80, 1500), seconds_between=0.002, source="two_writers.py", second=second)
    trial.await_drained(within=scaled(60, 900))
    if second == "fork":
        trial.stats.append(trial.said("CHILD", timeout=scaled(30, 300)))
    trial.leave()
    struck = proxy.struck["lose_answer"]
    assert struck >= scaled(3, 50)
    losses = trial.losses()
    counted = losses.pop("possibly_twice")
    assert not any(losses.values()), losses
    assert counted <= struck if trial.server.classic else counted == 0
    report = trial.check(
        allow={"twice": counted, "out_of_order": float("inf")},
        own_events=OWN_EVENTS | {ASIDE})
    assert bool(report.deviations["twice"]) == trial.server.classic
    check_order_of_each_writer(trial.sessions())
