"""Promises about verdicts: what each failure means for a record, and when the client gives up."""

from __future__ import absolute_import, division

import hypothesis
import pytest
from hypothesis import strategies
from tools.failures import KINDS, STATUSES, error

from datacat import errors
from datacat.wire import verdicts


@pytest.mark.parametrize(
    "failure, meaning",
    [
        (error(errors.NotSent), verdicts.NOT_APPLIED),
        (error(errors.TlsFailure), verdicts.NOT_APPLIED),
        (error(errors.CutShort), verdicts.CUT_SHORT),
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
def test_each_failure_has_its_verdict(failure, meaning):
    assert verdicts.verdict(failure) == meaning


def test_a_single_ambiguous_failure_does_not_mean_that_the_server_is_away():
    assert verdicts.is_blip(error(errors.OutcomeUnknown), 1)
    assert not verdicts.is_blip(error(errors.OutcomeUnknown), 2)
    assert not verdicts.is_blip(error(errors.NotSent), 1)
    assert not verdicts.is_blip(error(errors.CutShort), 1)
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
def test_a_wrong_key_and_a_redirect_are_never_the_records_fault(kind, status, blamed):
    assert verdicts.may_be_the_records_fault(error(kind, status=status)) is blamed


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
def test_a_403_is_a_datacat_servers_only_where_one_was_recognised(
    kind, status, own_words, recognised, own
):
    refusal = error(kind, status=status, own_words=own_words)
    assert verdicts.is_own_refusal(refusal, recognised) is own


def test_other_failures_are_not_refusals():
    assert not verdicts.is_own_refusal(error(errors.NotSent), True)


@pytest.mark.parametrize(
    "kind, stops",
    [
        (errors.NotSent, True),
        (errors.CutShort, True),
        (errors.ServerBusy, True),
        (errors.OutcomeUnknown, True),
        (errors.UnexpectedAnswer, True),
        (errors.ServerFault, False),
        (errors.OperationUnknown, False),
        (errors.SessionNotFound, False),
    ],
)
def test_a_failed_heartbeat_stops_the_others_only_if_they_would_fail_too(kind, stops):
    assert verdicts.would_meet_any_request(error(kind)) is stops


def test_the_third_refusal_in_a_row_in_the_same_words_is_suspicious():
    assert [verdicts.is_suspicious(refusals) for refusals in (1, 2, 3, 4)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_record_is_poison_after_ten_failures_and_ten_minutes_not_after_one_of_them():
    assert verdicts.is_poisoned(10, 0.0, 600.0)
    assert not verdicts.is_poisoned(9, 0.0, 6000.0)
    assert not verdicts.is_poisoned(100, 0.0, 599.0)


def test_read_backs_end_after_three_answers_five_seconds_of_silence_or_a_minute():
    answered, silent = error(errors.ServerFault, status=500), error(errors.OutcomeUnknown)
    assert verdicts.read_back_is_over(answered, 3, 0.0, 0.0)
    assert not verdicts.read_back_is_over(answered, 2, 0.0, 59.0)
    assert not verdicts.read_back_is_over(silent, 9, 0.0, 4.9)
    assert verdicts.read_back_is_over(silent, 3, 0.0, 5.0)
    assert not verdicts.read_back_is_over(silent, 2, 0.0, 59.0)
    assert verdicts.read_back_is_over(silent, 1, 0.0, 60.0)


@hypothesis.given(
    strategies.sampled_from(KINDS),
    strategies.sampled_from(STATUSES),
)
def test_every_failure_has_a_verdict(kind, status):
    assert verdicts.verdict(error(kind, status=status)) in (
        verdicts.NOT_APPLIED,
        verdicts.CUT_SHORT,
        verdicts.AMBIGUOUS,
        verdicts.BUSY,
        verdicts.SESSION_LOST,
        verdicts.POISON,
        verdicts.REFUSED,
    )
