"""The design's table as a table: what came back instead of an answer, and what is done then."""

from __future__ import absolute_import, division

import hypothesis
import pytest
from hypothesis import strategies

from datacat import errors
from datacat.records import kinds
from datacat.sending import acts, decisions
from datacat.sending.decisions import (
    ANSWERED,
    ASK_HEALTH,
    AWAIT_QUIET,
    BLAME,
    BURY,
    COMPLAIN,
    DOUBT,
    EVERYTHING_WAITS,
    HAND_ON,
    LOST,
    OPEN_LATER,
    PROBE,
    READ_BACK_LATER,
    REOPEN,
    REOPEN_LATER,
    ROTATE_LATER,
    SEND_AGAIN,
    SEND_IN_DOUBT,
    SESSION_WAITS,
    SHARE,
    SLOW_DOWN,
    SUSPECT_NEXT,
    UNANSWERED,
    Known,
)
from datacat.sending.doubt import Doubt, after_failed_read_back, after_read_back
from datacat.wire.readback import ABSENT, UNKNOWABLE

KNOWN_WORDS = "Invalid request body"


def failure(kind, status=None, words=None, **evidence):
    return kind("it failed", status=status, words=words, **evidence)


NOT_SENT = failure(errors.NotSent)
CUT_SHORT = failure(errors.CutShort)
TIMEOUT = failure(errors.OutcomeUnknown)
PORTAL = failure(errors.UnexpectedAnswer, 200, "<html>")
RIDDLE = failure(errors.UnexpectedAnswer, 200, '{"result":{"id":"s"}}')
FAULT = failure(errors.ServerFault, 500)
BUSY = failure(errors.ServerBusy, 503)
GONE = failure(errors.SessionNotFound, 404, "session not found")
OWN_400 = failure(errors.RequestRefused, 400, KNOWN_WORDS)
OTHER_400 = failure(errors.RequestRefused, 400, "Bad Request")
TOO_LARGE = failure(errors.RequestRefused, 413, "<html>", own_words=False)
FILTER_400 = failure(errors.RequestRefused, 400, "<html>", own_words=False)
FILTER_403 = failure(errors.NotAuthorized, 403, "<html>", own_words=False)
WRONG_KEY = failure(errors.NotAuthorized, 401, "Unauthorized")
PLAIN_403 = failure(errors.NotAuthorized, 403, "not this product")
REDIRECT = failure(errors.Redirected, 302)
UNKNOWN = failure(errors.OperationUnknown, 405)

FAILURES = [
    NOT_SENT,
    CUT_SHORT,
    TIMEOUT,
    PORTAL,
    FAULT,
    BUSY,
    GONE,
    OWN_400,
    OTHER_400,
    TOO_LARGE,
    FILTER_400,
    FILTER_403,
    WRONG_KEY,
    PLAIN_403,
    REDIRECT,
    UNKNOWN,
]


# -- sending


