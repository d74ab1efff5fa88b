"""Promises about pauses: full jitter, Retry-After first, never over an hour and a quarter."""

from __future__ import absolute_import, division

import random

import hypothesis
import pytest
from hypothesis import strategies
from tools.failures import KINDS, STATUSES, error

from datacat import errors
from datacat.wire import backoff


@pytest.mark.parametrize(
    "attempt, ceiling",
    [
        (1, 0.5),
        (2, 1.0),
        (3, 2.0),
        (4, 4.0),
        (5, 8.0),
        (6, 16.0),
        (7, 30.0),
        (8, 30.0),
        (1000000, 30.0),
    ],
)
def test_backoff_has_full_jitter_below_a_ceiling_that_doubles_up_to_30_seconds(attempt, ceiling):
    assert backoff.backoff(attempt, lambda: 0.0) == 0.05
    assert backoff.backoff(attempt, lambda: 0.5) == ceiling / 2
    assert backoff.backoff(attempt, lambda: 1.0) == ceiling


@pytest.mark.parametrize(
    "unreachable, ceiling",
    [(0, 30.0), (600, 30.0), (1200, 60.0), (3000, 150.0), (6000, 300.0), (10**9, 300.0)],
)
def test_after_ten_minutes_without_the_server_the_ceiling_grows_to_five_minutes(
    unreachable, ceiling
):
    failure = error(errors.NotSent)
    assert backoff.pause(failure, 100, lambda: 1.0, unreachable) == ceiling
    assert backoff.pause(failure, 100, lambda: 0.5, unreachable) == ceiling / 2
    assert backoff.pause(failure, 1, lambda: 1.0, unreachable) == 0.5


def test_backoff_spreads_over_its_whole_range():
    chance = random.Random(1).random
    waits = [backoff.backoff(7, chance) for _ in range(200)]
    assert min(waits) < 1.0 and max(waits) > 29.0


@pytest.mark.parametrize(
    "kind", [errors.ServerBusy, errors.ServerFault, errors.NotAuthorized, errors.OperationUnknown]
)
def test_a_retry_after_is_obeyed_with_any_failure_up_to_an_hour(kind):
    for asked, waited in ((0.5, 0.5), (7.0, 7.0), (3600.0, 3600.0), (10.0**9, 3600.0)):
        assert backoff.pause(error(kind, retry_after=asked), 1, lambda: 0.0) == waited


@pytest.mark.parametrize("asked, spread", [(0.5, 1.0), (2.0, 1.0), (60.0, 15.0)])
def test_clients_that_were_told_the_same_do_not_come_back_at_the_same_moment(asked, spread):
    failure, chance = error(errors.ServerBusy, retry_after=asked), random.Random(1).random
    waits = [backoff.pause(failure, 1, chance) for _ in range(200)]
    assert asked <= min(waits) < asked + spread / 10
    assert asked + spread * 0.9 < max(waits) <= asked + spread


def test_an_open_that_is_not_understood_is_repeated_after_minutes():
    waits = [backoff.open_pause(attempt, lambda: 0.0) for attempt in range(1, 8)]
    assert waits == [15, 30, 60, 120, 240, 300, 300]
    assert backoff.open_pause(10**9, lambda: 0.999) < backoff.LONGEST_OPEN_PAUSE


def test_the_first_ambiguous_failure_is_read_back_at_once_and_the_next_ones_later():
    failure = error(errors.OutcomeUnknown)
    assert backoff.pause(failure, 1, lambda: 1.0) == 0.1
    assert backoff.pause(failure, 2, lambda: 1.0) == 0.5
    assert backoff.pause(failure, 3, lambda: 1.0) == 1.0


@pytest.mark.parametrize("kind", [errors.NotSent, errors.ServerBusy])
def test_a_request_that_was_not_applied_is_sent_again_after_a_backoff(kind):
    assert [backoff.pause(error(kind), attempt, lambda: 1.0) for attempt in (1, 2, 7)] == [
        0.5,
        1.0,
        30.0,
    ]


@pytest.mark.parametrize(
    "kind",
    [errors.NotAuthorized, errors.Redirected, errors.OperationUnknown, errors.RequestRefused],
)
def test_a_refused_request_is_tried_again_every_30_seconds(kind):
    assert backoff.pause(error(kind), 1, lambda: 0.0) == 30.0


def test_failed_read_backs_are_at_most_two_seconds_apart():
    """So that the question is settled soon after five seconds, however many have failed."""
    fault = error(errors.ServerFault, status=500)
    assert backoff.read_back_pause(fault, 1, lambda: 0.999) == backoff.READ_BACK_DELAY
    assert all(
        0.9 < backoff.read_back_pause(fault, failures, lambda: 0.999) <= 2.0
        for failures in range(3, 50)
    )


@hypothesis.given(
    strategies.sampled_from(KINDS),
    strategies.sampled_from(STATUSES),
    strategies.one_of(strategies.none(), strategies.floats(0.001, 10**9)),
    strategies.integers(1, 10**9),
    strategies.floats(0, 0.999999),
)
def test_every_pause_is_within_an_hour_and_a_quarter(kind, status, retry_after, attempt, jitter):
    failure = error(kind, status=status, retry_after=retry_after)
    assert 0 < backoff.pause(failure, attempt, lambda: jitter) <= 4500
