"""An outage as the application's log tells it: once when it begins, once when it is over.

Belongs here: when an outage begins and ends, and what was sent meanwhile.  Does not: pauses
(`pausing`), clocks, the words.
"""

from __future__ import absolute_import, division

BACK_SECONDS = 60.0


class Outage(object):
    """Lasts from the first failure until the server has been back for a minute without another.

    So a link that comes and goes is in one outage, however often that happens.

    :ivar is_on: whether there is one.
    :ivar due: the monotonic time at which it is over if nothing fails until then, None if the
        server is not back.
    """

    def __init__(self):
        self.is_on = False
        self.due = None
        self._sent = 0

    def failed(self):
        """Note that the server could not be reached, or refused."""
        self.is_on = True
        self.due = None

    def succeeded(self, now):
        """Note that the server answered as a datacat server does."""
        if self.is_on and self.due is None:
            self.due = now + BACK_SECONDS

    def count(self, records):
        """Note that some records were sent."""
        if self.is_on:
            self._sent += records

    def end(self):
        """Note that it is over; return how many records were sent since it began."""
        sent, self._sent = self._sent, 0
        self.is_on = False
        self.due = None
        return sent