@pytest.mark.parametrize(
    "error, known, acts_then",
    [
        # Surely not applied, or busy: later
        (NOT_SENT, {}, (EVERYTHING_WAITS,)),
        (BUSY, {}, (EVERYTHING_WAITS,)),
        # Cut off in the middle: a cut line, or the record's own fault if the session can be read
        (CUT_SHORT, {}, PROBE),
        (CUT_SHORT, {"probed": UNANSWERED}, (EVERYTHING_WAITS,)),
        (CUT_SHORT, {"probed": ANSWERED}, (SESSION_WAITS, BLAME)),
        (CUT_SHORT, {"probed": LOST}, (REOPEN,)),
        (CUT_SHORT, {"is_repeated": True}, PROBE),
        (CUT_SHORT, {"is_repeated": True, "probed": ANSWERED}, (SESSION_WAITS, BLAME)),
        # Ambiguous: find out whether it arrived
        (TIMEOUT, {}, (EVERYTHING_WAITS, DOUBT)),
        (PORTAL, {}, (EVERYTHING_WAITS, DOUBT)),
        (FAULT, {}, (DOUBT,)),
        # ... or repeat it; if the session can be read, the record is to blame
        (TIMEOUT, {"is_repeated": True}, PROBE),
        (
            TIMEOUT,
            {"is_repeated": True, "probed": ANSWERED},
            (EVERYTHING_WAITS, SESSION_WAITS, BLAME),
        ),
        (FAULT, {"is_repeated": True, "probed": ANSWERED}, (SESSION_WAITS, BLAME)),
        (FAULT, {"is_repeated": True, "probed": UNANSWERED}, (SESSION_WAITS,)),
        # The server lost the session: open it again, but at most once in ten minutes
        (GONE, {}, (REOPEN,)),
        (GONE, {"may_reopen": False}, (REOPEN_LATER,)),
        (FAULT, {"is_repeated": True, "probed": LOST}, (REOPEN,)),
        # Refused in a datacat server's own words, or too large: a dead letter
        (OWN_400, {}, (BURY,)),
        (OWN_400, {"is_suspicious": True}, PROBE),
        (OWN_400, {"is_suspicious": True, "probed": ANSWERED}, (BURY,)),
        (OWN_400, {"is_suspicious": True, "probed": UNANSWERED}, (EVERYTHING_WAITS,)),
        (OWN_400, {"is_suspicious": True, "probed": LOST}, (REOPEN,)),
        (OTHER_400, {}, PROBE),
        (OTHER_400, {"probed": ANSWERED}, (BURY,)),
        (TOO_LARGE, {}, PROBE),
        (TOO_LARGE, {"probed": ANSWERED}, (BURY,)),
        (TOO_LARGE, {"probed": UNANSWERED}, (EVERYTHING_WAITS,)),
        # Every other refusal: everything waits, unless the session can be read
        (REDIRECT, {}, (EVERYTHING_WAITS,)),
        (WRONG_KEY, {}, (EVERYTHING_WAITS,)),
        (FILTER_403, {}, PROBE),
        (FILTER_403, {"probed": UNANSWERED}, (EVERYTHING_WAITS,)),
        (FILTER_403, {"probed": ANSWERED}, (SESSION_WAITS, COMPLAIN, BLAME)),
        (FILTER_400, {"probed": ANSWERED}, (SESSION_WAITS, COMPLAIN, BLAME)),
        (UNKNOWN, {"probed": ANSWERED}, (SESSION_WAITS, COMPLAIN, BLAME)),
        # Failed by itself ten times over ten minutes: a dead letter, whatever the failure
        (FILTER_403, {"probed": ANSWERED, "would_be_poisoned": True}, (BURY,)),
        (FAULT, {"is_repeated": True, "probed": ANSWERED, "would_be_poisoned": True}, (BURY,)),
        (CUT_SHORT, {"probed": ANSWERED, "would_be_poisoned": True}, (BURY,)),
        (FILTER_403, {"probed": UNANSWERED, "would_be_poisoned": True}, (EVERYTHING_WAITS,)),
        (CUT_SHORT, {"probed": UNANSWERED, "would_be_poisoned": True}, (EVERYTHING_WAITS,)),
    ],
)
def test_what_a_failed_attempt_to_send_leads_to(error, known, acts_then):
    assert decisions.after_failed_send(error, Known(**known)) == acts_then


# -- opening


@pytest.mark.parametrize(
    "error, recognised, acts_then",
    [
        (NOT_SENT, True, (EVERYTHING_WAITS,)),
        (CUT_SHORT, True, (EVERYTHING_WAITS,)),
        (BUSY, True, (EVERYTHING_WAITS,)),
        (TIMEOUT, True, (EVERYTHING_WAITS, SESSION_WAITS)),
        (PORTAL, True, (EVERYTHING_WAITS, SESSION_WAITS)),
        (RIDDLE, True, (EVERYTHING_WAITS, OPEN_LATER)),
        (FAULT, True, (SESSION_WAITS,)),
        (OWN_400, False, (HAND_ON, SESSION_WAITS, COMPLAIN)),
        (OTHER_400, False, (HAND_ON, SESSION_WAITS, COMPLAIN)),
        (FILTER_400, True, (EVERYTHING_WAITS,)),
        (WRONG_KEY, False, (HAND_ON, EVERYTHING_WAITS)),
        (PLAIN_403, True, (HAND_ON, EVERYTHING_WAITS)),
        (PLAIN_403, False, (EVERYTHING_WAITS,)),
        (FILTER_403, True, (EVERYTHING_WAITS,)),
        (REDIRECT, True, (EVERYTHING_WAITS,)),
        (UNKNOWN, True, (EVERYTHING_WAITS,)),
    ],
)
def test_what_a_failed_open_leads_to(error, recognised, acts_then):
    assert decisions.after_failed_open(error, Known(is_recognised=recognised)) == acts_then


