"""Once (2): with a second writer in the session, records that may be there twice are counted."""

from __future__ import absolute_import, division

import os

import pytest
from tools.call_times import SICK_DISK
from tools.faults import LoseAnswer, is_write, one_in
from tools.host import events_of
from tools.invariants import OWN_EVENTS

BOTH_GENERATIONS = True
ASIDE = "aside"


def mark_of(item):
    """Return the recorder's mark of an event or metric, or None if it has none."""
    marks = [tag[5:] for tag in item.get("tags") or () if tag.startswith("mark:")]
    return marks[0] if marks else (item.get("data") or {}).get("mark")


def check_order_of_each_writer(sessions):
    """Check that the first arrivals of each writer's records, by number, are in order."""
    for items in [session[kind] for session in sessions for kind in ("events", "metrics")]:
        latest, known = {}, set()
        for mark in filter(None, map(mark_of, items)):
            if mark not in known:
                known.add(mark)
                writer, number = mark.rsplit(".", 1)
                assert int(number) > latest.get(writer, 0), "%s came late" % mark
                latest[writer] = int(number)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(
            "fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
        ),
        "client",
    ],
)
def test_with_a_second_writer_nothing_is_lost_and_possible_copies_are_counted(
    trial, proxy, scaled, second
):
    """Once: v1 tells records apart by their times; on classic each doubt is a counted copy."""
    records = scaled(60, 1500)
    by_chance = one_in(10, seed=3)
    proxy.rule(
        LoseAnswer(),
        lambda seen: (is_write(seen) and b'"aside"' not in seen.body and by_chance(seen)),
    )
    trial.start(records, seconds_between=0.002, source="two_writers.py", second=second)
    trial.await_drained(within=scaled(120, 900))
    if second == "fork":
        trial.counted.append(trial.said("CHILD", timeout=scaled(120, 300)))
    trial.leave()
    struck = proxy.struck["lose_answer"]
    assert struck >= records / 15
    counted = check_what_was_counted(trial, struck)
    report = trial.check(
        allow={"twice": counted, "out_of_order": float("inf")},
        longest_wait=SICK_DISK,
        own_events=OWN_EVENTS | {ASIDE},
    )
    assert bool(report.deviations["twice"]) == trial.server.classic
    sessions = trial.sessions()
    check_order_of_each_writer(sessions)
    asides = [data["number"] for data in events_of(sessions, ASIDE)]
    assert asides == (list(range(0, records, 3)) if second == "client" else [])


def check_what_was_counted(trial, struck):
    """Return how many records were sent in doubt: on classic at most one per lost answer."""
    losses = trial.losses()
    counted = losses.pop("possibly_twice")
    assert not any(losses.values()), losses
    assert counted <= struck if trial.server.classic else counted == 0
    return counted
