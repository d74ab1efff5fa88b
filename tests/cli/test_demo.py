"""The demo: its counting, and one small but complete run."""

from __future__ import absolute_import, division

import os
import re
import sys

import pytest
from tools.process import ChildProcess, environment

from datacat.cli import demo_tally
from datacat.cli.demo_tally import Count, Seen

GOOD = Count(accepted=3, delivered=3, lost=0, twice=0, out_of_order=0, unaccepted=0)
ALL_SEEN = Seen(crashes=1, hangs=1, recoveries=1)


def test_accepted_numbers_are_read_back_without_a_line_that_a_kill_cut_off():
    lines = demo_tally.accepted_line(1) + demo_tally.accepted_line(23) + b"2"
    assert demo_tally.accepted_numbers(lines) == {1, 23}
    assert demo_tally.accepted_numbers(b"") == set()


def test_delivered_numbers_are_found_in_events_metrics_and_states_and_nothing_else():
    sessions = [
        {
            "events": [
                {"name": "seen", "data": demo_tally.mark("a", 1)},
                {"name": "application_recovered", "data": {"hung_seconds": 2}},
                {"name": "bare", "data": None},
            ],
            "metrics": [
                {"name": "m", "tags": ["x:y", demo_tally.tag("a", 2)]},
                {"name": "untagged"},
            ],
            "state_history": [{"state": {"product": "p"}}, {"state": demo_tally.mark("a", 3)}],
        },
        {
            "events": [{"name": "seen", "data": demo_tally.mark("b", 1)}],
            "metrics": None,
            "state_history": None,
        },
    ]
    assert demo_tally.delivered_numbers(sessions) == {
        "a": {"event": [1], "metric": [2], "state": [3]},
        "b": {"event": [1]},
    }


def test_everything_delivered_once_and_in_order_counts_as_such():
    assert demo_tally.count({1, 2, 3}, {"event": [1, 3], "metric": [2]}) == GOOD


def test_a_missing_record_is_lost():
    assert demo_tally.count({1, 2, 3}, {"event": [1, 3]}) == GOOD._replace(delivered=2, lost=1)
    assert demo_tally.count({1, 2, 3}, {}) == GOOD._replace(delivered=0, lost=3)


def test_each_further_copy_counts_as_twice_and_not_as_out_of_order():
    assert demo_tally.count({1, 2, 3}, {"event": [1, 2, 1, 1, 3]}) == GOOD._replace(twice=2)


def test_a_record_that_arrives_after_a_later_one_of_its_kind_is_out_of_order():
    assert demo_tally.count({1, 2, 3}, {"event": [2, 3, 1]}) == GOOD._replace(out_of_order=1)


@pytest.mark.parametrize(
    "killed, extra, unaccepted",
    [(True, [4], 0), (True, [5], 1), (True, [4, 5], 1), (False, [4], 1)],
)
def test_after_a_kill_one_record_more_than_accepted_may_arrive(killed, extra, unaccepted):
    count = demo_tally.count({1, 2, 3}, {"event": [1, 2, 3] + extra}, killed=killed)
    assert count == GOOD._replace(unaccepted=unaccepted)


def test_crashes_are_sessions_and_hangs_and_recoveries_are_events():
    sessions = [
        {
            "crashed": True,
            "events": [
                {"name": "application_appears_hung"},
                {"name": "application_recovered"},
                {"name": "session_crashed_detected"},
            ],
        },
        {"crashed": False, "events": None},
    ]
    assert demo_tally.seen(sessions) == ALL_SEEN


@pytest.mark.parametrize(
    "total, saw, held",
    [
        (GOOD, ALL_SEEN, True),
        (GOOD, ALL_SEEN._replace(hangs=2), True),
        (GOOD, ALL_SEEN._replace(crashes=0), False),
        (GOOD, ALL_SEEN._replace(recoveries=0), False),
        (GOOD._replace(delivered=2, lost=1), ALL_SEEN, False),
        (GOOD._replace(twice=1), ALL_SEEN, False),
        (GOOD._replace(out_of_order=1), ALL_SEEN, False),
        (GOOD._replace(unaccepted=1), ALL_SEEN, False),
        (GOOD._replace(accepted=0, delivered=0), ALL_SEEN, False),
    ],
)
def test_the_promises_held_only_when_all_arrived_once_in_order_and_all_faults_were_seen(
    total, saw, held
):
    assert demo_tally.held(total, saw) is held


def test_the_table_has_a_row_for_each_application_and_columns_that_line_up():
    lines = demo_tally.table([("a", GOOD), ("together", GOOD._replace(lost=12345))], ALL_SEEN)
    assert len(set(map(len, lines[:4]))) == 1
    assert lines[0].split() == [
        "accepted",
        "delivered",
        "lost",
        "twice",
        "out",
        "of",
        "order",
        "never",
        "accepted",
    ]
    assert lines[2].split() == ["a", "3", "3", "0", "0", "0", "0"]
    assert lines[3].split() == ["together", "3", "3", "12345", "0", "0", "0"]
    assert "crashes seen 1" in lines[-1]


@pytest.mark.skipif(sys.version_info < (3, 9), reason="the demo runs a collector: Python 3.9")
def test_the_demo_loses_nothing_and_leaves_nothing_behind(tmp_path):
    """Runs the command with few records: table, exit code, no file left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    demo = ChildProcess(
        [sys.executable, "-m", "datacat", "demo", "--records", "300"],
        environment(
            {
                "TMPDIR": str(temporary),
                "TEMP": str(temporary),
                "TMP": str(temporary),
                "DATACAT_DISABLED": "1",
            }
        ),
    )
    try:
        code = demo.wait(600)
        output = demo.output
    finally:
        demo.close()
    assert code == 0, output
    together = re.search(r"^together +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", output, re.M)
    accepted, delivered, lost, twice, out_of_order, unaccepted = map(int, together.groups())
    assert accepted == delivered >= 300
    assert (lost, twice, out_of_order, unaccepted) == (0, 0, 0, 0)
    assert re.search(r"crashes seen 1, hangs seen [1-9]\d*, recoveries seen [1-9]", output)
    assert os.listdir(str(temporary)) == []


@pytest.mark.skipif(sys.version_info >= (3, 9), reason="here the demo runs")
def test_an_old_python_is_told_which_one_the_demo_needs():
    demo = ChildProcess([sys.executable, "-m", "datacat", "demo"], environment())
    try:
        assert demo.wait(120) == 1
        assert "needs Python 3.9 or newer" in demo.output
    finally:
        demo.close()
