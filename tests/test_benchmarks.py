"""The benchmarks: a sink that works as a server, and the right verdict."""

from __future__ import absolute_import, division

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import measuring, sink


@pytest.mark.parametrize("generation", ["v1", "classic"])
def test_a_session_takes_the_sink_for_a_server_and_all_its_records_arrive(
    generation, open_session
):
    with sink.Sink(generation) as server:
        session = open_session(server.url)
        session.log_event("event")
        session.log_metric("metric", 1)
        session.update_state({"text": "x" * 4000})
        session.end()
        stats = session.stats()
        received = server.received()
    assert (stats["waiting"], stats["sent"], stats["dead"]) == (0, 5, 0)
    assert stats["dialect"] == generation
    assert received["requests"] >= 5
    assert (received["body_bytes"] > 4000) is (generation == "classic"), "v1 gets gzip"


def test_the_sinks_own_speed_is_that_of_as_many_requests_as_asked_for():
    """How fast it is, is a row of benchmarks/drain.py."""
    with sink.Sink() as server:
        assert server.requests_a_second(count=50) > 0
        assert server.received()["requests"] == 50


def test_the_ratio_is_the_median_of_the_pairs():
    """A single disturbed pair changes nothing."""
    ours = [[2.0], [2.0], [90.0], [3.0], [2.0]]
    floor = [[1.0], [1.0], [1.0], [1.5], [60.0]]
    assert measuring.ratio_of(ours, floor) == 2.0


def test_a_missed_target_is_shown_and_only_twice_the_target_fails():
    reached = measuring.compared("what", 3.0, "us", "floor", 2.0, at_most=1.7)
    missed = measuring.compared("what", 6.0, "us", "floor", 2.0, at_most=1.7)
    rotten = measuring.compared("what", 7.0, "us", "floor", 2.0, at_most=1.7)
    slow_machine = measuring.plain("what", 1000.0, "us", at_most=20)
    no_target = measuring.compared("what", 50.0, "us", "floor", 2.0)
    rows = [reached, missed, rotten, slow_machine, no_target]
    assert [measuring.cells(row)[-1] for row in rows] == ["yes", "NO", "NO", "NO", ""]
    assert measuring.rotten(rows) == [rotten]
