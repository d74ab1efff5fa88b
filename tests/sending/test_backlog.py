"""Promises about the backlog: ten minutes of growth are warned of once, with the cause."""

from __future__ import absolute_import, division

import pytest
from tools.memory_server import refuse
from tools.sending import log

from datacat.sending.backlog import Backlog, cause
from datacat.sending.pace import Pace

# -- what is said


def test_a_backlog_that_grows_for_ten_minutes_is_warned_of_once_with_its_cause(classic):
    classic.run(1)

    def slow(server, request):
        server.world.pass_(1.0)
        return server.answer(request)

    classic.server.fault = slow
    for _ in range(500):
        log(classic)
        classic.run(2)
    (warning,) = classic.warnings.about("backlog")
    assert "records wait: the server takes 1 s for each request" in warning


def test_a_backlog_behind_a_dead_server_names_the_error(v1):
    v1.server.fault = refuse
    for _ in range(200):
        log(v1)
        v1.run(5)
    (warning,) = v1.warnings.about("backlog")
    assert "connection refused" in warning


def test_a_burst_that_is_being_delivered_is_no_backlog(classic):
    classic.server.timeout = 1.0
    log(classic, ["x"] * 2000)
    classic.drain()
    classic.run(2000)
    assert not classic.warnings.about("backlog")


def test_more_and_more_records_that_are_all_delivered_are_no_backlog(classic):
    for number in range(1, 8):
        log(classic, ["x"] * number)
        classic.drain()
        classic.run(299)
    assert not classic.warnings.about("backlog")


# -- its cause


def paced(*exchanges):
    """Return the pace of some exchanges, each (how many requests, bytes of each, seconds)."""
    pace = Pace()
    for count, size, seconds in exchanges:
        pace.note([size] * count, seconds)
    return pace


FAR = [(1, 500, 0.6)] * 60
NEAR = [(1, 500, 0.02)] * 5
FULL_SPEED = [(64, 500, 0.8)] * 5
THIN = [(1, 500, 0.4)] * 2 + [(10, 500, 2.0)] * 30
TIRED = [(1, 500, 2.0)] * 30
TIRED_WINDOWS = [(4, 500, 8.0)] * 30
LARGE_RECORDS = [(1, 500, 0.25)] * 2 + [(1, 80000, 20.0)] * 30


@pytest.mark.parametrize(
    "exchanges, largest, window, words",
    [
        (FAR, 9000, 1, "each request takes 0.6 s, and with window=1 records go one by one"),
        (FAR, 9000, 64, "each request takes 0.6 s, and records go one by one"),
        (FULL_SPEED + FAR, 9000, 64, "each request takes 0.6 s, and records go one by one"),
        (THIN, 100, 64, "the line carries 4 kB/s"),
        (THIN, 9000, 64, "the line carries 4 kB/s"),
        ([(64, 500, 0.1)] * 30, 9000, 64, "the line carries 512 kB/s"),
        (LARGE_RECORDS, 100, 64, "the line carries 4 kB/s"),
        (
            NEAR + TIRED,
            9000,
            1,
            "the server takes 2 s for each request to a session with 9,000 records",
        ),
        (
            NEAR + FULL_SPEED + TIRED_WINDOWS,
            9000,
            64,
            "the server takes 2 s for each request to a session with 9,000 records",
        ),
        (TIRED_WINDOWS, 9000, 64, "the server takes 2 s for each request to a session with 9,000"),
        (NEAR + TIRED, 50, 64, "the server takes 2 s for each request: "),
    ],
)
def test_the_cause_is_what_was_measured(exchanges, largest, window, words):
    said = cause(paced(*exchanges), largest, window)
    assert said.startswith(words)
    assert ": " in said, "it says what to do"


def test_behind_a_long_way_with_window_1_a_backlog_names_both(make_bench):
    bench = make_bench(classic=True, window=1)

    def far(server, request):
        server.world.pass_(0.8)
        return server.answer(request)

    bench.server.fault = far
    bench.entry = bench.session()
    for _ in range(500):
        log(bench, ["x"] * 5)
        bench.run(2)
    (warning,) = bench.warnings.about("backlog")
    assert "each request takes 0.8 s, and with window=1 records go one by one" in warning


# -- when a backlog counts as one


def sampled(*samples):
    """Return for each (time, waiting records) whether they are a backlog by then."""
    backlog = Backlog()
    return [now >= backlog.due and backlog.grows(waiting, now) for now, waiting in samples]


def test_ten_minutes_of_growth_are_a_backlog_and_less_is_not():
    assert sampled((0, 10), (299, 20), (300, 20), (599, 30), (600, 30)) == [
        False,
        False,
        False,
        False,
        True,
    ]


def test_a_burst_that_shrinks_is_no_backlog():
    assert sampled((0, 10), (300, 9000), (600, 5000), (900, 1000)) == [False] * 4


def test_a_steady_number_of_waiting_records_is_no_backlog():
    assert sampled((0, 50), (300, 50), (600, 50), (900, 50)) == [False] * 4


def test_a_moment_without_waiting_records_starts_the_ten_minutes_again():
    backlog = Backlog()
    backlog.grows(1, 0.0)
    backlog.grows(2, 300.0)
    backlog.reset()
    assert not backlog.grows(3, 600.0)
    assert not backlog.grows(4, 900.0)
    assert backlog.grows(5, 1200.0)
