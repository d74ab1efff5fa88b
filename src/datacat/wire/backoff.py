"""How long to wait after a failure: pure functions of the error and the number of failures.

Belongs here: pauses and their bounds.  Does not: what a failure means (`verdicts`), clocks, state.
"""

from __future__ import absolute_import, division

from .answers import LONGEST_RETRY_AFTER
from .verdicts import AMBIGUOUS, POISON, READ_BACK_ATTEMPTS, REFUSED, verdict

SHORTEST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
# After so long without reaching the server, pauses grow, so that a radio can sleep.
LONG_OUTAGE = 600.0
LONGEST_OFFLINE_BACKOFF = 300.0
REFUSED_PAUSE = 30.0
RETRY_AFTER_SHARE = 0.25
# The longest pause that a server can ask for.
LONGEST_ASKED = LONGEST_RETRY_AFTER * (1 + RETRY_AFTER_SHARE)
LONGEST_OPEN_PAUSE = 600.0
READ_BACK_DELAY = 0.1
# The time from a read-back that did not find the record to the next: a request that was cut off
# may still be applied meanwhile.
QUIET_PERIOD = 2.0


def backoff(attempt, chance, unreachable=0.0):
    """Return how long to wait before attempt number `attempt` + 1, in seconds, with full jitter.

    :param attempt: failures so far, 1 for the first.
    :param chance: a callable that returns a float in [0, 1), as `random.random`.
    :param unreachable: for how many seconds the server could not be reached.
    """
    ceiling = min(longest(unreachable), SHORTEST_BACKOFF * 2 ** min(attempt - 1, 16))
    return max(SHORTEST_BACKOFF / 10, ceiling * chance())


def longest(unreachable):
    """Return the longest backoff: it grows with the outage, from ten minutes on."""
    return min(LONGEST_OFFLINE_BACKOFF, LONGEST_BACKOFF * max(1.0, unreachable / LONG_OUTAGE))


def pause(error, attempt, chance, unreachable=0.0):
    """Return how long to wait after an error before the next attempt, in seconds.

    :param attempt: failures so far, 1 for the first.
    :param chance: a callable that returns a float in [0, 1).
    :param unreachable: for how many seconds the server could not be reached.
    """
    if error.retry_after is not None:
        asked = min(error.retry_after, LONGEST_RETRY_AFTER)
        # Or all clients that were told the same would come back at the same moment.
        return asked + chance() * max(1.0, RETRY_AFTER_SHARE * asked)
    meaning = verdict(error)
    if meaning in (REFUSED, POISON):
        return REFUSED_PAUSE
    if meaning == AMBIGUOUS:
        # After a first failure the read-back comes soon, because it usually settles the matter.
        return READ_BACK_DELAY if attempt == 1 else backoff(attempt - 1, chance)
    return backoff(attempt, chance, unreachable)


def open_pause(attempt, chance):
    """Return how long to wait after an open that was answered, but not understood, in seconds.

    Each attempt may leave an empty session on the server.

    :param attempt: how often that happened, 1 for the first.
    """
    ceiling = min(LONGEST_OPEN_PAUSE, REFUSED_PAUSE * 2 ** min(attempt - 1, 16))
    return ceiling * (1 + chance()) / 2


def read_back_pause(error, failures, chance):
    """Return how long to wait after a failed read-back, in seconds: never long.

    :param failures: how many have failed so far, 1 for the first.
    """
    return pause(error, min(failures, READ_BACK_ATTEMPTS + 1), chance)
