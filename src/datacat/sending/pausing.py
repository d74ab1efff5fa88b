"""Leaving something alone until a time: the server after a failure, a session after its own.

Belongs here: when a pause is over and what may cut it short.  Does not: clocks, and the reasons
for a pause.
"""

from __future__ import absolute_import, division

from ..wire import backoff


class Pausing(object):
    """Something that may have to be left alone for a while.

    :ivar due: the monotonic time until which it is left alone; 0.0 where it is not.
    :ivar failures: how often it failed in a row.
    :ivar is_patient: whether flush() must not cut the pause short (Retry-After).
    """

    __slots__ = ("due", "failures", "is_patient")

    def __init__(self):
        self.due = 0.0
        self.failures = 0
        self.is_patient = True

    def wait(self, until, patient=True):
        """Leave it alone until a monotonic time.

        :param patient: whether flush() must not cut the pause short.
        """
        self.due = until
        self.is_patient = patient

    def failed(self, error, now, chance):
        """Back off after a failure, or wait for as long as the server asked to."""
        self.failures += 1
        self.wait(
            now + backoff.pause(error, self.failures, chance),
            patient=error.retry_after is not None,
        )

    def hurry(self):
        """End the pause, unless the server asked for it."""
        if not self.is_patient:
            self.due = 0.0
