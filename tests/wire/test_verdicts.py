"""Promises of the pure decisions: what each failure means, and how long it makes wait."""

from __future__ import absolute_import, division

import random

import hypothesis
import pytest
from hypothesis import strategies

from datacat import errors
from datacat.wire import verdicts


def error(kind, **evidence):
    return kind("it failed", **evidence)


@pytest.mark.parametrize(
    "failure, meaning",
    [
        (None, verdicts.DELIVERED),
        (error(errors.NotSent), verdicts.NOT_APPLIED),
        (error(errors.TlsFailure), verdicts.NOT_APPLIED),
        (error(errors.OutcomeUnknown), verdicts.AMBIGUOUS),
        (error(errors.ServerFault, status=500), verdicts.AMBIGUOUS),
        (error(errors.ServerFault, status=502), verdicts.AMBIGUOUS),
        (error(errors.UnexpectedAnswer, status=200), verdicts.AMBIGUOUS),
        (error(errors.ServerBusy, status=503), verdicts.BUSY),
        (error(errors.SessionNotFound, status=404), verdicts.SESSION_LOST),
        (error(errors.RequestRefused, status=400, own_words=True), verdicts.POISON),
        (error(errors.RequestRefused, status=422, own_words=True), verdicts.POISON),
        (error(errors.RequestRefused, status=413, own_words=True), verdicts.POISON),
        (error(errors.RequestRefused, status=413, own_words=False), verdicts.POISON),
        (error(errors.RequestRefused, status=400, own_words=False), verdicts.REFUSED),
        (error(errors.Redirected, status=302), verdicts.REFUSED),
        (error(errors.NotAuthorized, status=401), verdicts.REFUSED),
        (error(errors.NotAuthorized, status=403), verdicts.REFUSED),
        (error(errors.OperationUnknown, status=405), verdicts.REFUSED),
    ],
)
def test_each_failure_has_the_meaning_that_the_design_gives_it(failure, meaning):
    assert verdicts.verdict(failure) == meaning


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
def test_backoff_is_jittered_from_nothing_to_a_ceiling_that_doubles_up_to_30_seconds(
    attempt, ceiling
):
    assert verdicts.backoff(attempt, lambda: 0.0) == 0.05
    assert verdicts.backoff(attempt, lambda: 0.5) == ceiling / 2
    assert verdicts.backoff(attempt, lambda: 1.0) == ceiling


def test_backoff_really_spreads_over_the_whole_span():
    chance = random.Random(1).random
    waits = [verdicts.backoff(7, chance) for _ in range(200)]
    assert min(waits) < 1.0 and max(waits) > 29.0


@pytest.mark.parametrize(
    "kind", [errors.ServerBusy, errors.ServerFault, errors.NotAuthorized, errors.OperationUnknown]
)
def test_a_retry_after_is_obeyed_whatever_came_with_it_up_to_an_hour(kind):
    for asked, waited in ((0.5, 0.5), (7.0, 7.0), (3600.0, 3600.0), (10.0**9, 3600.0)):
        assert verdicts.pause(error(kind, retry_after=asked), 1, lambda: 0.1) == waited


def test_the_first_ambiguous_failure_is_looked_into_at_once_and_the_next_ones_later():
    failure = error(errors.OutcomeUnknown)
    assert verdicts.pause(failure, 1, lambda: 1.0) == 0.1
    assert verdicts.pause(failure, 2, lambda: 1.0) == 0.5
    assert verdicts.pause(failure, 3, lambda: 1.0) == 1.0


@pytest.mark.parametrize("kind", [errors.NotSent, errors.ServerBusy])
def test_what_was_not_applied_is_tried_again_after_a_backoff(kind):
    assert [verdicts.pause(error(kind), attempt, lambda: 1.0) for attempt in (1, 2, 7)] == [
        0.5,
        1.0,
        30.0,
    ]


@pytest.mark.parametrize(
    "kind",
    [errors.NotAuthorized, errors.Redirected, errors.OperationUnknown, errors.RequestRefused],
)
def test_what_is_refused_is_asked_again_every_30_seconds(kind):
    assert verdicts.pause(error(kind), 1, lambda: 0.0) == 30.0


def test_only_one_ambiguous_failure_says_nothing_of_the_server():
    assert verdicts.is_blip(error(errors.OutcomeUnknown), 1)
    assert not verdicts.is_blip(error(errors.OutcomeUnknown), 2)
    assert not verdicts.is_blip(error(errors.NotSent), 1)
    assert not verdicts.is_blip(error(errors.UnexpectedAnswer), 1)


