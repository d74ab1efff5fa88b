"""What an outcome means for a record: pure functions of the error and of counts.

Belongs here: the meaning of a failure, and when to give up on a record.  Does not: what is done
then (`sending`), how long to wait (`backoff`), clocks, state.
"""

from __future__ import absolute_import, division

from .. import errors

NOT_APPLIED = "not applied"
CUT_SHORT = "cut short"
AMBIGUOUS = "ambiguous"
BUSY = "busy"
SESSION_LOST = "session lost"
POISON = "poison"
REFUSED = "refused"

READ_BACK_ATTEMPTS = 3
READ_BACK_AT_LEAST = 5.0
READ_BACK_SECONDS = 60.0
POISON_ATTEMPTS = 10
POISON_SECONDS = 600.0
SUSPICIOUS_REFUSALS = 3


def verdict(error):
    """Return what a failed attempt to send means for the record.

    :param error: the attempt's DatacatError.
    """
    if isinstance(error, errors.CutShort):
        return CUT_SHORT
    if isinstance(error, errors.NotSent):
        return NOT_APPLIED
    if isinstance(error, errors.SessionNotFound):
        return SESSION_LOST
    if isinstance(error, errors.ServerBusy):
        return BUSY
    if isinstance(error, (errors.OutcomeUnknown, errors.ServerFault, errors.UnexpectedAnswer)):
        return AMBIGUOUS
    if isinstance(error, errors.RequestRefused) and (error.own_words or error.status == 413):
        return POISON
    return REFUSED


def is_blip(error, attempt):
    """Return whether a failure does not yet show that the server is away.

    :param attempt: failures so far, 1 for the first.
    """
    return attempt == 1 and isinstance(error, (errors.OutcomeUnknown, errors.ServerFault))


def is_unreachable(error):
    """Return whether nothing at all was reached that could have answered."""
    return isinstance(error, errors.NotSent) and not isinstance(error, errors.TlsFailure)


def is_systematic(error):
    """Return whether an ambiguous failure concerns the whole server, not one record."""
    return not isinstance(error, errors.ServerFault)


def would_meet_any_request(error):
    """Return whether any other request would have failed too."""
    return verdict(error) in (NOT_APPLIED, CUT_SHORT, BUSY) or (
        verdict(error) == AMBIGUOUS and is_systematic(error)
    )


def may_be_the_records_fault(error):
    """Return whether a refusal may be due to the record's content, not to the sender's rights."""
    return not isinstance(error, errors.Redirected) and error.status not in (401, 407)


def may_have_opened(error):
    """Return whether an answer to an open may come from a server that opened a session by it.

    It succeeded, and is not a web page, such as that of a network which asks for a login.
    """
    is_page = (error.words or "").lstrip()[:1] == "<"
    return (
        isinstance(error, errors.UnexpectedAnswer) and error.status in (200, 201) and not is_page
    )


def is_own_refusal(error, recognised):
    """Return whether it seems to be a datacat server itself that refused to open a session.

    :param recognised: whether the server, or its words, are known as a datacat server's.  A 403
        counts only then, because any proxy may answer one.
    """
    return getattr(error, "own_words", False) and (error.status != 403 or recognised)


def is_suspicious(refusals):
    """Return whether so many refusals in a row, in the same words, are suspicious."""
    return refusals >= SUSPICIOUS_REFUSALS


def is_poisoned(attempts, first_failure, now):
    """Return whether a record failed so often, for so long, that the fault must be its own."""
    return attempts >= POISON_ATTEMPTS and now - first_failure >= POISON_SECONDS


def read_back_is_over(error, failures, first_failure, now):
    """Return whether read-backs failed so often, or for so long, that there are no more attempts.

    :param error: the latest failure.  Network failures may follow each other within a second, and
        be a single bad moment; an error that the server answers counts at once.
    """
    took = now - first_failure
    at_least = READ_BACK_AT_LEAST if is_systematic(error) else 0.0
    return took >= READ_BACK_SECONDS or (failures >= READ_BACK_ATTEMPTS and took >= at_least)
