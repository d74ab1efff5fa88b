"""Judging the time of log calls: waiting for a processor is subtracted, nothing else."""

from __future__ import absolute_import, division

import json

import pytest

from tools.call_times import Starving, check_bounds, durations, seconds_starved


@pytest.fixture
def accepted(tmp_path):
    """Writes calls, pairs (milliseconds taken, milliseconds starved); returns the file."""

    def write(calls):
        path = tmp_path / "accepted.jsonl"
        with path.open("w", encoding="ascii") as stream:
            for number, (took, starved) in enumerate(calls):
                mark = "w.1.%d" % number
                for line in (
                    {"trying": mark, "session": "s", "kind": "event", "fields": {}},
                    {
                        "returned": mark,
                        "began": 10.0,
                        "ended": 10.0 + took / 1000,
                        "starved": starved / 1000,
                    },
                ):
                    stream.write(u"%s\n" % json.dumps(line))
        return str(path)

    return write


def test_only_the_wait_for_a_processor_is_subtracted(accepted):
    """60 ms, 40 of them starved, count as 20 ms; never less than 0."""
    assert [round(each, 6) for each in durations([accepted([(60, 40), (5, 9), (3, 0)])])] == [
        0.0,
        0.003,
        0.02,
    ]


def test_one_call_over_the_longest_is_a_failure(accepted):
    with pytest.raises(AssertionError, match="51.0 ms"):
        check_bounds([accepted([(1, 0)] * 500 + [(51, 0)])])


def test_two_of_a_hundred_calls_over_the_usual_are_a_failure(accepted):
    """p99 is asserted from 100 calls on."""
    check_bounds([accepted([(1, 0)] * 99 + [(6, 0)] * 1)], usual=0.006001)
    with pytest.raises(AssertionError, match="1% of 100 calls"):
        check_bounds([accepted([(1, 0)] * 98 + [(6, 0)] * 2)])


def test_starving_never_decreases():
    """The reading grows or stays the same; it is never negative."""
    before = seconds_starved()
    assert 0.0 <= before <= seconds_starved()


def test_of_the_other_threads_only_the_most_starved_counts(monkeypatch):
    """A call may have waited for one of them, not for all."""
    delays = {"own": 5, "holder": 10, "others": 7}
    monkeypatch.setattr("tools.call_times._own_task", lambda: "own")
    monkeypatch.setattr("tools.call_times._run_delays", lambda: dict(delays))
    starving = Starving()
    delays.update(own=6 * 10**9 + 5, holder=2 * 10**9 + 10, others=10**9 + 7, new=3)
    assert starving.seconds() == 8.0
