"""What the application allows to go out: so many bytes a second, or nothing for a while.

Belongs here: when the next request may go, and how many bytes may go together, with `now` given.
Does not: clocks, and counting what goes out (see `metering`).
"""

from __future__ import absolute_import, division

# A token bucket of bytes holds what may go out in so many seconds.
SECONDS = 1.0
# Two small records with their heads.
LEAST_BYTES = 1024
# Whoever ends a pause wakes the sender.
PAUSED_SECONDS = 3600.0


def at_once(rate, most):
    """Return how many bytes may go out in one exchange.

    :param rate: bytes a second that are allowed on average; None: any number.
    :param most: what may go if the line is not metered.
    """
    return most if rate is None else int(max(LEAST_BYTES, min(most, SECONDS * rate)))


class Allowance(object):
    """What may go out; the bucket is full at first.

    A request may go as soon as nothing is owed, whatever its size: a large one is paid for
    afterwards, by a longer wait.

    :param rate: bytes a second that are allowed on average; None: any number.
    :param is_paused: a callable that returns whether nothing may go out for now.
    :ivar rate, is_paused: the same.
    """

    def __init__(self, rate=None, is_paused=lambda: False):
        self.rate = rate
        self.is_paused = is_paused
        # When the bucket is full again, which may be in the past.
        self._full_at = 0.0

    def due(self, now):
        """Return the monotonic time from which on the next request may go."""
        return now + PAUSED_SECONDS if self.is_paused() else self._full_at - SECONDS

    def sent(self, size, now):
        """Note that so many bytes went out at `now` (monotonic seconds)."""
        if self.rate is not None:
            self._full_at = max(self._full_at, now) + size / self.rate
