"""Noticing that more is logged than delivered, and saying why.

Belongs here: what counts as a backlog, and the words for it.  Does not: counting records.
"""

from __future__ import absolute_import, division

BACKLOG_SECONDS = 600.0


class Backlog(object):
    """Whether the number of waiting records has been growing for ten minutes.

    It is sampled every five minutes.  It counts as a backlog if it grew from sample to sample
    twice in a row, and records were waiting all the time.

    :ivar due: the monotonic time of the next sample.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Start again, because nothing waits."""
        self.due = 0.0
        self._waiting = None
        self._growths = 0

    def grows(self, waiting, now):
        """Take a sample; return whether the backlog has been growing for ten minutes.

        :param waiting: how many records wait now.
        """
        self.due = now + BACKLOG_SECONDS / 2
        is_larger = self._waiting is not None and waiting > self._waiting
        self._growths = self._growths + 1 if is_larger else 0
        self._waiting = waiting
        return self._growths >= 2


def complaint(waiting, largest, link):
    """Return what to say about a backlog.

    :param waiting: how many records wait.
    :param largest: how many records the largest session has had delivered.
    :param link: the Link to the server.
    """
    why = "the last error was: %s" % link.last_error
    if link.online:
        why = (
            "the server is slow; it stores a whole session at each write, and the largest one "
            "here has %d records: log less, or open a new session now and then" % largest
        )
    return "for ten minutes more has been logged than delivered; %d records wait: %s" % (
        waiting,
        why,
    )
