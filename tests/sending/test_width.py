"""Promises about how many records may be in flight."""

from __future__ import absolute_import, division

import pytest

from datacat.sending.width import (
    BYTES,
    LONGEST_COOL_DOWN,
    NARROW,
    SECONDS,
    SHORTEST_COOL_DOWN,
    SINGLES,
    Width,
)


@pytest.fixture
def wide():
    width = Width(64)
    width.keeps_order()
    for _ in range(4):
        width.went_well(width.records(0.0), 10**6, 0.1)
    assert width.records(0.0) == 64
    return width


def test_it_does_not_grow_before_the_order_was_checked():
    width = Width(64)
    for _ in range(10):
        width.went_well(NARROW, 4000, 0.1)
    assert width.records(0.0) == NARROW


def test_it_grows_only_by_windows_that_were_full(wide):
    wide.broke()
    wide.went_well(5, 2000, 0.1)
    assert wide.records(0.0) == 32
    wide.went_well(32, 2000, 0.1)
    assert wide.records(0.0) == 64


@pytest.mark.parametrize("rate", [2000, 4000, 20000])
def test_a_window_takes_about_two_seconds_of_the_line(rate):
    width = Width(64)
    for _ in range(10):
        width.went_well(8, width.bytes, width.bytes / rate)
    assert width.bytes == SECONDS * rate


def test_a_small_window_does_not_make_the_line_look_slow(wide):
    before = wide.bytes
    wide.went_well(1, 300, 0.6)
    assert wide.bytes == before == BYTES


def test_a_line_that_got_slower_is_noticed(wide):
    wide.went_well(64, 100000, 25.0)
    wide.went_well(64, 200000, 50.0)
    assert wide.bytes == SECONDS * 4000


def test_each_refusal_ends_windows_for_twice_as_long(wide):
    now, expected = 1000.0, SHORTEST_COOL_DOWN
    for _ in range(8):
        wide.refused(now)
        assert wide.records(now + expected - 1) == 1
        assert wide.records(now + expected) == NARROW
        now += expected
        expected = min(LONGEST_COOL_DOWN, 2 * expected)
    assert expected == LONGEST_COOL_DOWN


def test_on_a_line_that_breaks_again_and_again_records_go_one_by_one(wide):
    """Until some of them went well."""
    for _ in range(6):
        wide.broke()
    assert wide.records(0.0) == 1
    for _ in range(SINGLES - 1):
        wide.one_went_well()
    assert wide.records(0.0) == 1
    wide.broke()
    for _ in range(SINGLES):
        assert wide.records(0.0) == 1
        wide.one_went_well()
    assert wide.records(0.0) == 2
    wide.went_well(2, 600, 0.1)
    wide.went_well(4, 1200, 0.1)
    assert wide.records(0.0) == 8


@pytest.mark.parametrize("limit", [2, 3, 64])
def test_single_records_that_go_well_make_it_as_wide_as_at_first(limit):
    """Narrower windows may have too few records to show that the server keeps their order."""
    width = Width(limit)
    width.broke()
    for _ in range(10 * SINGLES):
        width.one_went_well()
    assert width.records(0.0) == min(limit, NARROW)


@pytest.mark.parametrize("limit", [1, 2, 3, 64])
def test_no_window_exceeds_the_limit(limit):
    width = Width(limit)
    width.keeps_order()
    for _ in range(20):
        assert width.records(0.0) <= limit
        width.went_well(width.records(0.0), 10000, 0.1)


def test_turned_off_it_stays_one(wide):
    wide.turn_off()
    wide.keeps_order()
    wide.went_well(1, 1000, 0.1)
    assert wide.records(10**9) == 1
