"""Pauses: of the server or of a session, after a failure.

Belongs here: when a pause is over, and what may cut it short.  Does not: clocks, and the reasons
for a pause.
"""

from __future__ import absolute_import, division

from ..wire import backoff


class Pausing(object):
    """Something that may have to pause.

    :ivar due: the monotonic time at which the pause is over; 0.0 if there is none.
    :ivar failures: how often it failed in a row.
    :ivar is_patient: whether flush() must not cut the pause short (Retry-After).
    """

    __slots__ = ("due", "failures", "is_patient")

    def __init__(self):
        self.due = 0.0
        self.failures = 0
        self.is_patient = True

    def wait(self, until, patient=True):
        """Pause until a monotonic time.

        :param patient: whether flush() must not cut the pause short.
        """
        self.due = until
        self.is_patient = patient

    def failed(self, error, now, chance, unreachable=0.0):
        """Back off after a failure, or for as long as the server asked.

        :param unreachable: for how many seconds the server could not be reached.
        """
        self.failures += 1
        self.wait(
            now + backoff.pause(error, self.failures, chance, unreachable),
            patient=error.retry_after is not None,
        )

    def hurry(self):
        """End the pause, unless the server asked for it."""
        if not self.is_patient:
            self.due = 0.0
