"""What a failure leads to: pure decisions, each a tuple of acts.

Belongs here: functions of an outcome and of plain values.  Does not: carrying the acts out
(`acts`), what one error means (`wire.verdicts`), whether a record arrived (`doubt`), I/O, clocks.

An act is the name of the method of `acts.Acts` that carries it out.  A question is not an act: ask
the server, then call again with the answer.
"""

from __future__ import absolute_import, division

import collections

from .. import errors
from ..records import kinds
from ..wire import answers, verdicts
from ..wire.verdicts import (
    AMBIGUOUS,
    BUSY,
    CUT_SHORT,
    NOT_APPLIED,
    POISON,
    REFUSED,
    SESSION_LOST,
)

# The record
SETTLE = "settle"
BURY = "bury"
BLAME = "blame"
DOUBT = "doubt"
SUSPECT_NEXT = "suspect_next"
SEND_AGAIN = "send_again"
SEND_IN_DOUBT = "send_in_doubt"
# Its session
SESSION_WAITS = "session_waits"
SLOW_DOWN = "slow_down"
READ_BACK_LATER = "read_back_later"
AWAIT_QUIET = "await_quiet"
COMPLAIN = "complain"
OPEN_LATER = "open_later"
HAND_ON = "hand_on"
SHARE = "share"
REOPEN = "reopen"
REOPEN_LATER = "reopen_later"
ROTATE_LATER = "rotate_later"
# Everything
EVERYTHING_WAITS = "everything_waits"

# Questions: is a GET of the session answered?  Does the server itself answer at all?
PROBE = "probe"
ASK_HEALTH = "ask_health"

# What a probe may find.
ANSWERED = "answered"
UNANSWERED = "unanswered"
LOST = "lost"

# The number of the record that carries a session's whole state after it was opened again.
RESTORING = 0
_REPEATED = (kinds.OPEN, kinds.END)

# What is known besides the error.
# is_repeated: whether the record is simply sent again if its fate is unknown;
# is_suspicious: whether it is one refusal too many in the same words;
# would_be_poisoned: whether one more blame makes the record a dead letter;
# would_end_doubt: whether one more failed read-back is the last attempt;
# may_reopen: whether the session may be opened again by now;
# is_recognised: whether what answers is known to be a datacat server;
# is_marked: whether another process is known to write into a session on a classic server;
# probed: ANSWERED, UNANSWERED or LOST, None if the session was not probed;
# speaks: whether the server itself answers, None if it was not asked.
Known = collections.namedtuple(
    "Known",
    "is_repeated is_suspicious would_be_poisoned would_end_doubt may_reopen is_recognised"
    " is_marked probed speaks",
)
Known.__new__.__defaults__ = (False, False, False, False, True, False, False, None, None)


def is_repeated(record):
    """Return whether a record is simply sent again if its fate is unknown.

    A second end changes nothing, nor does a whole state; a second open leaves an empty session
    behind.  At a second crash, a v1 server would tell it again.
    """
    return record.kind in _REPEATED or record.number == RESTORING


def after_failed_send(error, known):
    """Return the acts that a failed attempt to send a record leads to, or PROBE.

    :param error: the attempt's DatacatError.
    :param known: a Known.
    """
    meaning = verdicts.verdict(error)
    if meaning == SESSION_LOST or known.probed == LOST:
        return lost(known)
    if meaning in (NOT_APPLIED, BUSY):
        return (EVERYTHING_WAITS,)
    return _AFTER[meaning](error, known)


def _after_cut(error, known):
    # A line that breaks cuts everything off; something on the way may cut off this record only,
    # each time.  It certainly did not arrive, so there is no doubt about it.
    if known.probed is None:
        return PROBE
    if known.probed == UNANSWERED:
        return (EVERYTHING_WAITS,)
    return (BURY,) if known.would_be_poisoned else (SESSION_WAITS, BLAME)


def _after_ambiguity(error, known):
    everything = _waiting_if_systematic(error)
    if not known.is_repeated:
        return everything + (DOUBT,)
    if known.probed is None:
        return PROBE
    if known.probed == UNANSWERED:
        return everything + (SESSION_WAITS,)
    return everything + ((BURY,) if known.would_be_poisoned else (SESSION_WAITS, BLAME))


def _after_poison(error, known):
    # Unknown wording may come from a proxy; so may known wording if it rejects record after
    # record.
    if answers.is_known_refusal(error) and not known.is_suspicious:
        return (BURY,)
    if known.probed is None:
        return PROBE
    return (BURY,) if known.probed == ANSWERED else (EVERYTHING_WAITS,)


def _after_refusal(error, known):
    if not verdicts.may_be_the_records_fault(error):
        return (EVERYTHING_WAITS,)
    if known.probed is None:
        return PROBE
    if known.probed == UNANSWERED:
        return (EVERYTHING_WAITS,)
    return (BURY,) if known.would_be_poisoned else (SESSION_WAITS, COMPLAIN, BLAME)


_AFTER = {
    CUT_SHORT: _after_cut,
    AMBIGUOUS: _after_ambiguity,
    POISON: _after_poison,
    REFUSED: _after_refusal,
}


def after_failed_open(error, known):
    """Return the acts that a failed attempt to open a session leads to."""
    is_recognised = known.is_recognised or answers.is_known_refusal(error)
    is_own = verdicts.is_own_refusal(error, is_recognised)
    handed_on = (HAND_ON,) if is_own else ()
    if isinstance(error, errors.RequestRefused) and error.own_words:
        return handed_on + (SESSION_WAITS, COMPLAIN)
    if verdicts.may_have_opened(error):
        return (EVERYTHING_WAITS, OPEN_LATER)
    if verdicts.verdict(error) == AMBIGUOUS:
        # Opens go first, so one that never works must not starve everything else.
        return _waiting_if_systematic(error) + (SESSION_WAITS,)
    return handed_on + (EVERYTHING_WAITS,)


def after_failed_rotation(error):
    """Return the acts that a failed attempt to open a session's next one leads to.

    Unless the server could not be reached at all, the session goes on as it is for a while: no
    record waits for a server that opens no more sessions, and each attempt may leave one behind.
    """
    meaning = verdicts.verdict(error)
    if meaning == NOT_APPLIED:
        return (EVERYTHING_WAITS,)
    is_away = meaning == AMBIGUOUS and verdicts.is_systematic(error)
    return (EVERYTHING_WAITS, ROTATE_LATER) if is_away or meaning == BUSY else (ROTATE_LATER,)


def after_failed_recognition(error, known):
    """Return the acts that a failed attempt to recognise the server's generation leads to."""
    meaning = verdicts.verdict(error)
    if meaning == SESSION_LOST:
        return lost(known)
    if meaning == AMBIGUOUS:
        return _waiting_if_systematic(error) + (SESSION_WAITS,)
    return (EVERYTHING_WAITS,)


def lost(known):
    """Return the acts that the loss of a session leads to."""
    return (REOPEN,) if known.may_reopen else (REOPEN_LATER,)


def _waiting_if_systematic(error):
    return (EVERYTHING_WAITS,) if verdicts.is_systematic(error) else ()
