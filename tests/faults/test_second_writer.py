"""Once (2): with a second writer in the session, records that may be there twice are counted."""

from __future__ import absolute_import, division

import os

import pytest
from tools.call_times import SICK_DISK
from tools.faults import LoseAnswer, every, is_write, one_in
from tools.host import application, await_word, events_of, said, tell
from tools.invariants import OWN_EVENTS
from tools.waiting import wait_until

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


# Its child logs for the first time when it is told to.
LEAVES_AN_ORPHAN = u"""
session = open_session(connect_wait=120)
session.log_event("first")
assert session.flush(120)
if os.fork():
    os._exit(0)
wait_for("orphan")
session.log_event("from the orphan")
say("orphan", flushed=session.flush(120))
os._exit(0)
"""

CONTINUES_ITS_OUTBOX = u"""
from datacat.process import registry
session = open_session(connect_wait=120)
say("continued", outbox=os.path.basename(registry.pipelines()[0].outbox.path))
wait_for("next")
for number in range(8):
    session.log_event("own", {"number": number})
    while not session.flush(120):
        pass  # it gives up when an answer is lost
say("sent", **session.stats())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_orphan_makes_no_copies_in_sessions_that_it_does_not_share(
    server, proxy, spool, tmp_path
):
    """It logs for the first time when another run has continued its dead parent's outbox."""
    env = {"DATACAT_SPOOL_DIR": str(spool)}
    with application(LEAVES_AN_ORPHAN, tmp_path, proxy.url, env=env) as parent:
        wait_until(lambda: parent.returncode is not None)
        (left,) = [name for name in os.listdir(str(spool)) if name.endswith(".outbox")]
        with application(CONTINUES_ITS_OUTBOX, tmp_path, proxy.url, env=env) as successor:
            assert await_word(successor, "continued") == {"outbox": left}
            tell(tmp_path, "orphan")
            wait_until(lambda: said(parent, "orphan"))
            by_turns = every(2)
            proxy.rule(LoseAnswer(), lambda seen: b'"own"' in seen.body and by_turns(seen))
            tell(tmp_path, "next")
            sent = await_word(successor, "sent")
            successor.wait()
    assert proxy.struck["lose_answer"] == 4
    assert sent["possibly_twice"] == 0
    assert [data["number"] for data in events_of(server.sessions(), "own")] == list(range(8))