# -- telling the generation


@pytest.mark.parametrize(
    "error, known, acts_then",
    [
        (NOT_SENT, {}, (EVERYTHING_WAITS,)),
        (CUT_SHORT, {}, (EVERYTHING_WAITS,)),
        (BUSY, {}, (EVERYTHING_WAITS,)),
        (OWN_400, {}, (EVERYTHING_WAITS,)),
        (FILTER_403, {}, (EVERYTHING_WAITS,)),
        (TIMEOUT, {}, (EVERYTHING_WAITS, SESSION_WAITS)),
        (FAULT, {}, (SESSION_WAITS,)),
        (GONE, {}, (REOPEN,)),
        (GONE, {"may_reopen": False}, (REOPEN_LATER,)),
    ],
)
def test_what_a_failure_to_recognise_the_server_leads_to(error, known, acts_then):
    assert decisions.after_failed_recognition(error, Known(**known)) == acts_then


# -- reading back


@pytest.mark.parametrize(
    "found, error, is_quiet, poisoned, acts_then",
    [
        (None, TIMEOUT, False, False, ()),
        (None, TIMEOUT, True, True, ()),
        (None, None, False, False, (SUSPECT_NEXT,)),
        (ABSENT, TIMEOUT, False, False, (AWAIT_QUIET,)),
        (ABSENT, None, False, False, (AWAIT_QUIET,)),
        (ABSENT, TIMEOUT, True, False, (BLAME, SLOW_DOWN, SEND_AGAIN)),
        (ABSENT, None, True, False, (SEND_AGAIN,)),
        (ABSENT, TIMEOUT, True, True, (BURY,)),
        (UNKNOWABLE, TIMEOUT, False, False, (BLAME, SLOW_DOWN, SEND_IN_DOUBT)),
        (UNKNOWABLE, TIMEOUT, False, True, (BURY,)),
        (UNKNOWABLE, None, False, False, (SEND_IN_DOUBT,)),
    ],
)
def test_what_an_answered_read_back_leads_to(found, error, is_quiet, poisoned, acts_then):
    doubt = Doubt(1, error, 0 if found is None else 1)
    doubt.is_quiet = is_quiet
    assert after_read_back(found, doubt, Known(would_be_poisoned=poisoned)) == acts_then


def test_what_was_in_doubt_but_not_at_hand_is_suspected_next():
    assert after_read_back(None, Doubt(1, TIMEOUT, 3), Known()) == (SUSPECT_NEXT,)


@pytest.mark.parametrize("found", [None, ABSENT, UNKNOWABLE])
def test_an_answer_about_a_session_that_is_marked_as_shared_is_not_believed(found):
    ours = (SHARE, BLAME, SLOW_DOWN, SEND_IN_DOUBT)
    assert after_read_back(found, Doubt(1, TIMEOUT), Known(is_marked=True)) == ours
    assert after_read_back(found, Doubt(1), Known(is_marked=True)) == (SHARE, SEND_IN_DOUBT)