@pytest.mark.parametrize(
    "kind, status, blamed",
    [
        (errors.NotAuthorized, 401, False),
        (errors.NotAuthorized, 407, False),
        (errors.Redirected, 302, False),
        (errors.NotAuthorized, 403, True),
        (errors.OperationUnknown, 451, True),
        (errors.RequestRefused, 400, True),
    ],
)
def test_a_wrong_key_and_a_redirect_are_never_a_record_s_fault(kind, status, blamed):
    assert verdicts.may_be_the_record(error(kind, status=status)) is blamed


@pytest.mark.parametrize(
    "kind, status, own_words, recognised, own",
    [
        (errors.RequestRefused, 400, True, False, True),
        (errors.RequestRefused, 400, False, True, False),
        (errors.NotAuthorized, 401, True, False, True),
        (errors.NotAuthorized, 401, False, True, False),
        (errors.NotAuthorized, 403, True, True, True),
        (errors.NotAuthorized, 403, True, False, False),
        (errors.NotAuthorized, 403, False, True, False),
    ],
)
def test_a_403_is_a_datacat_server_s_own_only_where_one_is_known_to_be_there(
    kind, status, own_words, recognised, own
):
    refusal = error(kind, status=status, own_words=own_words)
    assert verdicts.is_own_refusal(refusal, recognised) is own


def test_nothing_but_a_refusal_is_one():
    assert not verdicts.is_own_refusal(error(errors.NotSent), True)


@pytest.mark.parametrize(
    "kind, stops",
    [
        (errors.NotSent, True),
        (errors.ServerBusy, True),
        (errors.OutcomeUnknown, True),
        (errors.UnexpectedAnswer, True),
        (errors.ServerFault, False),
        (errors.OperationUnknown, False),
        (errors.SessionNotFound, False),
    ],
)
def test_a_heartbeat_s_failure_stops_the_rest_only_where_the_way_is_at_fault(kind, stops):
    assert verdicts.is_about_the_way(error(kind)) is stops


def test_a_record_is_poison_after_ten_failures_and_ten_minutes_not_after_one_of_both():
    assert verdicts.is_poisoned(10, 0.0, 600.0)
    assert not verdicts.is_poisoned(9, 0.0, 6000.0)
    assert not verdicts.is_poisoned(100, 0.0, 599.0)


def test_a_read_back_is_over_after_three_answers_five_seconds_of_silence_or_a_minute():
    answered, silent = error(errors.ServerFault, status=500), error(errors.OutcomeUnknown)
    assert verdicts.read_back_is_over(answered, 3, 0.0, 0.0)
    assert not verdicts.read_back_is_over(answered, 2, 0.0, 59.0)
    assert not verdicts.read_back_is_over(silent, 9, 0.0, 4.9)
    assert verdicts.read_back_is_over(silent, 3, 0.0, 5.0)
    assert not verdicts.read_back_is_over(silent, 2, 0.0, 59.0)
    assert verdicts.read_back_is_over(silent, 1, 0.0, 60.0)


def test_looks_that_fail_stand_two_seconds_apart_at_most():
    """So that it is decided soon after the five seconds, however often looks failed."""
    fault = error(errors.ServerFault, status=500)
    assert verdicts.read_back_pause(fault, 1, lambda: 0.999) == verdicts.READ_BACK_DELAY
    assert all(
        0.9 < verdicts.read_back_pause(fault, failures, lambda: 0.999) <= 2.0
        for failures in range(3, 50)
    )


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.DatacatError)
]


@hypothesis.given(
    strategies.sampled_from(sorted(KINDS, key=lambda kind: kind.__name__)),
    strategies.sampled_from([None, 200, 302, 400, 401, 403, 404, 413, 500, 503]),
    strategies.one_of(strategies.none(), strategies.floats(0.001, 10**9)),
    strategies.integers(1, 10**9),
    strategies.floats(0, 0.999999),
)
def test_no_failure_is_without_a_verdict_and_every_pause_is_within_an_hour(
    kind, status, wait, attempt, jitter
):
    failure = error(kind, status=status, retry_after=wait)
    assert verdicts.verdict(failure) in (
        verdicts.NOT_APPLIED,
        verdicts.AMBIGUOUS,
        verdicts.BUSY,
        verdicts.SESSION_LOST,
        verdicts.POISON,
        verdicts.REFUSED,
    )
    assert 0 < verdicts.pause(failure, attempt, lambda: jitter) <= 3600
