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


def test_a_missed_target_is_shown_and_only_a_count_over_it_fails():
    reached = measuring.plain("way in", 20, "calls", at_most=20)
    grown = measuring.plain("way in", 21, "calls", at_most=20)
    larger = measuring.compared("body", 300.0, "bytes", "classic", 200.0, at_most=1.1)
    other_python = measuring.plain("way in", 600, "bytecodes", at_most=540)
    slow_machine = measuring.plain("start", 1000.0, "us", at_most=20)
    slow_beside = measuring.compared("call", 90.0, "us", "floor", 2.0, at_most=1.7)
    no_target = measuring.plain("way in", 26, "calls")
    too_few = measuring.plain("drain", 15.0, "records/s", at_least=16)
    enough = measuring.compared("drain", 30.0, "records/s", "window=1", 3.0, at_least=10)
    rows = [reached, grown, larger, other_python, slow_machine, slow_beside, no_target]
    rows += [too_few, enough]
    shown = ["yes", "NO", "NO", "NO", "NO", "NO", "", "NO", "yes"]
    assert [measuring.cells(row)[-1] for row in rows] == shown
    assert measuring.grown(rows) == [grown, larger]
    assert [measuring.cells(row)[-2] for row in (reached, slow_beside, too_few, enough)] == [
        "<= 20 calls",
        "<= 1.7 x",
        ">= 16 records/s",
        ">= 10 x",
    ]