@pytest.mark.parametrize(
    "error, known, acts_then",
    [
        (GONE, {}, (REOPEN,)),
        (GONE, {"may_reopen": False}, (REOPEN_LATER,)),
        (NOT_SENT, {}, (EVERYTHING_WAITS,)),
        (CUT_SHORT, {}, (EVERYTHING_WAITS,)),
        (BUSY, {}, (EVERYTHING_WAITS,)),
        (WRONG_KEY, {}, (EVERYTHING_WAITS,)),
        (FAULT, {}, ASK_HEALTH),
        (FAULT, {"speaks": False}, (EVERYTHING_WAITS,)),
        (FAULT, {"speaks": False, "would_end_doubt": True}, (EVERYTHING_WAITS,)),
        (FAULT, {"speaks": True}, (READ_BACK_LATER,)),
        (FAULT, {"speaks": True, "would_end_doubt": True}, (READ_BACK_LATER, SEND_IN_DOUBT)),
    ],
)
def test_what_a_failed_read_back_leads_to(error, known, acts_then):
    assert after_failed_read_back(error, Known(**known)) == acts_then


def test_a_doubt_ends_with_the_third_failure_or_after_a_minute():
    doubt = Doubt(1)
    assert not doubt.would_be_over(FAULT, 10.0)
    doubt.fail(10.0)
    assert not doubt.would_be_over(FAULT, 69.0)
    assert doubt.would_be_over(FAULT, 70.0)
    doubt.fail(11.0)
    assert doubt.would_be_over(FAULT, 12.0)


# -- all of them

anything_known = strategies.builds(
    Known,
    strategies.booleans(),
    strategies.booleans(),
    strategies.booleans(),
    strategies.booleans(),
    strategies.booleans(),
    strategies.booleans(),
    strategies.booleans(),
    strategies.sampled_from([ANSWERED, UNANSWERED, LOST]),
    strategies.booleans(),
)


@hypothesis.given(strategies.sampled_from(FAILURES), anything_known)
def test_every_decision_is_carried_out_by_acts_that_there_are(error, known):
    """And no question is asked twice."""
    for decide in (
        decisions.after_failed_send,
        decisions.after_failed_open,
        decisions.after_failed_recognition,
        after_failed_read_back,
    ):
        decided = decide(error, known)
        assert isinstance(decided, tuple) and decided
        assert all(callable(getattr(acts.Acts, act)) for act in decided)


@hypothesis.given(strategies.sampled_from(FAILURES), anything_known)
def test_nothing_is_given_up_where_the_session_cannot_be_read(error, known):
    """Except for what a datacat server itself refused, in words that it is known to use."""
    known = known._replace(probed=UNANSWERED)
    if error is not OWN_400 or known.is_suspicious:
        assert BURY not in decisions.after_failed_send(error, known)


@pytest.mark.parametrize("kind", [kinds.OPEN, kinds.END])
def test_opens_and_ends_are_simply_repeated(kind):
    assert decisions.is_repeated(kinds.Record(1, 5, kind, b"{}", 0))


@pytest.mark.parametrize(
    "kind", [kinds.EVENT, kinds.METRIC, kinds.EXCEPTION, kinds.STATE, kinds.CRASH]
)
def test_everything_else_is_read_back_first(kind):
    assert not decisions.is_repeated(kinds.Record(1, 5, kind, b"{}", 0))


def test_a_whole_state_that_is_restored_is_simply_repeated():
    assert decisions.is_repeated(kinds.Record(1, decisions.RESTORING, kinds.STATE, b"{}", 0))


@pytest.mark.parametrize(
    "error, acts_then",
    [
        (NOT_SENT, (EVERYTHING_WAITS,)),
        (BUSY, (EVERYTHING_WAITS, ROTATE_LATER)),
        (TIMEOUT, (EVERYTHING_WAITS, ROTATE_LATER)),
        (PORTAL, (EVERYTHING_WAITS, ROTATE_LATER)),
        (CUT_SHORT, (ROTATE_LATER,)),
        (FAULT, (ROTATE_LATER,)),
        (GONE, (ROTATE_LATER,)),
        (OWN_400, (ROTATE_LATER,)),
        (PLAIN_403, (ROTATE_LATER,)),
        (UNKNOWN, (ROTATE_LATER,)),
    ],
)
def test_a_rotation_that_fails_holds_nothing_up_unless_the_server_is_away(error, acts_then):
    assert decisions.after_failed_rotation(error) == acts_then
