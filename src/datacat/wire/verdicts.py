"""What an outcome means for a record, and how long to wait: pure decisions.

What may live here: functions of an outcome, counts and `now`.  What may not: I/O, clocks,
threads, or anything that remembers.
"""

from __future__ import absolute_import, division

from .. import errors

DELIVERED = "delivered"
NOT_APPLIED = "not applied"
AMBIGUOUS = "ambiguous"
BUSY = "busy"
SESSION_LOST = "session lost"
POISON = "poison"
REFUSED = "refused"

SHORTEST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
REFUSED_PAUSE = 30.0
LONGEST_RETRY_AFTER = 3600.0
READ_BACK_DELAY = 0.1
QUIET_PERIOD = 2.0
READ_BACK_ATTEMPTS = 3
READ_BACK_AT_LEAST = 5.0
READ_BACK_SECONDS = 60.0
POISON_ATTEMPTS = 10
POISON_SECONDS = 600.0
SUSPICIOUS_REFUSALS = 3
REOPEN_SECONDS = 600.0
BACKLOG_SECONDS = 600.0


def verdict(error):
    """Return what a failure means for the record that was sent.

    :param error: the DatacatError of the attempt, or None where the server answered as it should.
    """
    if error is None:
        return DELIVERED
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


def backoff(attempt, random):
    """Return how long to wait before attempt number `attempt` + 1, in seconds, with full jitter.

    :param attempt: failures so far, 1 for the first.
    :param random: a callable that returns a float in [0, 1), as `random.random`.
    """
    ceiling = min(LONGEST_BACKOFF, SHORTEST_BACKOFF * 2 ** min(attempt - 1, 16))
    return max(SHORTEST_BACKOFF / 10, ceiling * random())


def pause(error, attempt, random):
    """Return how long whoever failed is left alone after `error`, in seconds.

    :param attempt: failures so far, 1 for the first.
    """
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST_RETRY_AFTER)
    meaning = verdict(error)
    if meaning in (REFUSED, POISON):
        return REFUSED_PAUSE
    if meaning == AMBIGUOUS:
        # Soon after the first one comes the read-back, which most often settles the matter.
        return READ_BACK_DELAY if attempt == 1 else backoff(attempt - 1, random)
    return backoff(attempt, random)


def read_back_pause(error, failures, random):
    """Return how long to wait after a read-back that failed, in seconds; never for long.

    :param failures: how many have failed so far, 1 for the first.
    """
    return pause(error, min(failures, READ_BACK_ATTEMPTS + 1), random)


def is_blip(error, attempt):
    """Return whether a failure says nothing yet of whether the server is there."""
    return attempt == 1 and isinstance(error, (errors.OutcomeUnknown, errors.ServerFault))


def is_systematic(error):
    """Return whether an ambiguous failure is the server's as a whole, and not one record's."""
    return not isinstance(error, errors.ServerFault)


def is_about_the_way(error):
    """Return whether a failure would meet any other request as well, whatever it is about."""
    return verdict(error) in (NOT_APPLIED, BUSY) or (
        verdict(error) == AMBIGUOUS and is_systematic(error)
    )


def may_be_the_record(error):
    """Return whether a refusal may be for what the record holds, and not for who sends it."""
    return not isinstance(error, errors.Redirected) and error.status not in (401, 407)


def is_own_refusal(error, recognised):
    """Return whether a datacat server itself refuses to open a session, as far as can be told.

    :param recognised: whether the server, or its words, are known for a datacat server's: a 403
        is what anything between here and there may say.
    """
    return getattr(error, "own_words", False) and (error.status != 403 or recognised)


def is_poisoned(attempts, first_failure, now):
    """Return whether a record has failed so often and so long that the fault must be its own."""
    return attempts >= POISON_ATTEMPTS and now - first_failure >= POISON_SECONDS


def read_back_is_over(error, failures, first_failure, now):
    """Return whether finding out if a record arrived has failed often or long enough.

    :param error: the latest failure; those of a line follow each other within a second, which may
        be one bad moment, while an answer is the server's own word.
    """
    took = now - first_failure
    at_least = READ_BACK_AT_LEAST if is_systematic(error) else 0.0
    return took >= READ_BACK_SECONDS or (failures >= READ_BACK_ATTEMPTS and took >= at_least)
